/* The host, as the guest calls it: the functions of host_calls.def and the statuses that matter here. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
    STATUS_OK = 0,
    STATUS_NOT_FOUND = 1,
    STATUS_EMPTY = 7,
    STATUS_UNIMPLEMENTED = 12,
};

enum { LOG_ERROR = 4 };

/* What the linker and the host see of this module; all else is hidden. */
#define EXPORTED __attribute__((visibility("default")))

#define HOST_CALL(name, parameters) EXPORTED uint32_t name parameters;
#include "host_calls.def"
#undef HOST_CALL

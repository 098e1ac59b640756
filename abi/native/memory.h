/* Receiving what a host call places in our memory, without a copy.
 *
 * A host that has a value for us calls proxy_on_memory_allocate, writes the value there and stores its address and size
 * through out-pointers. Between result_expect and result_end such an allocation belongs to the call in flight: the first
 * one is the inside of a new bytes object, or a static scratch buffer for text; whatever else is allocated is freed at
 * the end. Allocations while no call is in flight are plain malloc.
 */
#pragma once

#include "stable_abi.h"

#define TEXT_SCRATCH_SIZE (16 * 1024) /* longer text goes through the heap */

enum result_kind { RESULT_BYTES, RESULT_TEXT };

struct result {
    char *data; /* the out-pointers of the call */
    size_t size;
    enum result_kind kind;
    PyObject *bytes;
    bool holds_scratch;
    struct spare *spares;
};

/* The call that follows is in flight until result_end. */
void result_expect(struct result *result, enum result_kind kind);

/* The value as a new reference, to be asked for before result_end. */
PyObject *result_bytes(struct result *result);
PyObject *result_text(struct result *result);
PyObject *result_pairs(struct result *result);

void result_end(struct result *result);

/* Around a callback that the host makes while a call is in flight: its allocations and host calls are its own. */
struct result *result_suspend(void);
void result_resume(struct result *suspended);

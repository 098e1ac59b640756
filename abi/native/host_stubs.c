/* What stands for the host where there is none: during pre-initialisation, and for functions that a target lacks.
 *
 * The linker replaces each of these by the `env` import of the same name if the target offers it. They stay in a
 * file of their own, compiled apart, so that no caller inlines what is to be replaced.
 */
#include "host.h"

#define HOST_CALL(name, parameters) \
    uint32_t name parameters { return STATUS_UNIMPLEMENTED; }
#include "host_calls.def"

/* The table of attached contexts: context id -> the Python object and the mask of the callbacks that it wants.
 *
 * Open addressing with linear probing in a power of two of slots, at most half full; removal shifts back, so there are
 * no tombstones and a lookup stays short for ever. The host's streams bound it; it keeps the size of its peak.
 */
#pragma once

#include "stable_abi.h"

struct context {
    uint32_t id;
    uint32_t wanted;  /* bit i: callbacks.CONTEXT_CALLBACKS[i] */
    PyObject *object; /* NULL in an empty slot */
};

extern struct context *contexts;
extern uint32_t contexts_shift; /* the table has 2**(32 - shift) slots */

/* Where the search for an id starts (Fibonacci hashing: ids are consecutive, their slots are not). */
static inline uint32_t contexts_slot(uint32_t id) { return (id * 2654435769u) >> contexts_shift; }

/* The object of a context that wants the callback of this bit; NULL if the context is unknown or does not want it.
 * Borrowed. Inline and free of calls: this is all that happens for a streamed chunk that nobody wants.
 */
static inline PyObject *contexts_wanting(uint32_t id, uint32_t bit)
{
    uint32_t mask = UINT32_MAX >> contexts_shift;
    for (uint32_t slot = contexts_slot(id);; slot = (slot + 1) & mask) {
        const struct context *context = &contexts[slot];
        if (!context->object)
            return NULL;
        if (context->id == id)
            return context->wanted & bit ? context->object : NULL;
    }
}

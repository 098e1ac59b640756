#include "contexts.h"

#include <stdlib.h>

#include "arguments.h"
#include "methods.h"

#define SLOTS_LOG2_INITIAL 6
#define SLOTS_LOG2_MAX 24

static struct context initial[1 << SLOTS_LOG2_INITIAL];
struct context *contexts = initial;
uint32_t contexts_shift = 32 - SLOTS_LOG2_INITIAL;
static uint32_t attached;

static uint32_t slot_mask(void) { return UINT32_MAX >> contexts_shift; }

/* The slot of an id, or the empty one where it belongs. */
static struct context *find(uint32_t id)
{
    uint32_t slot = contexts_slot(id);
    while (contexts[slot].object && contexts[slot].id != id)
        slot = (slot + 1) & slot_mask();
    return &contexts[slot];
}

static bool grow(void)
{
    uint32_t slots_log2 = 32 - contexts_shift + 1;
    struct context *larger = slots_log2 > SLOTS_LOG2_MAX ? NULL : calloc((size_t)1 << slots_log2, sizeof *larger);
    if (!larger) {
        PyErr_NoMemory();
        return false;
    }
    struct context *smaller = contexts;
    uint32_t slots = slot_mask() + 1;
    contexts = larger;
    contexts_shift--;
    for (uint32_t slot = 0; slot < slots; slot++) {
        if (smaller[slot].object)
            *find(smaller[slot].id) = smaller[slot];
    }
    if (smaller != initial)
        free(smaller);
    return true;
}

/* Empties a slot and moves up those that were pushed past it. */
static void vacate(uint32_t hole)
{
    uint32_t mask = slot_mask();
    for (uint32_t slot = (hole + 1) & mask; contexts[slot].object; slot = (slot + 1) & mask) {
        uint32_t pushed_by = (slot - contexts_slot(contexts[slot].id)) & mask;
        if (pushed_by >= ((slot - hole) & mask)) {
            contexts[hole] = contexts[slot];
            hole = slot;
        }
    }
    contexts[hole].object = NULL;
    attached--;
}

PyObject *method_attach(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    struct arguments numbers;
    if (!arguments_take(&numbers, "attach", "ioi", args, count))
        return NULL;
    if (attached >= (slot_mask() + 1) / 2 && !grow())
        return NULL;
    struct context *context = find(numbers.at[0].number);
    PyObject *replaced = context->object;
    if (!replaced)
        attached++;
    Py_IncRef(args[1]);
    *context = (struct context){.id = numbers.at[0].number, .wanted = numbers.at[2].number, .object = args[1]};
    Py_DecRef(replaced);
    return Py_None;
}

PyObject *method_set_wanted(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    struct arguments numbers;
    if (!arguments_take(&numbers, "set_wanted", "ii", args, count))
        return NULL;
    find(numbers.at[0].number)->wanted = numbers.at[1].number; /* of an unknown context: an empty slot, no harm */
    return Py_None;
}

PyObject *method_detach(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    struct arguments numbers;
    if (!arguments_take(&numbers, "detach", "i", args, count))
        return NULL;
    struct context *context = find(numbers.at[0].number);
    PyObject *object = context->object;
    if (object) {
        vacate((uint32_t)(context - contexts));
        Py_DecRef(object); /* last: it may run Python, which may attach and detach */
    }
    return Py_None;
}

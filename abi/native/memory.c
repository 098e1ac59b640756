#include "memory.h"

#include <stdlib.h>

#include "host.h"
#include "pairs.h"
#include "text.h"

/* An allocation that neither the bytes object nor the scratch buffer could serve. */
struct spare {
    struct spare *next;
    _Alignas(16) char data[];
};

static struct result *in_flight;
static _Alignas(16) char scratch[TEXT_SCRATCH_SIZE];
static bool scratch_is_held;

void result_expect(struct result *result, enum result_kind kind)
{
    *result = (struct result){.kind = kind};
    in_flight = result;
}

void result_end(struct result *result)
{
    in_flight = NULL;
    if (result->holds_scratch)
        scratch_is_held = false;
    Py_DecRef(result->bytes);
    while (result->spares) {
        struct spare *spare = result->spares;
        result->spares = spare->next;
        free(spare);
    }
}

struct result *result_suspend(void)
{
    struct result *suspended = in_flight;
    in_flight = NULL;
    return suspended;
}

void result_resume(struct result *suspended) { in_flight = suspended; }

PyObject *result_bytes(struct result *result)
{
    char *data;
    Py_ssize_t size;
    if (result->bytes && PyBytes_AsStringAndSize(result->bytes, &data, &size) == 0 && data == result->data &&
        (size_t)size == result->size) {
        Py_IncRef(result->bytes);
        return result->bytes;
    }
    return PyBytes_FromStringAndSize(result->size ? result->data : "", (Py_ssize_t)result->size);
}

PyObject *result_text(struct result *result) { return text_decode(result->data, result->size); }

PyObject *result_pairs(struct result *result) { return pairs_decode(result->data, result->size); }

static void *allocate_bytes(struct result *result, size_t size)
{
    result->bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (!result->bytes) {
        PyErr_Clear();
        return NULL;
    }
    return PyBytes_AsString(result->bytes);
}

static void *allocate_scratch(struct result *result)
{
    scratch_is_held = result->holds_scratch = true;
    return scratch;
}

static void *allocate_spare(struct result *result, size_t size)
{
    struct spare *spare = malloc(sizeof *spare + size);
    if (!spare)
        return NULL;
    spare->next = result->spares;
    result->spares = spare;
    return spare->data;
}

/* What the host calls to place `size` bytes in our memory; also exported as `malloc`. NULL when there is no memory. */
EXPORTED void *proxy_on_memory_allocate(uint32_t size)
{
    if (size > INT32_MAX - sizeof(struct spare))
        return NULL;
    if (!in_flight)
        return malloc(size ? size : 1);
    if (in_flight->kind == RESULT_BYTES && !in_flight->bytes)
        return allocate_bytes(in_flight, size);
    if (in_flight->kind == RESULT_TEXT && !scratch_is_held && size <= sizeof scratch)
        return allocate_scratch(in_flight);
    return allocate_spare(in_flight, size);
}

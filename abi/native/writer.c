#include "writer.h"

#include <stdlib.h>
#include <string.h>

void writer_open(struct writer *writer)
{
    writer->data = writer->stack;
    writer->size = 0;
    writer->capacity = sizeof writer->stack;
}

void writer_close(struct writer *writer)
{
    if (writer->data != writer->stack)
        free(writer->data);
}

static bool grow(struct writer *writer, size_t needed)
{
    size_t capacity = writer->capacity;
    while (capacity < needed)
        capacity = capacity > INT32_MAX / 2 ? INT32_MAX : capacity * 2;
    bool on_stack = writer->data == writer->stack;
    char *data = realloc(on_stack ? NULL : writer->data, capacity);
    if (!data)
        return false;
    if (on_stack)
        memcpy(data, writer->stack, writer->size);
    writer->data = data;
    writer->capacity = capacity;
    return true;
}

char *writer_room(struct writer *writer, size_t size)
{
    bool fits = size <= writer->capacity - writer->size;
    if (!fits && (size > INT32_MAX - writer->size || !grow(writer, writer->size + size))) {
        PyErr_NoMemory();
        return NULL;
    }
    return writer->data + writer->size;
}

PyObject *writer_bytes(const struct writer *writer)
{
    return PyBytes_FromStringAndSize(writer->data, (Py_ssize_t)writer->size);
}

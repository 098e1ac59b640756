/* A growing byte buffer: small results stay on the stack, larger ones go to the heap. */
#pragma once

#include "stable_abi.h"

#define WRITER_STACK_SIZE 1024

struct writer {
    char *data;
    size_t size;
    size_t capacity;
    char stack[WRITER_STACK_SIZE];
};

void writer_open(struct writer *writer);
void writer_close(struct writer *writer);

/* Room for `size` more bytes, counted as written; NULL with MemoryError set. Moves `data`: keep offsets, not pointers. */
char *writer_extend(struct writer *writer, size_t size);

/* False with MemoryError set. */
bool writer_append(struct writer *writer, const char *data, size_t size);

/* The bytes written, as a Python object; NULL with MemoryError set. */
PyObject *writer_bytes(const struct writer *writer);

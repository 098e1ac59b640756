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

/* Makes room for `size` more bytes, wherever `data` is then: keep offsets, not pointers. Returns where they begin, or
 * NULL with MemoryError set. What is written there counts once writer_advance is told its end.
 */
char *writer_room(struct writer *writer, size_t size);

static inline void writer_advance(struct writer *writer, const char *end) { writer->size = (size_t)(end - writer->data); }

/* The bytes written, as a Python object; NULL with MemoryError set. */
PyObject *writer_bytes(const struct writer *writer);

#include "pairs.h"

#include <string.h>

#include "arguments.h"
#include "methods.h"
#include "text.h"
#include "writer.h"

enum {
    COUNT_SIZE = 4,
    SIZES_SIZE = 8,
    PAIR_SIZE_MIN = SIZES_SIZE + 2, /* an empty name and an empty value */
};

/* wasm is little-endian; memcpy because nothing here is aligned. */
static void put_u32(char *at, size_t value)
{
    uint32_t number = (uint32_t)value;
    memcpy(at, &number, sizeof number);
}

static uint32_t get_u32(const char *at)
{
    uint32_t number;
    memcpy(&number, at, sizeof number);
    return number;
}

static bool append_text(struct writer *writer, PyObject *object, size_t size_at)
{
    const char *data;
    size_t size;
    PyObject *owner;
    char *room = NULL;
    if (text_view(object, "a name or value of a pair", &data, &size, &owner))
        room = writer_room(writer, size + 1);
    if (room) {
        memcpy(room, data, size);
        room[size] = '\0';
        writer_advance(writer, room + size + 1);
        put_u32(writer->data + size_at, size);
    }
    Py_DecRef(owner);
    return room != NULL;
}

static bool append_pair(struct writer *writer, PyObject *pair, size_t sizes_at)
{
    Py_ssize_t count;
    PyObject *items = sequence_items(pair, "a pair: expected (name, value)", &count);
    if (!items)
        return false;
    bool done = false;
    if (count != 2)
        PyErr_Format(PyExc_ValueError, "a pair: expected (name, value), not %zd items", count);
    else
        done = append_text(writer, sequence_item(items, 0), sizes_at) &&
               append_text(writer, sequence_item(items, 1), sizes_at + sizeof(uint32_t));
    Py_DecRef(items);
    return done;
}

static bool append_pairs(struct writer *writer, PyObject *items, Py_ssize_t count)
{
    if (count > PAIRS_COUNT_MAX) {
        PyErr_Format(PyExc_ValueError, "%zd pairs: hosts take at most %d", count, PAIRS_COUNT_MAX);
        return false;
    }
    size_t head_size = COUNT_SIZE + SIZES_SIZE * (size_t)count;
    char *head = writer_room(writer, head_size);
    if (!head)
        return false;
    put_u32(head, (size_t)count);
    writer_advance(writer, head + head_size);
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!append_pair(writer, sequence_item(items, i), COUNT_SIZE + SIZES_SIZE * (size_t)i))
            return false;
    }
    if (writer->size > PAIRS_SIZE_MAX) {
        PyErr_Format(PyExc_ValueError, "pairs of %zu bytes: hosts take at most %d", writer->size, PAIRS_SIZE_MAX);
        return false;
    }
    return true;
}

PyObject *pairs_encode(PyObject *pairs)
{
    Py_ssize_t count;
    PyObject *items = sequence_items(pairs, "pairs: expected a sequence of (name, value)", &count);
    if (!items)
        return NULL;
    struct writer writer;
    writer_open(&writer);
    PyObject *encoded = append_pairs(&writer, items, count) ? writer_bytes(&writer) : NULL;
    writer_close(&writer);
    Py_DecRef(items);
    return encoded;
}

static PyObject *malformed(const char *problem)
{
    return PyErr_Format(PyExc_ValueError, "serialised pairs: %s", problem);
}

static PyObject *decode_pair(const char *key, uint32_t key_size, const char *value, uint32_t value_size)
{
    PyObject *pair = PyTuple_New(2);
    PyObject *name = text_decode(key, key_size);
    PyObject *text = text_decode(value, value_size);
    if (!pair || !name || !text) {
        Py_DecRef(pair);
        Py_DecRef(name);
        Py_DecRef(text);
        return NULL;
    }
    PyTuple_SetItem(pair, 0, name);
    PyTuple_SetItem(pair, 1, text);
    return pair;
}

static bool decode_into(PyObject *list, const char *data, size_t size, uint32_t count)
{
    const char *at = data + COUNT_SIZE + SIZES_SIZE * (size_t)count;
    const char *end = data + size;
    for (uint32_t i = 0; i < count; i++) {
        const char *sizes = data + COUNT_SIZE + SIZES_SIZE * (size_t)i;
        uint32_t key_size = get_u32(sizes);
        uint32_t value_size = get_u32(sizes + sizeof(uint32_t));
        if ((uint64_t)key_size + value_size + 2 > (uint64_t)(end - at)) {
            malformed("truncated");
            return false;
        }
        const char *value = at + key_size + 1;
        if (value[-1] != '\0' || value[value_size] != '\0') {
            malformed("a name or value does not end in NUL");
            return false;
        }
        PyObject *pair = decode_pair(at, key_size, value, value_size);
        if (!pair)
            return false;
        PyList_SetItem(list, (Py_ssize_t)i, pair);
        at = value + value_size + 1;
    }
    if (at != end)
        malformed("bytes after the last pair");
    return at == end;
}

PyObject *pairs_decode(const char *data, size_t size)
{
    if (size == 0)
        return PyList_New(0);
    if (size < COUNT_SIZE)
        return malformed("truncated");
    uint32_t count = get_u32(data);
    if (count > (size - COUNT_SIZE) / PAIR_SIZE_MIN)
        return malformed("truncated");
    PyObject *list = PyList_New((Py_ssize_t)count);
    if (list && !decode_into(list, data, size, count)) {
        Py_DecRef(list);
        return NULL;
    }
    return list;
}

PyObject *method_encode_pairs(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    return arguments_count_is("encode_pairs", 1, count) ? pairs_encode(args[0]) : NULL;
}

PyObject *method_decode_pairs(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    char *data;
    Py_ssize_t size;
    if (!arguments_count_is("decode_pairs", 1, count) || PyBytes_AsStringAndSize(args[0], &data, &size) < 0)
        return NULL;
    return pairs_decode(data, (size_t)size);
}

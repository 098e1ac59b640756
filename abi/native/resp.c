/* RESP2, the protocol of Redis: a command is an array of bulk strings; a reply is any value. */
#include <string.h>

#include "arguments.h"
#include "dispatcher.h"
#include "methods.h"
#include "writer.h"

#define REPLY_DEPTH_MAX 32   /* arrays in arrays */
#define REPLY_SIZE_MIN 3     /* of any value: a marker and a line end */
#define INTEGER_DIGITS_MAX 19 /* of a signed 64-bit integer */

/* Commands */

static bool append_head(struct writer *writer, char marker, size_t number)
{
    char text[INTEGER_DIGITS_MAX + 3]; /* marker, digits, line end */
    char *at = text + sizeof text;
    *--at = '\n';
    *--at = '\r';
    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    *--at = marker;
    return writer_append(writer, at, (size_t)(text + sizeof text - at));
}

static bool append_argument(struct writer *writer, PyObject *argument)
{
    const char *data;
    size_t size;
    PyObject *digits = NULL;
    if (is_int(argument)) {
        digits = PyNumber_ToBase(argument, 10);
        if (!digits)
            return false;
        argument = digits;
    } else if (!is_str(argument) && !is_bytes(argument)) {
        wrong_type("an argument of a Redis command", "str, bytes or int", argument);
        return false;
    }
    PyObject *owner;
    bool done = text_view(argument, "an argument of a Redis command", &data, &size, &owner) &&
                append_head(writer, '$', size) && writer_append(writer, data, size) && writer_append(writer, "\r\n", 2);
    Py_DecRef(owner);
    Py_DecRef(digits);
    return done;
}

static bool append_command(struct writer *writer, PyObject *items, Py_ssize_t count)
{
    if (count == 0) {
        PyErr_Format(PyExc_ValueError, "a Redis command needs at least its name");
        return false;
    }
    if (!append_head(writer, '*', (size_t)count))
        return false;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!append_argument(writer, sequence_item(items, i)))
            return false;
    }
    return true;
}

PyObject *method_encode_command(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (!arguments_count_is("encode_command", 1, count))
        return NULL;
    PyObject *items = sequence_items(args[0], "a Redis command: expected a sequence of arguments", &count);
    if (!items)
        return NULL;
    struct writer writer;
    writer_open(&writer);
    PyObject *command = append_command(&writer, items, count) ? writer_bytes(&writer) : NULL;
    writer_close(&writer);
    Py_DecRef(items);
    return command;
}

/* Replies */

struct reply {
    const char *start;
    const char *at;
    const char *end;
    size_t reserved; /* bytes that the announced values of all open arrays need at the least */
};

struct line {
    const char *data;
    size_t size;
};

static PyObject *malformed(const struct reply *reply, const char *problem)
{
    return PyErr_Format(PyExc_ValueError, "Redis reply, byte %zd: %s", reply->at - reply->start, problem);
}

static size_t bytes_left(const struct reply *reply) { return (size_t)(reply->end - reply->at); }

static bool read_line(struct reply *reply, struct line *line)
{
    const char *end = memchr(reply->at, '\r', bytes_left(reply));
    if (!end || end + 1 == reply->end) {
        malformed(reply, "truncated line");
        return false;
    }
    if (end[1] != '\n') {
        malformed(reply, "a carriage return without a line feed");
        return false;
    }
    line->data = reply->at;
    line->size = (size_t)(end - reply->at);
    reply->at = end + 2;
    return true;
}

static bool parse_integer(const struct line *line, int64_t *value)
{
    const char *at = line->data;
    const char *end = at + line->size;
    bool negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+'))
        at++;
    if (at == end || end - at > INTEGER_DIGITS_MAX)
        return false;
    uint64_t magnitude = 0; /* 19 digits fit */
    for (; at < end; at++) {
        if (*at < '0' || *at > '9')
            return false;
        magnitude = magnitude * 10 + (uint64_t)(*at - '0');
    }
    if (magnitude > (uint64_t)INT64_MAX + negative)
        return false;
    *value = (int64_t)(negative ? 0 - magnitude : magnitude);
    return true;
}

static bool read_integer(struct reply *reply, int64_t *value)
{
    struct reply before = *reply;
    struct line line;
    if (!read_line(reply, &line))
        return false;
    if (parse_integer(&line, value))
        return true;
    malformed(&before, "expected a decimal integer of 64 bits");
    return false;
}

static PyObject *read_number(struct reply *reply)
{
    int64_t value;
    return read_integer(reply, &value) ? PyLong_FromLongLong(value) : NULL;
}

static PyObject *read_simple(struct reply *reply)
{
    struct line line;
    return read_line(reply, &line) ? PyBytes_FromStringAndSize(line.data, (Py_ssize_t)line.size) : NULL;
}

static PyObject *read_error(struct reply *reply)
{
    struct line line;
    return read_line(reply, &line) ? dispatcher_reply_error(line.data, line.size) : NULL;
}

static PyObject *read_bulk(struct reply *reply)
{
    int64_t size;
    if (!read_integer(reply, &size))
        return NULL;
    if (size == -1)
        return Py_None;
    if (size < 0)
        return malformed(reply, "a bulk string of negative size");
    if ((uint64_t)size + 2 > bytes_left(reply))
        return malformed(reply, "truncated bulk string");
    const char *data = reply->at;
    if (data[size] != '\r' || data[size + 1] != '\n')
        return malformed(reply, "a bulk string is not followed by a line end");
    reply->at += size + 2;
    return PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
}

static PyObject *read_value(struct reply *reply, int depth);

static PyObject *read_items(struct reply *reply, size_t count, int depth)
{
    PyObject *list = PyList_New((Py_ssize_t)count);
    if (!list)
        return NULL;
    reply->reserved += count * REPLY_SIZE_MIN;
    for (size_t i = 0; i < count; i++) {
        reply->reserved -= REPLY_SIZE_MIN;
        PyObject *item = read_value(reply, depth);
        if (!item) {
            Py_DecRef(list);
            return NULL;
        }
        PyList_SetItem(list, (Py_ssize_t)i, item);
    }
    return list;
}

static PyObject *read_array(struct reply *reply, int depth)
{
    int64_t count;
    if (!read_integer(reply, &count))
        return NULL;
    if (count == -1)
        return Py_None;
    if (count < 0)
        return malformed(reply, "an array of negative size");
    /* Announced sizes cost memory before their items are read: together they must fit into the bytes that are left. */
    size_t left = bytes_left(reply);
    if (left < reply->reserved || (uint64_t)count > (left - reply->reserved) / REPLY_SIZE_MIN)
        return malformed(reply, "truncated array");
    if (depth == REPLY_DEPTH_MAX)
        return malformed(reply, "arrays are nested too deeply");
    return read_items(reply, (size_t)count, depth + 1);
}

static PyObject *read_value(struct reply *reply, int depth)
{
    if (reply->at == reply->end)
        return malformed(reply, "truncated: expected a value");
    switch (*reply->at++) {
    case '+':
        return read_simple(reply);
    case '-':
        return read_error(reply);
    case ':':
        return read_number(reply);
    case '$':
        return read_bulk(reply);
    case '*':
        return read_array(reply, depth);
    }
    reply->at--;
    bool resp3 = memchr("_#,(!=%~>|", *reply->at, 10) != NULL;
    return malformed(reply, resp3 ? "a RESP3 type, but only RESP2 is understood" : "not a RESP type");
}

PyObject *method_decode_reply(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    char *data;
    Py_ssize_t size;
    if (!arguments_count_is("decode_reply", 1, count) || PyBytes_AsStringAndSize(args[0], &data, &size) < 0)
        return NULL;
    struct reply reply = {.start = data, .at = data, .end = data + size};
    PyObject *value = read_value(&reply, 0);
    if (value && reply.at != reply.end) {
        Py_DecRef(value);
        return malformed(&reply, "bytes after the value");
    }
    return value;
}

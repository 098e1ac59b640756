/* RESP2, the protocol of Redis: a command is an array of bulk strings; a reply is any value. */
#include <string.h>

#include "arguments.h"
#include "dispatcher.h"
#include "methods.h"
#include "writer.h"

#define REPLY_DEPTH_MAX 32   /* arrays in arrays */
#define REPLY_SIZE_MIN 3     /* of any value: a marker and a line end */
#define INTEGER_DIGITS_MAX 19 /* of a signed 64-bit integer */
#define NUMBER_SIZE_MAX (INTEGER_DIGITS_MAX + 1)
#define HEAD_SIZE_MAX (NUMBER_SIZE_MAX + 3) /* marker, line end */

/* Commands */

/* The decimal digits of a number, before `end`; returns where they begin. */
static char *put_digits(char *end, uint64_t number)
{
    do {
        *--end = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return end;
}

/* Marker, number, line end; returns where it ends. Writes at most HEAD_SIZE_MAX bytes. */
static char *put_head(char *at, char marker, size_t number)
{
    char text[NUMBER_SIZE_MAX];
    char *end = text + sizeof text;
    *at++ = marker;
    for (char *digit = put_digits(end, number); digit < end; digit++)
        *at++ = *digit;
    *at++ = '\r';
    *at++ = '\n';
    return at;
}

static bool append_bulk(struct writer *writer, const char *data, size_t size)
{
    char *at = writer_room(writer, HEAD_SIZE_MAX + size + 2);
    if (!at)
        return false;
    at = put_head(at, '$', size);
    memcpy(at, data, size);
    at += size;
    *at++ = '\r';
    *at++ = '\n';
    writer_advance(writer, at);
    return true;
}

static bool append_text(struct writer *writer, PyObject *text)
{
    const char *data;
    size_t size;
    PyObject *owner;
    bool done = text_view(text, "an argument of a Redis command", &data, &size, &owner) &&
                append_bulk(writer, data, size);
    Py_DecRef(owner);
    return done;
}

static bool append_integer(struct writer *writer, PyObject *integer)
{
    char text[NUMBER_SIZE_MAX];
    char *end = text + sizeof text;
    int overflow;
    int64_t value = PyLong_AsLongLongAndOverflow(integer, &overflow);
    if (overflow) {
        PyObject *digits = PyNumber_ToBase(integer, 10);
        bool done = digits && append_text(writer, digits);
        Py_DecRef(digits);
        return done;
    }
    char *at = put_digits(end, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
    if (value < 0)
        *--at = '-';
    return append_bulk(writer, at, (size_t)(end - at));
}

static bool append_argument(struct writer *writer, PyObject *argument)
{
    if (is_int(argument))
        return append_integer(writer, argument);
    if (is_str(argument) || is_bytes(argument))
        return append_text(writer, argument);
    wrong_type("an argument of a Redis command", "str, bytes or int", argument);
    return false;
}

static bool append_command(struct writer *writer, PyObject *items, Py_ssize_t count)
{
    if (count == 0) {
        PyErr_Format(PyExc_ValueError, "a Redis command needs at least its name");
        return false;
    }
    writer_advance(writer, put_head(writer->data, '*', (size_t)count));
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

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool read_integer(struct reply *reply, int64_t *value)
{
    const char *at = reply->at;
    const char *end = reply->end;
    bool negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+'))
        at++;
    const char *first_digit = at;
    uint64_t magnitude = 0; /* INTEGER_DIGITS_MAX digits fit */
    for (; at < end && is_digit(*at) && at - first_digit < INTEGER_DIGITS_MAX; at++)
        magnitude = magnitude * 10 + (uint64_t)(*at - '0');
    if (end - at < 2) {
        malformed(reply, "truncated line");
        return false;
    }
    if (at == first_digit || magnitude > (uint64_t)INT64_MAX + negative || at[0] != '\r' || at[1] != '\n') {
        malformed(reply, "expected a decimal integer of 64 bits and a line end");
        return false;
    }
    *value = (int64_t)(negative ? 0 - magnitude : magnitude);
    reply->at = at + 2;
    return true;
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

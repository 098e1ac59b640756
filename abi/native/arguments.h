/* Taking the arguments of a function of the module from Python. */
#pragma once

#include "stable_abi.h"

#define ARGUMENTS_MAX 6 /* grpc_call */

struct argument {
    union {
        uint32_t number;
        int64_t wide;
        size_t size; /* of data */
    };
    const char *data;
    PyObject *owner; /* of data, if it was encoded for this call */
};

struct arguments {
    struct argument at[ARGUMENTS_MAX];
};

/* False with TypeError set if `count` differs from what `function` expects. */
bool arguments_count_is(const char *function, Py_ssize_t expected, Py_ssize_t count);

/* The bytes of a str or bytes object. `*owner` is NULL, or a new reference which holds them (a str with surrogates).
 * False with TypeError set for any other type; `what` names the value in the message.
 */
bool text_view_slow(PyObject *object, const char *what, const char **data, size_t *size, PyObject **owner);

static inline bool text_view(PyObject *object, const char *what, const char **data, size_t *size, PyObject **owner)
{
    *owner = NULL;
    if (is_str(object)) {
        *data = PyUnicode_AsUTF8AndSize(object, (Py_ssize_t *)size);
        if (*data)
            return true;
    }
    return text_view_slow(object, what, data, size, owner);
}

/* How one argument of each kind is taken; false with an exception set. */
bool number_is_valid(const char *function, long long value);
bool take_wide(PyObject *object, const char *function, struct argument *argument);
bool take_truth(PyObject *object, const char *function, struct argument *argument);
bool take_pairs(PyObject *object, const char *function, struct argument *argument);
bool take_data(PyObject *object, const char *function, struct argument *argument);

static inline bool take_number(PyObject *object, const char *function, struct argument *argument)
{
    long long value = PyLong_AsLongLong(object);
    argument->number = (uint32_t)value;
    return value == argument->number || number_is_valid(function, value);
}

static inline bool take_text(PyObject *object, const char *function, struct argument *argument)
{
    return text_view(object, function, &argument->data, &argument->size, &argument->owner);
}

/* One letter of `format` per argument:
 *   i  int, -2**31 .. 2**32-1      -> number
 *   l  int of 64 bits              -> wide
 *   b  truth value                 -> number
 *   o  any object                  -> nothing: it is taken from args
 *   t  str or bytes                -> data, size
 *   d  str, bytes or bytearray     -> data, size; only where the host cannot call back meanwhile, and change it
 *   p  sequence of pairs of text   -> data, size of their serialisation
 * False with an exception set if an argument is missing, surplus or not of its kind. arguments_release is due either
 * way. What `data` points to lives as long as the Python arguments, or until then.
 *
 * The format is a literal: always inlined, both functions come down to the calls that it stands for.
 */
__attribute__((always_inline)) static inline bool arguments_take(struct arguments *arguments, const char *function,
                                                                 const char *format, PyObject *const *args,
                                                                 Py_ssize_t count)
{
    const Py_ssize_t expected = (Py_ssize_t)__builtin_strlen(format);
#pragma unroll
    for (Py_ssize_t i = 0; i < expected; i++)
        arguments->at[i].owner = NULL;
    if (count != expected)
        return arguments_count_is(function, expected, count);
#pragma unroll
    for (Py_ssize_t i = 0; i < expected; i++) {
        struct argument *argument = &arguments->at[i];
        if ((format[i] == 'i' && !take_number(args[i], function, argument)) ||
            (format[i] == 'l' && !take_wide(args[i], function, argument)) ||
            (format[i] == 'b' && !take_truth(args[i], function, argument)) ||
            (format[i] == 't' && !take_text(args[i], function, argument)) ||
            (format[i] == 'd' && !take_data(args[i], function, argument)) ||
            (format[i] == 'p' && !take_pairs(args[i], function, argument)))
            return false;
    }
    return true;
}

__attribute__((always_inline)) static inline void arguments_release(struct arguments *arguments, const char *format)
{
#pragma unroll
    for (size_t i = 0; i < __builtin_strlen(format); i++) {
        if ((format[i] == 't' || format[i] == 'd' || format[i] == 'p') && arguments->at[i].owner)
            Py_DecRef(arguments->at[i].owner);
    }
}

/* Sets TypeError "WHAT: expected EXPECTED, not TYPE"; returns NULL. */
PyObject *wrong_type(const char *what, const char *expected, PyObject *object);

/* A list or tuple with the items of a sequence (new reference), and their count.
 * NULL with TypeError(expectation) for what is no sequence; str and bytes are none here.
 */
PyObject *sequence_items(PyObject *object, const char *expectation, Py_ssize_t *count);

/* Borrowed item of what sequence_items returned. */
static inline PyObject *sequence_item(PyObject *items, Py_ssize_t index)
{
    return is_tuple(items) ? PyTuple_GetItem(items, index) : PyList_GetItem(items, index);
}

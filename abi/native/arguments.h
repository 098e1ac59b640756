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
};

struct arguments {
    struct argument at[ARGUMENTS_MAX];
    PyObject *owned[ARGUMENTS_MAX]; /* encoded for this call; held until arguments_release */
    int owned_count;
};

/* One letter of `format` per argument:
 *   i  int, -2**31 .. 2**32-1      -> number
 *   l  int of 64 bits              -> wide
 *   b  truth value                 -> number
 *   o  any object                  -> nothing: it is taken from args
 *   t  str or bytes                -> data, size
 *   p  sequence of pairs of text   -> data, size of their serialisation
 * False with an exception set if an argument is missing, surplus or not of its kind; then nothing is to be released.
 * What `data` points to lives as long as the Python arguments, or until arguments_release.
 */
bool arguments_take(struct arguments *arguments, const char *function, const char *format, PyObject *const *args,
                    Py_ssize_t count);

void arguments_release(struct arguments *arguments);

/* False with TypeError set if `count` differs from what `function` expects. */
bool arguments_count_is(const char *function, Py_ssize_t expected, Py_ssize_t count);

/* The bytes of a str or bytes object. `*owner` is NULL, or a new reference which holds them (a str with surrogates).
 * False with TypeError set for any other type; `what` names the value in the message.
 */
bool text_view(PyObject *object, const char *what, const char **data, size_t *size, PyObject **owner);

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

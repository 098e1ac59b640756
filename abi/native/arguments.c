#include "arguments.h"

#include <string.h>

#include "pairs.h"

PyObject *wrong_type(const char *what, const char *expected, PyObject *object)
{
    PyObject *name = PyType_GetName(object->ob_type);
    if (name) {
        PyErr_Format(PyExc_TypeError, "%s: expected %s, not %U", what, expected, name);
        Py_DecRef(name);
    }
    return NULL;
}

bool arguments_count_is(const char *function, Py_ssize_t expected, Py_ssize_t count)
{
    if (count == expected)
        return true;
    PyErr_Format(PyExc_TypeError, "%s: expected %zd arguments, not %zd", function, expected, count);
    return false;
}

bool text_view(PyObject *object, const char *what, const char **data, size_t *size, PyObject **owner)
{
    *owner = NULL;
    if (is_bytes(object))
        return PyBytes_AsStringAndSize(object, (char **)data, (Py_ssize_t *)size) == 0;
    if (!is_str(object)) {
        wrong_type(what, "str or bytes", object);
        return false;
    }
    *data = PyUnicode_AsUTF8AndSize(object, (Py_ssize_t *)size);
    if (*data)
        return true;
    PyErr_Clear(); /* surrogates: bytes of a peer that were not UTF-8 and must go back as they came */
    *owner = PyUnicode_AsEncodedString(object, "utf-8", "surrogateescape");
    return *owner && PyBytes_AsStringAndSize(*owner, (char **)data, (Py_ssize_t *)size) == 0;
}

PyObject *sequence_items(PyObject *object, const char *expectation, Py_ssize_t *count)
{
    if (is_str(object) || is_bytes(object))
        return PyErr_Format(PyExc_TypeError, "%s", expectation);
    PyObject *items = PySequence_Fast(object, expectation);
    if (items)
        *count = PySequence_Size(items);
    return items;
}

static bool take_number(PyObject *object, const char *function, uint32_t *number)
{
    long long value = PyLong_AsLongLong(object);
    if (value == -1 && PyErr_Occurred())
        return false;
    if (value < INT32_MIN || value > UINT32_MAX) {
        PyErr_Format(PyExc_OverflowError, "%s: %lld does not fit into 32 bits", function, value);
        return false;
    }
    *number = (uint32_t)value;
    return true;
}

static bool take_wide(PyObject *object, int64_t *wide)
{
    *wide = PyLong_AsLongLong(object);
    return *wide != -1 || !PyErr_Occurred();
}

static bool take_truth(PyObject *object, uint32_t *number)
{
    int truth = PyObject_IsTrue(object);
    *number = (uint32_t)truth;
    return truth >= 0;
}

static bool take_pairs(PyObject *object, struct argument *argument, PyObject **owner)
{
    *owner = pairs_encode(object);
    return *owner && PyBytes_AsStringAndSize(*owner, (char **)&argument->data, (Py_ssize_t *)&argument->size) == 0;
}

static bool take(PyObject *object, const char *function, char kind, struct argument *argument, PyObject **owner)
{
    switch (kind) {
    case 'i':
        return take_number(object, function, &argument->number);
    case 't':
        return text_view(object, function, &argument->data, &argument->size, owner);
    case 'p':
        return take_pairs(object, argument, owner);
    case 'b':
        return take_truth(object, &argument->number);
    case 'l':
        return take_wide(object, &argument->wide);
    default:
        return true;
    }
}

bool arguments_take(struct arguments *arguments, const char *function, const char *format, PyObject *const *args,
                    Py_ssize_t count)
{
    arguments->owned_count = 0;
    if (!arguments_count_is(function, (Py_ssize_t)strlen(format), count))
        return false;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *owner = NULL;
        bool taken = take(args[i], function, format[i], &arguments->at[i], &owner);
        if (owner)
            arguments->owned[arguments->owned_count++] = owner;
        if (!taken) {
            arguments_release(arguments);
            return false;
        }
    }
    return true;
}

void arguments_release(struct arguments *arguments)
{
    while (arguments->owned_count > 0)
        Py_DecRef(arguments->owned[--arguments->owned_count]);
}

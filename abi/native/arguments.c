#include "arguments.h"

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

bool text_view_slow(PyObject *object, const char *what, const char **data, size_t *size, PyObject **owner)
{
    if (is_str(object)) { /* surrogates: bytes of a peer that were not UTF-8 and must go back as they came */
        PyErr_Clear();
        object = *owner = PyUnicode_AsEncodedString(object, "utf-8", "surrogateescape");
        if (!object)
            return false;
    } else if (!is_bytes(object)) {
        wrong_type(what, "str or bytes", object);
        return false;
    }
    return PyBytes_AsStringAndSize(object, (char **)data, (Py_ssize_t *)size) == 0;
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

bool number_is_valid(const char *function, long long value)
{
    if (value == -1)
        return !PyErr_Occurred();
    if (value >= INT32_MIN && value <= UINT32_MAX)
        return true;
    PyErr_Format(PyExc_OverflowError, "%s: %lld does not fit into 32 bits", function, value);
    return false;
}

bool take_wide(PyObject *object, const char *function, struct argument *argument)
{
    argument->wide = PyLong_AsLongLong(object);
    return argument->wide != -1 || !PyErr_Occurred();
}

bool take_truth(PyObject *object, const char *function, struct argument *argument)
{
    int truth = PyObject_IsTrue(object);
    argument->number = (uint32_t)truth;
    return truth >= 0;
}

bool take_data(PyObject *object, const char *function, struct argument *argument)
{
    if (object->ob_type != &PyByteArray_Type)
        return take_text(object, function, argument);
    argument->data = PyByteArray_AsString(object);
    argument->size = (size_t)PyByteArray_Size(object);
    return true;
}

bool take_pairs(PyObject *object, const char *function, struct argument *argument)
{
    argument->owner = pairs_encode(object);
    return argument->owner &&
           PyBytes_AsStringAndSize(argument->owner, (char **)&argument->data, (Py_ssize_t *)&argument->size) == 0;
}

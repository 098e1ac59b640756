/* The part of CPython's stable ABI (limited API of 3.12 and later) that this extension uses, for wasm32.
 *
 * Written from the documentation of the C API, so that no CPython headers are needed to build. What is not a function
 * here is a layout or a value that the stable ABI fixes: PyObject, PyMethodDef, PyModuleDef, the type flags.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef ptrdiff_t Py_ssize_t;
typedef struct PyTypeObject PyTypeObject;

typedef struct {
    Py_ssize_t ob_refcnt;
    PyTypeObject *ob_type;
} PyObject;

/* Modules */
#define METH_FASTCALL 0x0080
#define PYTHON_ABI_VERSION 3

typedef PyObject *(*PyCFunctionFast)(PyObject *module, PyObject *const *args, Py_ssize_t count);

typedef struct {
    const char *ml_name;
    PyCFunctionFast ml_meth;
    int ml_flags;
    const char *ml_doc;
} PyMethodDef;

typedef struct {
    PyObject ob_base;
    PyObject *(*m_init)(void);
    Py_ssize_t m_index;
    PyObject *m_copy;
    const char *m_name;
    const char *m_doc;
    Py_ssize_t m_size;
    PyMethodDef *m_methods;
    void *m_slots;
    void *m_traverse;
    void *m_clear;
    void *m_free;
} PyModuleDef;

PyObject *PyModule_Create2(PyModuleDef *definition, int abi_version);

/* References. None, True and False are immortal since 3.12: they are returned without counting. */
void Py_IncRef(PyObject *object);
void Py_DecRef(PyObject *object);

extern PyObject _Py_NoneStruct;
#define Py_None (&_Py_NoneStruct)

/* Types */
#define Py_TPFLAGS_LONG_SUBCLASS (1UL << 24)
#define Py_TPFLAGS_TUPLE_SUBCLASS (1UL << 26)
#define Py_TPFLAGS_BYTES_SUBCLASS (1UL << 27)
#define Py_TPFLAGS_UNICODE_SUBCLASS (1UL << 28)
#define Py_TPFLAGS_BASE_EXC_SUBCLASS (1UL << 30)

unsigned long PyType_GetFlags(PyTypeObject *type);
PyObject *PyType_GetName(PyTypeObject *type);

/* Errors */
extern PyObject *PyExc_MemoryError;
extern PyObject *PyExc_OverflowError;
extern PyObject *PyExc_RuntimeError;
extern PyObject *PyExc_TypeError;
extern PyObject *PyExc_ValueError;

PyObject *PyErr_Format(PyObject *type, const char *format, ...);
PyObject *PyErr_NoMemory(void);
PyObject *PyErr_GetRaisedException(void);
void PyErr_SetObject(PyObject *type, PyObject *value);
void PyErr_Clear(void);
PyObject *PyErr_Occurred(void);

/* Calls */
PyObject *PyObject_VectorcallMethod(PyObject *name, PyObject *const *args, size_t count, PyObject *keywords);
int PyObject_IsTrue(PyObject *object);

/* int, bool */
PyObject *PyLong_FromUnsignedLong(unsigned long value);
PyObject *PyLong_FromLongLong(long long value);
PyObject *PyLong_FromUnsignedLongLong(unsigned long long value);
long long PyLong_AsLongLong(PyObject *object);
long long PyLong_AsLongLongAndOverflow(PyObject *object, int *overflow);
unsigned long long PyLong_AsUnsignedLongLongMask(PyObject *object);
PyObject *PyNumber_ToBase(PyObject *object, int base);
PyObject *PyBool_FromLong(long value);

/* bytes, str */
PyObject *PyBytes_FromStringAndSize(const char *data, Py_ssize_t size);
extern PyTypeObject PyByteArray_Type;
char *PyByteArray_AsString(PyObject *object);
Py_ssize_t PyByteArray_Size(PyObject *object);
int PyBytes_AsStringAndSize(PyObject *object, char **data, Py_ssize_t *size);
char *PyBytes_AsString(PyObject *object);
PyObject *PyUnicode_DecodeUTF8(const char *data, Py_ssize_t size, const char *errors);
PyObject *PyUnicode_FromString(const char *text);
PyObject *PyUnicode_InternFromString(const char *text);
const char *PyUnicode_AsUTF8AndSize(PyObject *object, Py_ssize_t *size);
PyObject *PyUnicode_AsEncodedString(PyObject *object, const char *encoding, const char *errors);

/* list, tuple */
PyObject *PyList_New(Py_ssize_t size);
int PyList_SetItem(PyObject *list, Py_ssize_t index, PyObject *item);
PyObject *PyList_GetItem(PyObject *list, Py_ssize_t index);
PyObject *PyTuple_New(Py_ssize_t size);
int PyTuple_SetItem(PyObject *tuple, Py_ssize_t index, PyObject *item);
PyObject *PyTuple_GetItem(PyObject *tuple, Py_ssize_t index);
Py_ssize_t PySequence_Size(PyObject *object);
PyObject *PySequence_Fast(PyObject *object, const char *message);

/* The thread state */
int PyGILState_Ensure(void);

static inline bool has_type(PyObject *object, unsigned long subclass_flag)
{
    return (PyType_GetFlags(object->ob_type) & subclass_flag) != 0;
}

static inline bool is_int(PyObject *object) { return has_type(object, Py_TPFLAGS_LONG_SUBCLASS); }
static inline bool is_tuple(PyObject *object) { return has_type(object, Py_TPFLAGS_TUPLE_SUBCLASS); }
static inline bool is_bytes(PyObject *object) { return has_type(object, Py_TPFLAGS_BYTES_SUBCLASS); }
static inline bool is_str(PyObject *object) { return has_type(object, Py_TPFLAGS_UNICODE_SUBCLASS); }
static inline bool is_exception(PyObject *object) { return has_type(object, Py_TPFLAGS_BASE_EXC_SUBCLASS); }

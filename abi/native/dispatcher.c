#include "dispatcher.h"

#include "arguments.h"
#include "host.h"
#include "methods.h"

static PyObject *dispatcher;
static PyObject *host_error_name;
static PyObject *reply_error_name;
static PyObject *on_exception_name;

PyObject *dispatcher_get(void) { return dispatcher; }

bool dispatcher_intern_names(void)
{
    host_error_name = PyUnicode_InternFromString("host_error");
    reply_error_name = PyUnicode_InternFromString("reply_error");
    on_exception_name = PyUnicode_InternFromString("on_exception");
    return host_error_name && reply_error_name && on_exception_name;
}

PyObject *method_set_dispatcher(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (!arguments_count_is("set_dispatcher", 1, count))
        return NULL;
    PyObject *replaced = dispatcher;
    Py_IncRef(args[0]);
    dispatcher = args[0];
    Py_DecRef(replaced);
    return Py_None;
}

/* dispatcher.name(first, second); `second` may be absent. Takes the references of the arguments, which may be NULL. */
static PyObject *call(PyObject *name, PyObject *first, PyObject *second, size_t count)
{
    PyObject *result = NULL;
    PyObject *receiver = dispatcher;
    if (!receiver)
        PyErr_Format(PyExc_RuntimeError, "%U: set_dispatcher has not been called", name);
    else if (first && (second || count == 1)) {
        PyObject *args[] = {receiver, first, second};
        Py_IncRef(receiver);
        result = PyObject_VectorcallMethod(name, args, count + 1, NULL);
        Py_DecRef(receiver);
    }
    Py_DecRef(first);
    Py_DecRef(second);
    return result;
}

PyObject *dispatcher_raise_host_error(const char *function, uint32_t status)
{
    PyObject *error = call(host_error_name, PyUnicode_FromString(function), PyLong_FromUnsignedLong(status), 2);
    if (error && is_exception(error))
        PyErr_SetObject((PyObject *)error->ob_type, error);
    else if (error)
        wrong_type("dispatcher.host_error", "an exception as its result", error);
    Py_DecRef(error);
    return NULL;
}

PyObject *dispatcher_reply_error(const char *text, size_t size)
{
    return call(reply_error_name, PyUnicode_DecodeUTF8(text, (Py_ssize_t)size, "surrogateescape"), NULL, 1);
}

void dispatcher_report_exception(PyObject *callback, uint32_t context_id)
{
    static const char lost[] = "proxywasm: a callback raised an exception, and so did on_exception, which is to log it";
    PyObject *error = PyErr_GetRaisedException();
    PyObject *id = PyLong_FromUnsignedLong(context_id);
    PyObject *args[] = {dispatcher, callback, id, error};
    PyObject *result = NULL;
    if (dispatcher && id)
        result = PyObject_VectorcallMethod(on_exception_name, args, 4, NULL);
    if (!result) {
        PyErr_Clear();
        proxy_log(LOG_ERROR, lost, sizeof lost - 1);
    }
    Py_DecRef(result);
    Py_DecRef(id);
    Py_DecRef(error);
}

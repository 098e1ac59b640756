/* `_proxywasm`: what lies between Python and a proxy-wasm host, for CPython inside a wasm module.
 *
 * Theory of operation. componentize-py imports the plugin at build time and snapshots the memory; everything that this
 * extension holds (C statics, the dispatcher, interned names) survives in the snapshot. In the gateway the host calls
 * `proxy_on_*` (callbacks.c), which looks the context up in a C table (contexts.c) and calls the Python method if it is
 * wanted. Python calls a function of this module (hostcalls.c), which calls the host; a result that the host must place
 * in our memory is received without a copy (memory.c). Errors go through the dispatcher (dispatcher.c).
 */
#include "arguments.h"
#include "callbacks.h"
#include "host.h"
#include "methods.h"

/* The linker reads the manifest in the snapshot's memory at these two symbols. */
EXPORTED const char *proxywasm_manifest;
EXPORTED unsigned proxywasm_manifest_size;

PyObject *method_set_manifest(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    static PyObject *manifest;
    char *data;
    Py_ssize_t size;
    if (!arguments_count_is("set_manifest", 1, count) || PyBytes_AsStringAndSize(args[0], &data, &size) < 0)
        return NULL;
    PyObject *replaced = manifest;
    Py_IncRef(args[0]);
    manifest = args[0];
    proxywasm_manifest = data;
    proxywasm_manifest_size = (unsigned)size;
    Py_DecRef(replaced);
    return Py_None;
}

static PyMethodDef methods[] = {
#define METHOD(name) {#name, method_##name, METH_FASTCALL, NULL},
#include "methods.def"
#undef METHOD
    {NULL, NULL, 0, NULL},
};

static PyModuleDef definition = {
    .ob_base = {.ob_refcnt = 1},
    .m_name = "_proxywasm",
    .m_doc = "The boundary between Python and a proxy-wasm host; see proxywasm._host.HostModule.",
    .m_size = -1,
    .m_methods = methods,
};

EXPORTED PyObject *PyInit__proxywasm(void)
{
    return callbacks_intern_names() ? PyModule_Create2(&definition, PYTHON_ABI_VERSION) : NULL;
}

/* The functions of the module: method_NAME for each METHOD(NAME) of methods.def. */
#pragma once

#include "stable_abi.h"

#define METHOD(name) PyObject *method_##name(PyObject *module, PyObject *const *args, Py_ssize_t count);
#include "methods.def"
#undef METHOD

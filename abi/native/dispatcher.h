/* The dispatcher: the one Python object that takes what belongs to no context, and that makes our errors. */
#pragma once

#include "stable_abi.h"

/* Borrowed; NULL until set_dispatcher was called. */
PyObject *dispatcher_get(void);

/* Interns the names of the methods called from here; false with an exception set. */
bool dispatcher_intern_names(void);

/* Raises dispatcher.host_error(function, status); returns NULL. */
PyObject *dispatcher_raise_host_error(const char *function, uint32_t status);

/* dispatcher.reply_error(text) as a new reference. */
PyObject *dispatcher_reply_error(const char *text, size_t size);

/* Hands the raised exception to dispatcher.on_exception; afterwards none is raised. */
void dispatcher_report_exception(PyObject *callback, uint32_t context_id);

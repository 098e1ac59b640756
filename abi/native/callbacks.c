/* proxy_on_*: from a callback of the host to a Python method.
 *
 * Each export answers at once, without entering Python, if its context is unknown or does not want it. Otherwise it calls
 * the method of that name with the parameters as Python numbers. An exception, or a result of a wrong type, goes to
 * dispatcher.on_exception, and the callback returns what it returns on failure. Nothing here traps.
 */
#include "callbacks.h"

#include "arguments.h"
#include "contexts.h"
#include "dispatcher.h"
#include "host.h"
#include "memory.h"

#define PARAMETERS_MAX 5 /* on_http_call_response */

struct callback {
    const char *text;
    PyObject *name; /* interned */
    bool returns;
    uint32_t unwanted; /* the result if Python is not entered, or returns None */
    uint32_t failed;   /* the result after an exception */
};

/* Kinds of results: whether there is one, its default, its value after an exception. */
#define RESULT_OF_NOTHING false, 0, 0
#define RESULT_OF_ACTION true, 0, 0 /* Continue */
#define RESULT_OF_DONE true, 1, 1   /* the context may go */
#define RESULT_OF_START true, 1, 0  /* what could not be started is refused */

enum {
#define CONTEXT_CALLBACK(name, result, parameters) INDEX_##name,
#include "context_callbacks.def"
#undef CONTEXT_CALLBACK
    INDEX_on_context_create,
    INDEX_on_delete,
    INDEX_on_http_call_response,
    INDEX_on_redis_call_response,
    INDEX_on_grpc_receive_initial_metadata,
    INDEX_on_grpc_receive,
    INDEX_on_grpc_receive_trailing_metadata,
    INDEX_on_grpc_close,
    CALLBACK_COUNT,
};

#define ENTRY(name, result) [INDEX_##name] = {#name, NULL, result}

static struct callback callbacks[CALLBACK_COUNT] = {
#define CONTEXT_CALLBACK(name, result, parameters) ENTRY(name, RESULT_OF_##result),
#include "context_callbacks.def"
#undef CONTEXT_CALLBACK
    ENTRY(on_context_create, RESULT_OF_NOTHING),
    ENTRY(on_delete, RESULT_OF_NOTHING),
    ENTRY(on_http_call_response, RESULT_OF_NOTHING),
    ENTRY(on_redis_call_response, RESULT_OF_NOTHING),
    ENTRY(on_grpc_receive_initial_metadata, RESULT_OF_NOTHING),
    ENTRY(on_grpc_receive, RESULT_OF_NOTHING),
    ENTRY(on_grpc_receive_trailing_metadata, RESULT_OF_NOTHING),
    ENTRY(on_grpc_close, RESULT_OF_NOTHING),
};

bool callbacks_intern_names(void)
{
    for (struct callback *callback = callbacks; callback < callbacks + CALLBACK_COUNT; callback++) {
        callback->name = PyUnicode_InternFromString(callback->text);
        if (!callback->name)
            return false;
    }
    return dispatcher_intern_names();
}

/* The snapshot was taken without a thread state; the first callback makes one, for good: there is one thread. */
static void enter_python(void)
{
    static bool entered;
    if (!entered) {
        PyGILState_Ensure();
        entered = true;
    }
}

/* receiver.name(*numbers) as a new reference; the last number is passed as a bool if `ends_with_flag`. */
static PyObject *call_method(PyObject *receiver, PyObject *name, const uint32_t *numbers, uint32_t count,
                             bool ends_with_flag)
{
    PyObject *args[1 + PARAMETERS_MAX] = {receiver};
    uint32_t made = 0;
    while (made < count) {
        bool is_flag = ends_with_flag && made + 1 == count;
        PyObject *number = is_flag ? PyBool_FromLong(numbers[made] != 0) : PyLong_FromUnsignedLong(numbers[made]);
        if (!number)
            break;
        args[++made] = number;
    }
    PyObject *result = NULL;
    if (made == count) {
        Py_IncRef(receiver); /* the method may detach its own context */
        result = PyObject_VectorcallMethod(name, args, 1 + count, NULL);
        Py_DecRef(receiver);
    }
    while (made > 0)
        Py_DecRef(args[made--]);
    return result;
}

/* The number that the host gets for what Python returned; takes the reference. False with an exception set. */
static bool take_result(const struct callback *callback, PyObject *result, uint32_t *number)
{
    if (!result)
        return false;
    *number = callback->unwanted;
    bool valid = true;
    if (callback->returns && result != Py_None) {
        valid = is_int(result);
        if (valid)
            *number = (uint32_t)PyLong_AsUnsignedLongLongMask(result);
        else
            wrong_type(callback->text, "int, bool or None as its result", result);
    }
    Py_DecRef(result);
    return valid;
}

static uint32_t run(const struct callback *callback, PyObject *receiver, uint32_t context_id, const uint32_t *numbers,
                    uint32_t count, bool ends_with_flag)
{
    enter_python();
    struct result *suspended = result_suspend();
    PyObject *result = call_method(receiver, callback->name, numbers, count, ends_with_flag);
    uint32_t number;
    if (!take_result(callback, result, &number)) {
        dispatcher_report_exception(callback->name, context_id);
        number = callback->failed;
    }
    result_resume(suspended);
    return number;
}

/* Callbacks of a context */

/* Kinds of parameters after the context id: their declaration, their values, and whether the last one is a bool. */
#define DECLARED_NONE
#define DECLARED_NUMBER , uint32_t number
#define DECLARED_TWO_NUMBERS , uint32_t number, uint32_t second
#define DECLARED_NUMBER_AND_END , uint32_t number, uint32_t end_of_stream
#define PASSED_NONE NULL, 0, false
#define PASSED_NUMBER &number, 1, false
#define PASSED_TWO_NUMBERS (const uint32_t[]){number, second}, 2, false
#define PASSED_NUMBER_AND_END (const uint32_t[]){number, end_of_stream}, 2, true

/* Kinds of results, as the export declares and returns them. */
#define TYPE_OF_NOTHING void
#define TYPE_OF_ACTION uint32_t
#define TYPE_OF_DONE uint32_t
#define TYPE_OF_START uint32_t
#define RETURN_NOTHING(value) (void)(value)
#define RETURN_ACTION(value) return value
#define RETURN_DONE(value) return value
#define RETURN_START(value) return value

#define UNWANTED(has_result, default_result, failed_result) (default_result)
#define UNWANTED_OF(result) UNWANTED(result)

#define CONTEXT_CALLBACK(name, result, parameters)                                                              \
    EXPORTED TYPE_OF_##result proxy_##name(uint32_t context_id DECLARED_##parameters)                           \
    {                                                                                                           \
        PyObject *object = contexts_wanting(context_id, 1u << INDEX_##name);                                    \
        RETURN_##result(object ? run(&callbacks[INDEX_##name], object, context_id, PASSED_##parameters)         \
                               : UNWANTED_OF(RESULT_OF_##result));                                              \
    }
#include "context_callbacks.def"
#undef CONTEXT_CALLBACK

/* Callbacks of the dispatcher. Their first number is the id of a context. */

static void dispatch(const struct callback *callback, const uint32_t *numbers, uint32_t count)
{
    PyObject *dispatcher = dispatcher_get();
    if (dispatcher)
        run(callback, dispatcher, numbers[0], numbers, count, false);
}

#define DISPATCH(name, ...)                                                                                     \
    dispatch(&callbacks[INDEX_##name], (const uint32_t[]){__VA_ARGS__},                                         \
             sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

EXPORTED void proxy_on_context_create(uint32_t context_id, uint32_t parent_id)
{
    DISPATCH(on_context_create, context_id, parent_id);
}

EXPORTED void proxy_on_delete(uint32_t context_id) { DISPATCH(on_delete, context_id); }

EXPORTED void proxy_on_http_call_response(uint32_t root_id, uint32_t call_id, uint32_t num_headers, uint32_t body_size,
                                          uint32_t num_trailers)
{
    DISPATCH(on_http_call_response, root_id, call_id, num_headers, body_size, num_trailers);
}

EXPORTED void proxy_on_redis_call_response(uint32_t root_id, uint32_t call_id, uint32_t status, uint32_t response_size)
{
    DISPATCH(on_redis_call_response, root_id, call_id, status, response_size);
}

EXPORTED void proxy_on_grpc_receive_initial_metadata(uint32_t root_id, uint32_t call_id, uint32_t num_elements)
{
    DISPATCH(on_grpc_receive_initial_metadata, root_id, call_id, num_elements);
}

EXPORTED void proxy_on_grpc_receive(uint32_t root_id, uint32_t call_id, uint32_t message_size)
{
    DISPATCH(on_grpc_receive, root_id, call_id, message_size);
}

EXPORTED void proxy_on_grpc_receive_trailing_metadata(uint32_t root_id, uint32_t call_id, uint32_t num_elements)
{
    DISPATCH(on_grpc_receive_trailing_metadata, root_id, call_id, num_elements);
}

EXPORTED void proxy_on_grpc_close(uint32_t root_id, uint32_t call_id, uint32_t status)
{
    DISPATCH(on_grpc_close, root_id, call_id, status);
}

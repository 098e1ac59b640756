/* The host calls, as Python functions.
 *
 * Four shapes: a command returns None, a number call an int, a byte call what the host placed in our memory, and three
 * calls return a tuple. Each line names the call, the kinds of its Python arguments (arguments.h), and what is passed.
 */
#include "arguments.h"
#include "dispatcher.h"
#include "host.h"
#include "memory.h"
#include "methods.h"

#define NEVER_ABSENT STATUS_OK

#define METHOD_HEAD(name) PyObject *method_##name(PyObject *module, PyObject *const *args, Py_ssize_t count)

/* The i-th Python argument, as the host takes it. */
#define NUMBER(i) arguments.at[i].number
#define WIDE(i) arguments.at[i].wide
#define TEXT(i) arguments.at[i].data, arguments.at[i].size

/* None for the status that stands for absence, else the exception. */
static PyObject *refused(const char *function, uint32_t status, uint32_t absent)
{
    return status == absent ? Py_None : dispatcher_raise_host_error(function, status);
}

#define COMMAND(name, format, ...)                                                                                 \
    METHOD_HEAD(name)                                                                                              \
    {                                                                                                              \
        struct arguments arguments;                                                                                \
        PyObject *value = NULL;                                                                                    \
        if (arguments_take(&arguments, #name, format, args, count)) {                                              \
            uint32_t status = proxy_##name(__VA_ARGS__);                                                           \
            value = status == STATUS_OK ? Py_None : refused("proxy_" #name, status, NEVER_ABSENT);                 \
        }                                                                                                          \
        arguments_release(&arguments, format);                                                                     \
        return value;                                                                                              \
    }

#define NUMBER_CALL(name, type, format, absent, ...)                                                               \
    METHOD_HEAD(name)                                                                                              \
    {                                                                                                              \
        struct arguments arguments;                                                                                \
        PyObject *value = NULL;                                                                                    \
        if (arguments_take(&arguments, #name, format, args, count)) {                                              \
            type number = 0;                                                                                       \
            uint32_t status = proxy_##name(__VA_ARGS__ __VA_OPT__(, ) & number);                                   \
            value = status == STATUS_OK ? PyLong_FromUnsignedLongLong(number)                                      \
                                        : refused("proxy_" #name, status, absent);                                 \
        }                                                                                                          \
        arguments_release(&arguments, format);                                                                     \
        return value;                                                                                              \
    }

/* `read` makes the Python value of the result: result_bytes, result_text or result_pairs. */
#define DATA_CALL(name, format, kind, read, absent, ...)                                                           \
    METHOD_HEAD(name)                                                                                              \
    {                                                                                                              \
        struct arguments arguments;                                                                                \
        PyObject *value = NULL;                                                                                    \
        if (arguments_take(&arguments, #name, format, args, count)) {                                              \
            struct result result;                                                                                  \
            result_expect(&result, kind);                                                                          \
            uint32_t status = proxy_##name(__VA_ARGS__ __VA_OPT__(, ) & result.data, &result.size);                \
            value = status == STATUS_OK ? read(&result) : refused("proxy_" #name, status, absent);                 \
            result_end(&result);                                                                                   \
        }                                                                                                          \
        arguments_release(&arguments, format);                                                                     \
        return value;                                                                                              \
    }

static PyObject *pair(PyObject *first, PyObject *second)
{
    PyObject *tuple = first && second ? PyTuple_New(2) : NULL;
    if (!tuple) {
        Py_DecRef(first);
        Py_DecRef(second);
        return NULL;
    }
    PyTuple_SetItem(tuple, 0, first);
    PyTuple_SetItem(tuple, 1, second);
    return tuple;
}

/* Log, time, timer, lifecycle */
COMMAND(log, "it", NUMBER(0), TEXT(1))
NUMBER_CALL(get_log_level, uint32_t, "", NEVER_ABSENT)
NUMBER_CALL(get_current_time_nanoseconds, uint64_t, "", NEVER_ABSENT)
COMMAND(set_tick_period_milliseconds, "i", NUMBER(0))
COMMAND(done, "")
COMMAND(set_effective_context, "i", NUMBER(0))

/* Buffers */
DATA_CALL(get_buffer_bytes, "iii", RESULT_BYTES, result_bytes, STATUS_NOT_FOUND, NUMBER(0), NUMBER(1), NUMBER(2))
COMMAND(set_buffer_bytes, "iiit", NUMBER(0), NUMBER(1), NUMBER(2), TEXT(3))

METHOD_HEAD(get_buffer_status)
{
    struct arguments arguments;
    uint32_t size = 0, flags = 0;
    if (!arguments_take(&arguments, "get_buffer_status", "i", args, count))
        return NULL;
    uint32_t status = proxy_get_buffer_status(NUMBER(0), &size, &flags);
    if (status != STATUS_OK)
        return refused("proxy_get_buffer_status", status, NEVER_ABSENT);
    return pair(PyLong_FromUnsignedLong(size), PyLong_FromUnsignedLong(flags));
}

/* Header maps */
NUMBER_CALL(get_header_map_size, uint32_t, "i", NEVER_ABSENT, NUMBER(0))
DATA_CALL(get_header_map_pairs, "i", RESULT_TEXT, result_pairs, NEVER_ABSENT, NUMBER(0))
COMMAND(set_header_map_pairs, "ip", NUMBER(0), TEXT(1))
DATA_CALL(get_header_map_value, "it", RESULT_TEXT, result_text, STATUS_NOT_FOUND, NUMBER(0), TEXT(1))
COMMAND(add_header_map_value, "itt", NUMBER(0), TEXT(1), TEXT(2))
COMMAND(replace_header_map_value, "itt", NUMBER(0), TEXT(1), TEXT(2))
COMMAND(remove_header_map_value, "it", NUMBER(0), TEXT(1))

/* Streams */
COMMAND(continue_stream, "i", NUMBER(0))
COMMAND(close_stream, "i", NUMBER(0))
COMMAND(send_local_response, "ittpi", NUMBER(0), TEXT(1), TEXT(2), TEXT(3), NUMBER(4))

METHOD_HEAD(get_status)
{
    struct result result;
    uint32_t code = 0;
    if (!arguments_count_is("get_status", 0, count))
        return NULL;
    result_expect(&result, RESULT_TEXT);
    uint32_t status = proxy_get_status(&code, &result.data, &result.size);
    PyObject *value = status == STATUS_OK ? pair(PyLong_FromUnsignedLong(code), result_text(&result))
                                          : refused("proxy_get_status", status, NEVER_ABSENT);
    result_end(&result);
    return value;
}

/* Callouts */
NUMBER_CALL(http_call, uint32_t, "tptpi", NEVER_ABSENT, TEXT(0), TEXT(1), TEXT(2), TEXT(3), NUMBER(4))
NUMBER_CALL(grpc_call, uint32_t, "tttpti", NEVER_ABSENT, TEXT(0), TEXT(1), TEXT(2), TEXT(3), TEXT(4), NUMBER(5))
NUMBER_CALL(grpc_stream, uint32_t, "tttp", NEVER_ABSENT, TEXT(0), TEXT(1), TEXT(2), TEXT(3))
COMMAND(grpc_send, "itb", NUMBER(0), TEXT(1), NUMBER(2))
COMMAND(grpc_cancel, "i", NUMBER(0))
COMMAND(grpc_close, "i", NUMBER(0))

/* Shared data, shared queues */
METHOD_HEAD(get_shared_data)
{
    struct arguments arguments;
    PyObject *value = NULL;
    if (arguments_take(&arguments, "get_shared_data", "t", args, count)) {
        struct result result;
        uint32_t cas = 0;
        result_expect(&result, RESULT_BYTES);
        uint32_t status = proxy_get_shared_data(TEXT(0), &result.data, &result.size, &cas);
        value = status == STATUS_OK ? pair(result_bytes(&result), PyLong_FromUnsignedLong(cas))
                                    : refused("proxy_get_shared_data", status, STATUS_NOT_FOUND);
        result_end(&result);
    }
    arguments_release(&arguments, "t");
    return value;
}

COMMAND(set_shared_data, "tdi", TEXT(0), TEXT(1), NUMBER(2))
NUMBER_CALL(register_shared_queue, uint32_t, "t", NEVER_ABSENT, TEXT(0))
NUMBER_CALL(resolve_shared_queue, uint32_t, "tt", STATUS_NOT_FOUND, TEXT(0), TEXT(1))
COMMAND(enqueue_shared_queue, "it", NUMBER(0), TEXT(1))
DATA_CALL(dequeue_shared_queue, "i", RESULT_BYTES, result_bytes, STATUS_EMPTY, NUMBER(0))

/* Metrics */
NUMBER_CALL(define_metric, uint32_t, "it", NEVER_ABSENT, NUMBER(0), TEXT(1))
COMMAND(record_metric, "il", NUMBER(0), (uint64_t)WIDE(1))
COMMAND(increment_metric, "il", NUMBER(0), WIDE(1))
NUMBER_CALL(get_metric, uint64_t, "i", NEVER_ABSENT, NUMBER(0))

/* Properties, foreign functions */
DATA_CALL(get_property, "t", RESULT_BYTES, result_bytes, STATUS_NOT_FOUND, TEXT(0))
COMMAND(set_property, "tt", TEXT(0), TEXT(1))
DATA_CALL(call_foreign_function, "tt", RESULT_BYTES, result_bytes, NEVER_ABSENT, TEXT(0), TEXT(1))

/* Higress */
COMMAND(redis_init, "ttti", TEXT(0), TEXT(1), TEXT(2), NUMBER(3))
NUMBER_CALL(redis_call, uint32_t, "tt", NEVER_ABSENT, TEXT(0), TEXT(1))
DATA_CALL(get_upstream_hosts, "", RESULT_BYTES, result_bytes, NEVER_ABSENT)
COMMAND(set_upstream_override_host, "t", TEXT(0))
COMMAND(inject_encoded_data_to_filter_chain, "tb", TEXT(0), NUMBER(1))

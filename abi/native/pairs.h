/* The serialisation of header maps: u32le count, count x (u32le key size, u32le value size), then key NUL value NUL. */
#pragma once

#include "stable_abi.h"

/* What hosts accept; beyond it they take the map for an empty one without a word (proxy-wasm-cpp-host, pairs_util). */
#define PAIRS_COUNT_MAX 1024
#define PAIRS_SIZE_MAX (1024 * 1024)

/* A sequence of pairs of str or bytes -> bytes (new reference). NULL with TypeError, or ValueError above the maxima. */
PyObject *pairs_encode(PyObject *pairs);

/* -> list of tuples of two str (new reference). NULL with ValueError if the bytes are not exactly one serialised map.
 * No bytes at all are an empty map.
 */
PyObject *pairs_decode(const char *data, size_t size);

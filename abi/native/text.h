/* Text from the host: UTF-8 in which other bytes become surrogates (surrogateescape), so that nothing is lost. */
#pragma once

#include "stable_abi.h"

/* Short texts are looked up among those made lately: header names and most values come again and again, and a str that
 * is there already costs a fifth of a new one. Two texts that share a slot replace each other.
 */
#define RECENT_TEXTS 64
#define RECENT_SIZE_MAX 32
#define RECENT_SIZE_MIN 4

/* A str (new reference); NULL with MemoryError set. */
PyObject *text_decode(const char *data, size_t size);

#include "text.h"

#include <string.h>

struct recent {
    PyObject *text;
    size_t size;
    char data[RECENT_SIZE_MAX];
};

static struct recent recent_texts[RECENT_TEXTS];

static uint32_t word_at(const char *data)
{
    uint32_t word;
    memcpy(&word, data, sizeof word);
    return word;
}

/* For sizes from RECENT_SIZE_MIN: the first and the last word tell most texts apart. */
static struct recent *slot_of(const char *data, size_t size)
{
    uint32_t mixed = (word_at(data) ^ word_at(data + size - sizeof(uint32_t)) * 31 ^ size) * 2654435769u;
    return &recent_texts[(mixed >> 16) % RECENT_TEXTS];
}

static bool holds(const struct recent *recent, const char *data, size_t size)
{
    if (recent->size != size)
        return false;
    size_t last = size - sizeof(uint32_t);
    for (size_t at = 0; at < last; at += sizeof(uint32_t)) {
        if (word_at(recent->data + at) != word_at(data + at))
            return false;
    }
    return word_at(recent->data + last) == word_at(data + last);
}

static void keep(struct recent *recent, PyObject *text, const char *data, size_t size)
{
    PyObject *replaced = recent->text;
    Py_IncRef(text);
    recent->text = text;
    recent->size = size;
    memcpy(recent->data, data, size);
    Py_DecRef(replaced);
}

PyObject *text_decode(const char *data, size_t size)
{
    bool is_short = size >= RECENT_SIZE_MIN && size <= RECENT_SIZE_MAX;
    struct recent *recent = is_short ? slot_of(data, size) : NULL;
    if (recent && holds(recent, data, size)) {
        Py_IncRef(recent->text);
        return recent->text;
    }
    PyObject *text = PyUnicode_DecodeUTF8(size ? data : "", (Py_ssize_t)size, "surrogateescape");
    if (recent && text)
        keep(recent, text, data, size);
    return text;
}

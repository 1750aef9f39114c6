#include "python/json_text.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace dsnet {
namespace {

constexpr int kDeepest = 32;

bool append_text(PyObject* value, std::string& text) {
    constexpr char kDigits[] = "0123456789abcdef";
    Py_ssize_t size = 0;
    const char* from = utf8_of(value, size);
    if (from == nullptr) return false;
    text.push_back('"');
    for (Py_ssize_t i = 0; i < size; ++i) {
        const auto byte = static_cast<unsigned char>(from[i]);
        if (byte >= 0x20 && byte != '"' && byte != '\\') {
            text.push_back(from[i]);
            continue;
        }
        text.push_back('\\');
        switch (byte) {
            case '"':
            case '\\': text.push_back(from[i]); break;
            case '\b': text.push_back('b'); break;
            case '\f': text.push_back('f'); break;
            case '\n': text.push_back('n'); break;
            case '\r': text.push_back('r'); break;
            case '\t': text.push_back('t'); break;
            default:
                text.append("u00");
                text.push_back(kDigits[byte >> 4]);
                text.push_back(kDigits[byte & 15]);
        }
    }
    text.push_back('"');
    return true;
}

#if defined(__cpp_lib_to_chars)
// What repr() of a finite float says: the fewest digits that read as it, and where the point goes.
void append_finite(double value, std::string& text) {
    constexpr int kLeast = -4, kMost = 16;
    char made[32];
    char* end =
        std::to_chars(made, made + sizeof made, std::fabs(value), std::chars_format::scientific)
            .ptr;
    *end = '\0';
    char* power = std::strchr(made, 'e');
    const int exponent = std::atoi(power + 1);
    std::string digits(1, made[0]);
    if (power > made + 2) digits.append(made + 2, power);
    if (std::signbit(value)) text.push_back('-');
    const auto count = static_cast<int>(digits.size());
    if (exponent < kLeast || exponent >= kMost) {
        text.push_back(digits[0]);
        if (count > 1) text.append(1, '.').append(digits, 1);
        text.append(power);
    } else if (exponent < 0) {
        text.append("0.").append(static_cast<std::size_t>(-exponent - 1), '0').append(digits);
    } else {
        const int whole = exponent + 1;
        if (count < whole) digits.append(static_cast<std::size_t>(whole - count), '0');
        text.append(digits, 0, static_cast<std::size_t>(whole)).push_back('.');
        text.append(count > whole ? digits.substr(static_cast<std::size_t>(whole)) : "0");
    }
}
#endif

bool append_float(double value, std::string& text) {
    if (!std::isfinite(value)) {
        text.append("null");
        return true;
    }
#if defined(__cpp_lib_to_chars)
    append_finite(value, text);
    return true;
#else
    // What repr() of a float says.
    const std::unique_ptr<char, void (*)(void*)> digits(
        PyOS_double_to_string(value, 'r', 0, Py_DTSF_ADD_DOT_0, nullptr), &PyMem_Free);
    if (digits == nullptr) {
        PyErr_Clear();
        return false;
    }
    text.append(digits.get());
    return true;
#endif
}

bool append_int(PyObject* value, std::string& text) {
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow != 0) return false;
    text.append(std::to_string(number));
    return true;
}

bool append_items(PyObject* value, std::string& text, int depth) {
    text.push_back('[');
    const Py_ssize_t count = PySequence_Fast_GET_SIZE(value);
    for (Py_ssize_t i = 0; i < count; ++i) {
        if (i > 0) text.append(", ");
        if (!append_json(PySequence_Fast_GET_ITEM(value, i), text, depth + 1)) return false;
    }
    text.push_back(']');
    return true;
}

bool append_dict(PyObject* value, std::string& text, int depth) {
    text.push_back('{');
    PyObject *name = nullptr, *item = nullptr;
    Py_ssize_t at = 0;
    for (bool first = true; PyDict_Next(value, &at, &name, &item) != 0; first = false) {
        if (!first) text.append(", ");
        if (!append_text(name, text)) return false;
        text.append(": ");
        if (!append_json(item, text, depth + 1)) return false;
    }
    text.push_back('}');
    return true;
}

}  // namespace

const char* utf8_of(PyObject* value, Py_ssize_t& size) {
    if (!PyUnicode_CheckExact(value)) return nullptr;
    const char* data = PyUnicode_AsUTF8AndSize(value, &size);
    if (data == nullptr) PyErr_Clear();
    return data;
}

bool append_json(PyObject* value, std::string& text, int depth) {
    if (depth > kDeepest) return false;
    if (PyUnicode_CheckExact(value)) return append_text(value, text);
    if (PyFloat_CheckExact(value)) return append_float(PyFloat_AS_DOUBLE(value), text);
    if (PyLong_CheckExact(value)) return append_int(value, text);
    if (value == Py_None || value == Py_True || value == Py_False) {
        text.append(value == Py_None ? "null" : value == Py_True ? "true" : "false");
        return true;
    }
    if (PyDict_CheckExact(value)) return append_dict(value, text, depth);
    if (PyList_CheckExact(value) || PyTuple_CheckExact(value))
        return append_items(value, text, depth);
    return false;
}

}  // namespace dsnet

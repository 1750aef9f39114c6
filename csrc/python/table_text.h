// Texts of a table's cells, as Python has them.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "table/lines.h"

namespace dsnet {

namespace py = pybind11;

inline py::object taken(PyObject* made) {
    if (made == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(made);
}

inline py::object text_of(std::string_view bytes) {
    return taken(
        PyUnicode_DecodeUTF8(bytes.data(), static_cast<py::ssize_t>(bytes.size()), nullptr));
}

inline std::string_view utf8_of(const py::handle& text) {
    py::ssize_t size = 0;
    const char* const data = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
    if (data == nullptr) throw py::error_already_set();
    return {data, static_cast<std::size_t>(size)};
}

inline std::string_view bytes_of(const py::handle& value) {
    char* data = nullptr;
    py::ssize_t size = 0;
    if (PyBytes_AsStringAndSize(value.ptr(), &data, &size) != 0) throw py::error_already_set();
    return {data, static_cast<std::size_t>(size)};
}

inline py::object stripped_text(std::string_view cell) {
    py::object text = text_of(stripped(cell));
    return is_ascii(cell) ? text : text.attr("strip")();
}

inline bool is_printed_as_it_is(std::string_view text) {
    for (const char c : text)
        if (c < ' ' || c > '~' || c == '\'' || c == '\\') return false;
    return true;
}

inline void add_repr(const py::handle& value, std::string& said) {
    if (PyUnicode_Check(value.ptr()) && PyUnicode_IS_ASCII(value.ptr())) {
        if (const std::string_view text = utf8_of(value); is_printed_as_it_is(text)) {
            said.append("'").append(text).append("'");
            return;
        }
    }
    said += utf8_of(py::repr(value));
}

}  // namespace dsnet

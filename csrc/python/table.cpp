// Binding of a table's plain lines and numbers.
#include <pybind11/pybind11.h>

#include <string>
#include <string_view>
#include <vector>

#include "table/plain.h"

namespace dsnet {
namespace {

namespace py = pybind11;

// Of longer ones there are too few to keep memory for.
constexpr py::ssize_t kLongest = 4096;

// Empty where it is of other characters than ASCII, or long: neither is plain.
std::string_view ascii_of(const py::str& text) {
    PyObject* const object = text.ptr();
    if (!PyUnicode_IS_ASCII(object) || PyUnicode_GET_LENGTH(object) > kLongest) return {};
    return {static_cast<const char*>(PyUnicode_DATA(object)),
            static_cast<std::size_t>(PyUnicode_GET_LENGTH(object))};
}

py::object plain_cells(const py::str& line) {
    thread_local std::vector<std::string_view> cells;
    cells.clear();
    if (!split_plain(ascii_of(line), cells)) return py::none();
    py::list found(cells.size());
    for (std::size_t i = 0; i < cells.size(); ++i) {
        PyObject* const cell =
            PyUnicode_FromStringAndSize(cells[i].data(), static_cast<py::ssize_t>(cells[i].size()));
        if (cell == nullptr) throw py::error_already_set();
        PyList_SET_ITEM(found.ptr(), static_cast<py::ssize_t>(i), cell);
    }
    return found;
}

py::object plain_numbers(const py::str& text) {
    thread_local std::vector<double> numbers;
    thread_local std::string said;
    numbers.clear();
    said.clear();
    if (!read_plain(ascii_of(text), numbers, said)) return py::none();
    py::tuple found(numbers.size());
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        PyObject* const number = PyFloat_FromDouble(numbers[i]);
        if (number == nullptr) throw py::error_already_set();
        PyTuple_SET_ITEM(found.ptr(), static_cast<py::ssize_t>(i), number);
    }
    return py::make_tuple(std::move(found), py::str(said));
}

}  // namespace

void bind_table(py::module_& module) {
    using namespace pybind11::literals;
    module.def("plain_cells", &plain_cells, "line"_a,
               R"(The cells of a plain line of comma-separated values.

Parameters
----------
line : str

Returns
-------
list of str or None
    None where it is empty, long, not ASCII, or has a quote within a cell: what `csv` takes apart.)");
    module.def("plain_numbers", &plain_numbers, "text"_a,
               R"(Plain decimals between commas.

Parameters
----------
text : str

Returns
-------
(tuple of float, str) or None
    The numbers, and what `repr` of a list of them has between its brackets. None where one is not
    plain: with an exponent, of more than 15 digits, below 0.0001, or none.)");
}

}  // namespace dsnet

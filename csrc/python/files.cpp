// Binding of files that are read whole.
#include <pybind11/pybind11.h>

#include <cstdint>
#include <optional>

#include "files/regular.h"

namespace dsnet {
namespace {

namespace py = pybind11;

// Its file system's bytes; nothing of a name that cannot be one.
py::object encoded(const py::handle& path) {
    PyObject* bytes = nullptr;
    if (PyUnicode_FSConverter(path.ptr(), &bytes) == 0) {
        if (PyErr_ExceptionMatches(PyExc_ValueError) == 0) throw py::error_already_set();
        PyErr_Clear();
        return py::none();
    }
    return py::reinterpret_steal<py::object>(bytes);
}

py::object read_file(const py::sequence& places, std::int64_t most) {
    const py::ssize_t count = static_cast<py::ssize_t>(places.size());
    for (py::ssize_t at = 0; at < count; ++at) {
        const py::object path = encoded(places[static_cast<std::size_t>(at)]);
        if (path.is_none()) return path;
        std::optional<RegularFile> file;
        {
            py::gil_scoped_release release;
            file.emplace(PyBytes_AS_STRING(path.ptr()));
        }
        if (file->is_absent()) continue;
        // Of no bytes may be one that is made while it is read, as the system's own are.
        if (file->size() <= 0 || file->size() > most) break;
        const auto data = py::reinterpret_steal<py::bytes>(
            PyBytes_FromStringAndSize(nullptr, static_cast<py::ssize_t>(file->size())));
        if (!data) throw py::error_already_set();
        bool whole;
        {
            py::gil_scoped_release release;
            whole = file->read(PyBytes_AS_STRING(data.ptr()));
            file.reset();
        }
        if (!whole) break;
        return py::make_tuple(at, data);
    }
    return py::none();
}

}  // namespace

void bind_files(py::module_& module) {
    using namespace pybind11::literals;
    module.def("read_file", &read_file, "places"_a, "most"_a,
               R"(The whole of the first file that there is.

Parameters
----------
places : sequence of path
    Local ones. What lies at the first of them where anything does is meant.
most : int
    Bytes that it may have.

Returns
-------
(int, bytes) or None
    Which of the places it is, and what it holds. None where there is none, or it is no regular
    file, is larger, cannot be read or changed meanwhile; on a system without POSIX always.

Raises
------
TypeError
    If a place is no path.)");
}

}  // namespace dsnet

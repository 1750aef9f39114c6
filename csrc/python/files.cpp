// Binding of files that are read whole.
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>

#include "files/memory.h"
#include "files/regular.h"
#include "python/file_data.h"

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

// All of a file of at most so many bytes; none of any other.
std::optional<FileMemory> content(const RegularFile& file, std::int64_t most) {
    // Of no bytes may be one that is made while it is read, as the system's own are.
    if (file.size() <= 0 || file.size() > most) return std::nullopt;
    FileMemory memory(static_cast<std::size_t>(file.size()));
    if (!file.read(memory.data())) return std::nullopt;
    return memory;
}

py::object read_file(const py::sequence& places, std::int64_t most) {
    for (std::size_t at = 0; at < places.size(); ++at) {
        const py::object path = encoded(places[at]);
        if (path.is_none()) return path;
        bool absent = false;
        std::optional<FileMemory> found = [&] {
            const py::gil_scoped_release release;
            const RegularFile file(PyBytes_AS_STRING(path.ptr()));
            absent = file.is_absent();
            return absent ? std::nullopt : content(file, most);
        }();
        if (absent) continue;
        if (!found) break;
        return py::make_tuple(at, FileData(std::move(*found)));
    }
    return py::none();
}

bool begins_with(const FileData& file, const py::bytes& beginning) {
    const FileMemory& memory = file.memory();
    const auto size = static_cast<std::size_t>(PyBytes_GET_SIZE(beginning.ptr()));
    return size <= memory.size() &&
           std::memcmp(memory.data(), PyBytes_AS_STRING(beginning.ptr()), size) == 0;
}

py::bytes bytes_of(const FileData& file) {
    const FileMemory& memory = file.memory();
    return py::bytes(reinterpret_cast<const char*>(memory.data()), memory.size());
}

}  // namespace

void bind_files(py::module_& module) {
    using namespace pybind11::literals;
    py::class_<FileData>(module, "FileData",
                         "All bytes of a file, in memory that is used again. `png_data` takes it.")
        .def("__bytes__", &bytes_of)
        .def("startswith", &begins_with, "beginning"_a);
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
(int, FileData) or None
    Which of the places it is, and what it holds. None where there is none, or it is no regular
    file, is larger, cannot be read or changed meanwhile; on a system without POSIX always.

Raises
------
TypeError
    If a place is no path.)");
}

}  // namespace dsnet

// Binding of files that are read whole.
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

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

struct Found {
    std::size_t at;
    FileMemory memory;
};

// The first of the places where anything lies, if that is a file of at most so many bytes.
std::optional<Found> first_file(const std::vector<const char*>& places, std::int64_t most) {
    for (std::size_t at = 0; at < places.size(); ++at) {
        const RegularFile file(places[at]);
        if (file.is_absent()) continue;
        // Of no bytes may be one that is made while it is read, as the system's own are.
        if (file.size() <= 0 || file.size() > most) break;
        FileMemory memory(static_cast<std::size_t>(file.size()));
        if (!file.read(memory.data())) break;
        return Found{at, std::move(memory)};
    }
    return std::nullopt;
}

py::object read_file(const py::sequence& places, std::int64_t most) {
    std::vector<py::object> paths;
    std::vector<const char*> names;
    for (const py::handle place : places) {
        paths.push_back(encoded(place));
        if (paths.back().is_none()) break;  // nothing behind it is meant
        names.push_back(PyBytes_AS_STRING(paths.back().ptr()));
    }
    std::optional<Found> found = [&] {
        const py::gil_scoped_release release;
        return first_file(names, most);
    }();
    if (!found) return py::none();
    return py::make_tuple(found->at, FileData(std::move(found->memory)));
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

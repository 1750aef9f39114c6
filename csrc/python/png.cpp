// Binding of a PNG's chunks and pixels.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "base/image.h"
#include "files/memory.h"
#include "png/chunks.h"
#include "png/pixels.h"
#include "python/arguments.h"
#include "python/file_data.h"

namespace dsnet {
namespace {

py::buffer_info plain_bytes(const py::buffer& buffer, const char* name) {
    py::buffer_info data = buffer.request();
    if (data.itemsize != 1 || data.ndim != 1 || data.strides[0] != 1)
        throw py::type_error(std::string(name) + " must be contiguous bytes, got items of " +
                             std::to_string(data.itemsize) + " bytes in " +
                             std::to_string(data.ndim) + " dimensions");
    return data;
}

// What a plain file's pixels are compressed to, in the memory that the file was read into.
class PngData {
  public:
    PngData(FileMemory memory, PngChunks chunks)
        : memory_(std::move(memory)), chunks_(std::move(chunks)) {
        if (chunks_.bits != 0) size_ = join_parts(memory_.data(), chunks_);
    }

    py::buffer_info view() const {
        const std::uint8_t* const begin = memory_.data() + chunks_.begin;
        return py::buffer_info(begin, size_);
    }
    py::bytes file() const {
        const auto size = static_cast<py::ssize_t>(memory_.size());
        auto whole = py::reinterpret_steal<py::bytes>(PyBytes_FromStringAndSize(nullptr, size));
        if (!whole) throw py::error_already_set();
        write_apart(memory_.data(), size, chunks_,
                    reinterpret_cast<std::uint8_t*>(PyBytes_AS_STRING(whole.ptr())));
        return whole;
    }

  private:
    FileMemory memory_;
    PngChunks chunks_;
    std::ptrdiff_t size_ = 0;
};

FileMemory memory_of(const py::object& file) {
    if (py::isinstance<FileData>(file)) return file.cast<FileData&>().taken();
    if (!py::isinstance<py::buffer>(file))
        throw py::type_error("file must be bytes, got " + kind_text(file));
    const py::buffer_info data = plain_bytes(py::reinterpret_borrow<py::buffer>(file), "file");
    FileMemory memory(static_cast<std::size_t>(data.size));
    if (data.size > 0) std::memcpy(memory.data(), data.ptr, memory.size());
    return memory;
}

py::tuple png_data(const py::object& file) {
    FileMemory memory = memory_of(file);
    const auto size = static_cast<std::ptrdiff_t>(memory.size());
    PngChunks chunks;
    std::optional<PngData> found;
    {
        py::gil_scoped_release release;
        chunks = read_chunks(memory.data(), size);
        if (chunks.fault == PngFault::kNone) found.emplace(std::move(memory), chunks);
    }
    switch (chunks.fault) {
        case PngFault::kNone: break;
        case PngFault::kCutShort:
            throw py::value_error("the PNG is cut short after " + std::to_string(size) + " bytes");
        case PngFault::kDamaged:
            throw py::value_error("the PNG is damaged at byte " + std::to_string(chunks.at));
        case PngFault::kNoHeader:
            throw py::value_error("the PNG is damaged: it does not begin with its header");
        case PngFault::kFrames:
            throw py::value_error("the PNG holds several frames, one is wanted");
    }
    return py::make_tuple(chunks.height, chunks.width, chunks.bits, std::move(*found));
}

std::ptrdiff_t undo(const FilteredRows& filtered, Image<std::uint8_t> to, std::uint16_t&) {
    return undo_filters(filtered, to);
}
std::ptrdiff_t undo(const FilteredRows& filtered, Image<std::uint16_t> to, std::uint16_t& least) {
    return undo_filters(filtered, to, least);
}

template <typename Pixel>
py::tuple pixels_of(const py::buffer_info& data, std::int64_t width, std::int64_t rows,
                    std::int64_t cols) {
    if (data.size / (1 + width * static_cast<std::int64_t>(sizeof(Pixel))) < rows)
        throw py::value_error("filtered must hold " + std::to_string(rows) + " rows of " +
                              std::to_string(width) + " pixels, got " + std::to_string(data.size) +
                              " bytes");
    Array<Pixel> pixels({rows, cols});
    const Image<Pixel> to = writable(pixels);
    std::ptrdiff_t wrong;
    std::uint16_t least = 0;
    {
        py::gil_scoped_release release;
        wrong = undo({static_cast<const std::uint8_t*>(data.ptr), width}, to, least);
    }
    if (wrong >= 0)
        throw py::value_error("filtered must have filters 0 to 4, got another one in row " +
                              std::to_string(wrong));
    return py::make_tuple(std::move(pixels), least);
}

py::tuple png_pixels(const py::buffer& filtered, std::int64_t width, int bits, std::int64_t rows,
                     std::int64_t cols) {
    const py::buffer_info data = plain_bytes(filtered, "filtered");
    if (width < 1 || width > kMostPixels)
        throw py::value_error("width must be within 1 and " + std::to_string(kMostPixels) +
                              ", got " + std::to_string(width));
    if (rows < 0 || rows > kMostPixels)
        throw py::value_error("rows must be within 0 and " + std::to_string(kMostPixels) +
                              ", got " + std::to_string(rows));
    if (cols < 0 || cols > width)
        throw py::value_error("cols must be within 0 and the width of " + std::to_string(width) +
                              ", got " + std::to_string(cols));
    if (bits == 8) return pixels_of<std::uint8_t>(data, width, rows, cols);
    if (bits == 16) return pixels_of<std::uint16_t>(data, width, rows, cols);
    throw py::value_error("bits must be 8 or 16, got " + std::to_string(bits));
}

}  // namespace

void bind_png(py::module_& module) {
    using namespace pybind11::literals;
    py::class_<PngData>(module, "PngData", py::buffer_protocol(),
                        "What the pixels of a plain PNG file are compressed to.")
        .def_buffer([](const PngData& data) { return data.view(); })
        .def("file", &PngData::file, "All bytes of the file, plain or not, as they were.");
    module.def("png_data", &png_data, "file"_a,
               R"(What a PNG file's header states and its pixels are compressed to.

Each chunk is compared with its checksum; nothing is inflated.

Parameters
----------
file : FileData or bytes
    All of a file that begins as a PNG does. A FileData is used up.

Returns
-------
height, width : int
bits : int
    8 or 16 of a pixel in a plain file: grey, not interlaced, no side longer than 65536, nothing
    in it that could change a pixel. 0 of any other.
data : PngData
    As bytes, what a plain file's pixels are compressed to; empty of any other.

Raises
------
TypeError
    If `file` is no plain bytes.
ValueError
    If it is cut short or damaged, holds several frames, or was used up before.)");
    module.def("png_pixels", &png_pixels, "filtered"_a, py::kw_only(), "width"_a, "bits"_a,
               "rows"_a, "cols"_a,
               R"(The upper left pixels of a grey PNG, of what its data inflate to.

Parameters
----------
filtered : bytes
    As the PNG specification (9.2) has it: of each row the number of its filter, then its pixels,
    the high byte first. Rows that follow may be missing.
width : int
    Pixels of a row.
bits : {8, 16}
    Of a pixel.
rows, cols : int
    How many are wanted.

Returns
-------
pixels : uint8 or uint16 [rows, cols]
least : int
    Of 16 bits, the least of them that is not 0; 0 where there is none, and of 8 bits.

Raises
------
TypeError
    If `filtered` is no plain bytes.
ValueError
    If it holds fewer rows or a filter that there is not, or a number is out of range.)");
}

}  // namespace dsnet

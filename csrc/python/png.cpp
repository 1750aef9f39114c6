// Binding of a PNG's pixels.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "base/image.h"
#include "png/pixels.h"
#include "python/arguments.h"

namespace dsnet {
namespace {

template <typename Pixel>
py::array pixels_of(const py::buffer_info& data, std::int64_t width, std::int64_t rows,
                    std::int64_t cols) {
    if (data.size / (1 + width * static_cast<std::int64_t>(sizeof(Pixel))) < rows)
        throw py::value_error("filtered must hold " + std::to_string(rows) + " rows of " +
                              std::to_string(width) + " pixels, got " + std::to_string(data.size) +
                              " bytes");
    Array<Pixel> pixels({rows, cols});
    const Image<Pixel> to = writable(pixels);
    std::ptrdiff_t wrong;
    {
        py::gil_scoped_release release;
        wrong = undo_filters({static_cast<const std::uint8_t*>(data.ptr), width}, to);
    }
    if (wrong >= 0)
        throw py::value_error("filtered must have filters 0 to 4, got another one in row " +
                              std::to_string(wrong));
    return std::move(pixels);
}

py::array png_pixels(const py::buffer& filtered, std::int64_t width, int bits, std::int64_t rows,
                     std::int64_t cols) {
    const py::buffer_info data = filtered.request();
    if (data.itemsize != 1 || data.ndim != 1 || data.strides[0] != 1)
        throw py::type_error("filtered must be contiguous bytes, got items of " +
                             std::to_string(data.itemsize) + " bytes in " +
                             std::to_string(data.ndim) + " dimensions");
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
uint8 or uint16 [rows, cols]

Raises
------
TypeError
    If `filtered` is no plain bytes.
ValueError
    If it holds fewer rows or a filter that there is not, or a number is out of range.)");
}

}  // namespace dsnet

// Binding of what pixels are kept as: a label's planes in a store, the codes of a CT slice.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "codes/simd.h"
#include "python/arguments.h"

namespace dsnet {
namespace {

// The bytes of a plane that is yet to be filled.
template <typename T>
py::bytes plane_of(py::ssize_t pixels, T** data) {
    const auto size = pixels * static_cast<py::ssize_t>(sizeof(T));
    auto plane = py::reinterpret_steal<py::bytes>(PyBytes_FromStringAndSize(nullptr, size));
    if (!plane) throw py::error_already_set();
    *data = reinterpret_cast<T*>(PyBytes_AS_STRING(plane.ptr()));
    return plane;
}

template <typename T>
bool is_plain(const py::object& value) {
    return py::isinstance<Array<T>>(value) && is_aligned(value);
}

py::bytes codes_of(const Array<float>& values, int bits) {
    if (bits == 8) {
        std::uint8_t* codes;
        py::bytes plane = plane_of(values.size(), &codes);
        codes_simd().quantise_8(values.data(), values.size(), codes);
        return plane;
    }
    std::uint16_t* codes;
    py::bytes plane = plane_of(values.size(), &codes);
    codes_simd().quantise_16(values.data(), values.size(), codes);
    return plane;
}

py::object label_codes(const py::object& image, const py::object& alpha, const py::object& binary,
                       const py::object& trimap, int alpha_bits) {
    if (alpha_bits != 8 && alpha_bits != 16)
        throw py::value_error("alpha_bits must be 8 or 16, got " + std::to_string(alpha_bits));
    if (!is_plain<float>(image) || !is_plain<float>(alpha) || !is_plain<bool>(binary) ||
        !is_plain<std::uint8_t>(trimap))
        return py::none();
    const auto grey = py::reinterpret_borrow<Array<float>>(image);
    const auto soft = py::reinterpret_borrow<Array<float>>(alpha);
    const auto hard = py::reinterpret_borrow<Array<bool>>(binary);
    const auto parts = py::reinterpret_borrow<Array<std::uint8_t>>(trimap);
    if (grey.ndim() != 2 || grey.size() == 0) return py::none();
    for (const py::array& other : {py::array(soft), py::array(hard), py::array(parts)})
        if (other.ndim() != 2 || other.shape(0) != grey.shape(0) || other.shape(1) != grey.shape(1))
            return py::none();
    const py::ssize_t pixels = grey.size();
    const CodesSimd& simd = codes_simd();
    if (!simd.are_shares(grey.data(), pixels) || !simd.are_shares(soft.data(), pixels) ||
        !simd.are_trimap(parts.data(), pixels))
        return py::none();
    std::uint8_t *halved, *copied;
    const py::bytes cut = plane_of(pixels, &halved), split = plane_of(pixels, &copied);
    simd.halve(soft.data(), pixels, halved);
    if (std::memcmp(halved, hard.data(), static_cast<std::size_t>(pixels)) != 0) return py::none();
    std::memcpy(copied, parts.data(), static_cast<std::size_t>(pixels));
    return py::make_tuple(codes_of(grey, 16), codes_of(soft, alpha_bits), cut, split);
}

// [H, W] of uint16 whose columns are contiguous.
Image<const std::uint16_t> codes_argument(const py::array_t<std::uint16_t>& codes) {
    if (codes.ndim() != 2 || !is_aligned(codes) || codes.shape(0) < 1 || codes.shape(1) < 1 ||
        codes.strides(1) != 2 || codes.strides(0) % 2 != 0 || codes.strides(0) < 0)
        throw py::type_error("codes must be uint16 [H, W] with contiguous columns, got " +
                             kind_text(codes));
    return {codes.data(), codes.shape(0), codes.shape(1), codes.strides(0) / 2};
}

int lowest_code(const py::array_t<std::uint16_t>& codes) {
    const Image<const std::uint16_t> image = codes_argument(codes);
    std::uint16_t least = 0;
    for (std::ptrdiff_t y = 0; y < image.rows; ++y)
        least = codes_simd().lowest(image.row(y), image.cols, least);
    return least;
}

py::array windowed_codes(const py::array_t<std::uint16_t>& codes, py::ssize_t top, py::ssize_t left,
                         py::ssize_t size, double offset, double low, double high) {
    const Image<const std::uint16_t> image = codes_argument(codes);
    constexpr py::ssize_t kFar = py::ssize_t{1} << 31;
    if (size < 1 || size > kMostPixels / size || top < -kFar || top > kFar || left < -kFar ||
        left > kFar)
        throw py::value_error(
            "size must be at least 1, and top and left within an image's reach, "
            "got " +
            std::to_string(size) + ", " + std::to_string(top) + ", " + std::to_string(left));
    if (!(low < high)) throw py::value_error("low must be below high");
    const HuWindow window = {offset, low, high};
    Array<float> values({size, size});
    const Image<float> to = writable(values);
    const auto within = [](py::ssize_t at, py::ssize_t length) {
        return std::min(std::max<py::ssize_t>(at, 0), length - 1);
    };
    const py::ssize_t first = within(left, image.cols);
    const py::ssize_t last = within(left + size - 1, image.cols);
    for (py::ssize_t y = 0; y < size; ++y) {
        const std::uint16_t* from = image.row(within(top + y, image.rows));
        float* row = to.row(y);
        // Columns of the image, then its edges' again on either side.
        const py::ssize_t begin = within(first - left, size);
        codes_simd().windowed(from + first, last - first + 1, window, row + begin);
        std::fill(row, row + begin, row[begin]);
        const py::ssize_t end = begin + last - first;
        std::fill(row + end + 1, row + size, row[end]);
    }
    return std::move(values);
}

}  // namespace

void bind_codes(py::module_& module) {
    using namespace pybind11::literals;
    module.def("label_codes", &label_codes, "image"_a, "alpha"_a, "binary"_a, "trimap"_a,
               "alpha_bits"_a,
               R"(A label's planes as the bytes that a store keeps.

Parameters
----------
image, alpha : float32 [H, W]
    In 0..1.
binary : bool [H, W]
    alpha >= 0.5.
trimap : uint8 [H, W]
    0, 128 or 255.
alpha_bits : {8, 16}

Returns
-------
tuple of four bytes, or None
    The codes of 16, of `alpha_bits`, of 8 and 8 bits, little-endian. None where an argument is
    anything else than a contiguous array of that kind, shape and values.

Raises
------
ValueError
    If alpha_bits is another number.)");
    module.def("lowest_code", &lowest_code, "codes"_a.noconvert(),
               R"(The least of the codes that are not 0; 0 where there is no other.

Parameters
----------
codes : uint16 [H, W]
    Columns are contiguous.)");
    module.def("windowed_codes", &windowed_codes, "codes"_a.noconvert(), py::kw_only(), "top"_a,
               "left"_a, "size"_a, "offset"_a, "low"_a, "high"_a,
               R"(A square of a CT slice in a window of HU.

Parameters
----------
codes : uint16 [H, W]
    HU + offset; columns are contiguous.
top, left, size : int
    Of the square, which may lie beyond the slice: its edge pixels go on.
offset, low, high : float

Returns
-------
float32 [size, size]
    (HU - low) / (high - low) in float64, within 0..1.

Raises
------
ValueError
    If low is not below high, or the square is out of all reach.)");
}

}  // namespace dsnet

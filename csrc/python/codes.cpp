// Binding of what pixels are kept as: a label's planes in a store, the codes of a CT slice.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "codes/simd.h"
#include "python/arguments.h"

namespace dsnet {
namespace {

// Where a plane's codes go: bytes that are made for them, or a part of the caller's array.
struct Plane {
    py::object holder;
    std::uint8_t* data;
};

Plane new_plane(py::ssize_t size) {
    auto plane = py::reinterpret_steal<py::object>(PyBytes_FromStringAndSize(nullptr, size));
    if (!plane) throw py::error_already_set();
    auto* data = reinterpret_cast<std::uint8_t*>(PyBytes_AS_STRING(plane.ptr()));
    return {std::move(plane), data};
}

Plane given_plane(const py::handle& value, py::ssize_t size, int bytes) {
    const auto array = py::reinterpret_borrow<py::object>(value);
    if (py::isinstance<Array<std::uint8_t>>(array)) {
        auto part = py::reinterpret_borrow<Array<std::uint8_t>>(array);
        if (part.ndim() == 1 && part.size() == size && part.writeable() &&
            reinterpret_cast<std::uintptr_t>(part.data()) % static_cast<unsigned>(bytes) == 0)
            return {array, part.mutable_data()};
    }
    throw py::value_error(
        "into must be writeable uint8 arrays of as many bytes as the codes take, "
        "aligned for them, got " +
        kind_text(array) + " for " + std::to_string(size) + " bytes");
}

template <typename T>
bool is_plain(const py::object& value) {
    return py::isinstance<Array<T>>(value) && is_aligned(value);
}

void codes_of(const Array<float>& values, int bits, std::uint8_t* codes) {
    if (bits == 8)
        codes_simd().quantise_8(values.data(), values.size(), codes);
    else
        codes_simd().quantise_16(values.data(), values.size(),
                                 reinterpret_cast<std::uint16_t*>(codes));
}

py::object label_codes(const py::object& image, const py::object& alpha, const py::object& binary,
                       const py::object& trimap, int alpha_bits,
                       const std::optional<py::tuple>& into) {
    if (alpha_bits != 8 && alpha_bits != 16)
        throw py::value_error("alpha_bits must be 8 or 16, got " + std::to_string(alpha_bits));
    if (into && into->size() != 4)
        throw py::value_error("into must be 4 arrays, got " + std::to_string(into->size()));
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
    const int bytes[] = {2, alpha_bits / 8, 1, 1};
    Plane planes[4];
    for (int i = 0; i < 4; ++i) {
        const py::ssize_t size = pixels * bytes[i];
        planes[i] = into ? given_plane((*into)[i], size, bytes[i]) : new_plane(size);
    }
    simd.halve(soft.data(), pixels, planes[2].data);
    if (std::memcmp(planes[2].data, hard.data(), static_cast<std::size_t>(pixels)) != 0)
        return py::none();
    std::memcpy(planes[3].data, parts.data(), static_cast<std::size_t>(pixels));
    codes_of(grey, 16, planes[0].data);
    codes_of(soft, alpha_bits, planes[1].data);
    if (into) return *into;
    return py::make_tuple(planes[0].holder, planes[1].holder, planes[2].holder, planes[3].holder);
}

int lowest_code(const py::array_t<std::uint16_t>& codes) {
    const Image<const std::uint16_t> image = codes_argument(codes);
    std::uint16_t least = 0;
    for (std::ptrdiff_t y = 0; y < image.rows; ++y)
        least = codes_simd().lowest(image.row(y), image.cols, least);
    return least;
}

}  // namespace

void bind_codes(py::module_& module) {
    using namespace pybind11::literals;
    module.def("label_codes", &label_codes, "image"_a, "alpha"_a, "binary"_a, "trimap"_a,
               "alpha_bits"_a, "into"_a = py::none(),
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
into : tuple of four uint8 [N], optional
    Where the codes go, each of as many bytes as they take.

Returns
-------
tuple of four bytes, or `into`, or None
    The codes of 16, of `alpha_bits`, of 8 and 8 bits, little-endian. None where an argument is
    anything else than a contiguous array of that kind, shape and values; `into` may then hold
    anything.

Raises
------
ValueError
    If alpha_bits is another number, or `into` something else.)");
    module.def("lowest_code", &lowest_code, "codes"_a.noconvert(),
               R"(The least of the codes that are not 0; 0 where there is no other.

Parameters
----------
codes : uint16 [H, W]
    Columns are contiguous.)");
}

}  // namespace dsnet

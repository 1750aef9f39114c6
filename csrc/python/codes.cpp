// Binding of a label's planes as a store keeps them.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <cstring>
#include <string>

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
        if (other.ndim() != 2 || other.shape(0) != grey.shape(0) ||
            other.shape(1) != grey.shape(1))
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
}

}  // namespace dsnet

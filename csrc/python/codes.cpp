// Binding of what pixels are kept as: a label's planes in a store, the codes of a CT slice.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "codes/simd.h"
#include "python/arguments.h"
#include "python/label_codes.h"

namespace dsnet {
namespace {

constexpr std::ptrdiff_t kPart = 1024;

// Has memory fetched that is read next.
template <typename T>
void fetch(const T* values, std::ptrdiff_t count) {
#if defined(__GNUC__)
    constexpr std::ptrdiff_t kLine = 64 / sizeof(T);
    for (std::ptrdiff_t i = 0; i < count; i += kLine) __builtin_prefetch(values + i);
#else
    (void)values, (void)count;
#endif
}

template <typename T>
bool is_plain(const py::object& value) {
    return py::isinstance<Array<T>>(value) && is_aligned(value);
}

template <typename T>
const T* data_of(const py::object& value) {
    return static_cast<const T*>(py::reinterpret_borrow<py::array>(value).data());
}

py::object label_codes(const py::object& image, const py::object& alpha, const py::object& binary,
                       const py::object& trimap, int alpha_bits) {
    if (alpha_bits != 8 && alpha_bits != 16)
        throw py::value_error("alpha_bits must be 8 or 16, got " + std::to_string(alpha_bits));
    const auto label = label_planes(image, alpha, binary, trimap);
    if (!label) return py::none();
    py::tuple made(kLabelPlanes);
    std::uint8_t* into[kLabelPlanes];
    for (std::size_t i = 0; i < kLabelPlanes; ++i) {
        const py::ssize_t size = label->pixels() * code_bytes(i, alpha_bits);
        auto plane = py::reinterpret_steal<py::object>(PyBytes_FromStringAndSize(nullptr, size));
        if (!plane) throw py::error_already_set();
        into[i] = reinterpret_cast<std::uint8_t*>(PyBytes_AS_STRING(plane.ptr()));
        made[i] = std::move(plane);
    }
    if (!write_codes(*label, alpha_bits, into)) return py::none();
    return made;
}

int lowest_code(const py::array_t<std::uint16_t>& codes) {
    const Image<const std::uint16_t> image = codes_argument(codes);
    std::uint16_t least = 0;
    for (std::ptrdiff_t y = 0; y < image.rows; ++y)
        least = codes_simd().lowest(image.row(y), image.cols, least);
    return least;
}

}  // namespace

std::optional<LabelPlanes> label_planes(const py::object& image, const py::object& alpha,
                                        const py::object& binary, const py::object& trimap) {
    if (!is_plain<float>(image) || !is_plain<float>(alpha) || !is_plain<bool>(binary) ||
        !is_plain<std::uint8_t>(trimap))
        return std::nullopt;
    const auto grey = py::reinterpret_borrow<py::array>(image);
    if (grey.ndim() != 2 || grey.size() == 0) return std::nullopt;
    for (const py::object* other : {&alpha, &binary, &trimap}) {
        const auto array = py::reinterpret_borrow<py::array>(*other);
        if (array.ndim() != 2 || array.shape(0) != grey.shape(0) || array.shape(1) != grey.shape(1))
            return std::nullopt;
    }
    return LabelPlanes{
        data_of<float>(image),         data_of<float>(alpha), data_of<std::uint8_t>(binary),
        data_of<std::uint8_t>(trimap), grey.shape(0),         grey.shape(1)};
}

bool write_codes(const LabelPlanes& planes, int alpha_bits,
                 std::uint8_t* const (&into)[kLabelPlanes]) {
    const CodesSimd& simd = codes_simd();
    // Part by part: what was looked at is still at hand when it is written.
    for (std::ptrdiff_t at = 0; at < planes.pixels(); at += kPart) {
        const std::ptrdiff_t count = std::min(kPart, planes.pixels() - at);
        const float *image = planes.image + at, *alpha = planes.alpha + at;
        const std::ptrdiff_t next = std::min(kPart, planes.pixels() - at - count);
        fetch(image + count, next);
        fetch(alpha + count, next);
        fetch(planes.binary + at + count, next);
        fetch(planes.trimap + at + count, next);
        if (!simd.are_shares(image, count) || !simd.are_shares(alpha, count) ||
            !simd.are_trimap(planes.trimap + at, count))
            return false;
        std::uint8_t* binary = into[2] + at;
        simd.halve(alpha, count, binary);
        const auto bytes = static_cast<std::size_t>(count);
        if (std::memcmp(binary, planes.binary + at, bytes) != 0) return false;
        std::memcpy(into[3] + at, planes.trimap + at, bytes);
        simd.quantise_16(image, count, reinterpret_cast<std::uint16_t*>(into[0]) + at);
        if (alpha_bits == 16)
            simd.quantise_16(alpha, count, reinterpret_cast<std::uint16_t*>(into[1]) + at);
        else
            simd.quantise_8(alpha, count, into[1] + at);
    }
    return true;
}

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
}

}  // namespace dsnet

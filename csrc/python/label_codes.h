// A label's planes, checked and written as the codes that a store keeps.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <optional>

namespace dsnet {

namespace py = pybind11;

constexpr std::size_t kLabelPlanes = 4;

// image, alpha, binary and trimap as they lie: each rows x cols, not empty, contiguous.
struct LabelPlanes {
    const float *image, *alpha;
    const std::uint8_t *binary, *trimap;
    std::ptrdiff_t rows, cols;

    std::ptrdiff_t pixels() const { return rows * cols; }
};

// Those of four NumPy arrays, which must outlive it; none where one is of any other kind or shape.
std::optional<LabelPlanes> label_planes(const py::object& image, const py::object& alpha,
                                        const py::object& binary, const py::object& trimap);

// Bytes of a pixel of each plane.
constexpr std::ptrdiff_t code_bytes(std::size_t plane, int alpha_bits) {
    return plane == 0 ? 2 : plane == 1 ? alpha_bits / 8 : 1;
}

// Writes the planes' codes. False where a value is none that may be there; `into` may then hold
// anything.
bool write_codes(const LabelPlanes& planes, int alpha_bits,
                 std::uint8_t* const (&into)[kLabelPlanes]);

}  // namespace dsnet

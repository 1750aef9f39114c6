// Masks of 64 pixels a word, for the CPU.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dsnet {

// Pixel (y, x) is bit x % 64 of words[x / 64 * stride + y]: words of one column of words lie one
// after another, so that loops over rows use vectors whatever the width.
struct BitPlane {
    std::uint64_t* words;
    std::ptrdiff_t stride;
    std::ptrdiff_t rows;
    std::ptrdiff_t cols;  // pixels

    std::ptrdiff_t columns() const { return (cols + 63) / 64; }
    std::uint64_t* column(std::ptrdiff_t c) const { return words + c * stride; }
};

// Millimetres (or pixels) from one pixel centre to the next.
struct Spacing {
    double row = 1.0;
    double column = 1.0;
};

// Of the largest distance, what counts as no less: the rest is rounding.
inline constexpr double kAsFar = 1.0 - 1e-12;

}  // namespace dsnet

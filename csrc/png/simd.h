// Filters of a PNG's rows, undone a group of rows at a time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/vector_unit.h"

namespace dsnet {

// Rows of a group, and the pixels that are worked on at a time.
inline constexpr std::ptrdiff_t kPngGroup = 8;
// Of a group's workspace: pixels before and behind each row, which are none.
inline constexpr std::ptrdiff_t kPngMargin = 2 * kPngGroup;

enum PngFilter : std::uint8_t { kNone, kSub, kUp, kAverage, kPaeth, kPngFilters };

template <typename Pixel>
struct PngGroup {
    const std::uint8_t* filtered;  // the first row's filter
    std::ptrdiff_t filtered_stride;
    Pixel* pixels;
    std::ptrdiff_t stride;
    std::ptrdiff_t rows;  // up to kPngGroup
    std::ptrdiff_t cols;
    const Pixel* above;  // the row before the first one
    Pixel* workspace;    // (kPngGroup + 1) * (cols + 2 * kPngMargin)
};

struct PngSimd {
    void (*undo_8)(const PngGroup<std::uint8_t>& group);
    void (*undo_16)(const PngGroup<std::uint16_t>& group);
    // The least of some pixels and `least`; 0 counts as the highest.
    std::uint16_t (*least_16)(const std::uint16_t* pixels, std::ptrdiff_t count,
                              std::uint16_t least);
};

DSNET_VECTOR_TABLE(PngSimd, png_simd)

}  // namespace dsnet

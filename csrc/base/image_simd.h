// Loops over whole images on either side of a label.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/vector_unit.h"

namespace dsnet {

struct Range {
    float low, high;
    bool ordered;  // no NaN
};

struct ImageSimd {
    // Of `count` >= 1 values.
    Range (*range)(const float* values, std::ptrdiff_t count);
    // Brings alpha to the mask's side of one half; binary = the mask.
    void (*take_sides)(const std::uint8_t* mask, std::ptrdiff_t count, float* alpha,
                       std::uint8_t* binary);
};

DSNET_VECTOR_TABLE(ImageSimd, image_simd)

}  // namespace dsnet

// Values in 0..1 as whole numbers, and what a label's planes may hold.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/vector_unit.h"

namespace dsnet {

struct CodesSimd {
    // Whether all values lie in 0..1; NaN does not.
    bool (*are_shares)(const float* values, std::ptrdiff_t count);
    // Round to the nearest code, half a code up: value * (2^bits - 1) + 0.5 in float64, cut off.
    void (*quantise_8)(const float* values, std::ptrdiff_t count, std::uint8_t* codes);
    void (*quantise_16)(const float* values, std::ptrdiff_t count, std::uint16_t* codes);
    // 1 where a value is at least one half.
    void (*halve)(const float* values, std::ptrdiff_t count, std::uint8_t* binary);
    // Whether all are 0, 128 or 255.
    bool (*are_trimap)(const std::uint8_t* values, std::ptrdiff_t count);
};

DSNET_VECTOR_TABLE(CodesSimd, codes_simd)

}  // namespace dsnet

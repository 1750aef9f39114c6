// Whole numbers that pixels are kept as: a store's, of values in 0..1, and a CT slice's, of HU.
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
    // The least of some codes and `least`; 0 counts as the highest.
    std::uint16_t (*lowest)(const std::uint16_t* codes, std::ptrdiff_t count, std::uint16_t least);
};

DSNET_VECTOR_TABLE(CodesSimd, codes_simd)

}  // namespace dsnet

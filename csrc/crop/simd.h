// Rows of a crop that is resampled.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/vector_unit.h"

namespace dsnet {

struct CropSimd {
    // Adds `weight` times a row of an image: of codes, less the offset, or of values.
    void (*add_codes)(const std::uint16_t* codes, std::ptrdiff_t count, double offset,
                      double weight, double* sums);
    void (*add_values)(const double* values, std::ptrdiff_t count, double weight, double* sums);
    // (HU, as float32, - low) / (high - low) in float64, within 0..1.
    void (*windowed)(const double* hu, std::ptrdiff_t count, double low, double high,
                     float* values);
};

DSNET_VECTOR_TABLE(CropSimd, crop_simd)

}  // namespace dsnet

// Rows of a crop that is resampled.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/vector_unit.h"

namespace dsnet {

struct CropSimd {
    // Sums of rows of an image, a stride apart, each times its weight: of codes, less the offset,
    // or of values.
    void (*blend_codes)(const std::uint16_t* codes, std::ptrdiff_t stride, const double* weights,
                        std::ptrdiff_t rows, double offset, double* sums, std::ptrdiff_t count);
    void (*blend_values)(const double* values, std::ptrdiff_t stride, const double* weights,
                         std::ptrdiff_t rows, double* sums, std::ptrdiff_t count);
    // (HU, as float32, - low) / (high - low) in float64, within 0..1.
    void (*windowed)(const double* hu, std::ptrdiff_t count, double low, double high,
                     float* values);
};

DSNET_VECTOR_TABLE(CropSimd, crop_simd)

}  // namespace dsnet

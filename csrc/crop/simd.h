// The pixels of a crop: of a CT slice's codes, HU + offset, or of values.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/vector_unit.h"

namespace dsnet {

struct HuWindow {
    double offset;  // the code of 0 HU
    double low, high;
};

// Four vectors of the widest unit.
inline constexpr std::ptrdiff_t kBeyond = 32;

struct CropSimd {
    // Sums of rows of an image, a stride apart, each times its weight: of codes, less the offset,
    // or of values.
    void (*blend_codes)(const std::uint16_t* codes, std::ptrdiff_t stride, const double* weights,
                        std::ptrdiff_t rows, double offset, double* sums, std::ptrdiff_t count);
    void (*blend_values)(const double* values, std::ptrdiff_t stride, const double* weights,
                         std::ptrdiff_t rows, double* sums, std::ptrdiff_t count);
    // Along a row that has been summed up: of each pixel i the `most` values from first[i] on,
    // which does not fall, times its weights, the k-th of them weights[k * count + i]. kBeyond
    // values more than these can be read. Returns how many pixels were done, from the first on;
    // null on units that gather more slowly than they load one by one.
    std::ptrdiff_t (*sum_along)(const double* values, const std::int32_t* first,
                                const double* weights, std::ptrdiff_t most, double* sums,
                                std::ptrdiff_t count);
    // Of a row that was resampled: (HU, as float32, - low) / (high - low) in float64, within 0..1.
    void (*windowed)(const double* hu, std::ptrdiff_t count, double low, double high,
                     float* values);
    // Codes as they are: (code - offset - low) / (high - low) in float64, within 0..1.
    void (*show)(const std::uint16_t* codes, std::ptrdiff_t stride, std::ptrdiff_t rows,
                 std::ptrdiff_t cols, const HuWindow& window, float* values,
                 std::ptrdiff_t value_stride);
    // How many codes are below a level.
    std::ptrdiff_t (*below)(const std::uint16_t* codes, std::ptrdiff_t stride, std::ptrdiff_t rows,
                            std::ptrdiff_t cols, std::int32_t level);
};

DSNET_VECTOR_TABLE(CropSimd, crop_simd)

}  // namespace dsnet

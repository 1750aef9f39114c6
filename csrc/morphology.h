// Exact Euclidean morphology on masks.
#pragma once

#include <cstdint>

#include "image.h"

namespace dsnet {

// Millimetres (or pixels) from one pixel centre to the next.
struct Spacing {
    double row = 1.0;
    double column = 1.0;
};

inline constexpr std::uint8_t kBackground = 0;
inline constexpr std::uint8_t kUnknown = 128;
inline constexpr std::uint8_t kForeground = 255;

// Squared distance of each pixel centre to the centre of the nearest pixel where
// (mask == 0) == to_zero. Infinity everywhere when there is no such pixel.
void distance_squared(Image<const std::uint8_t> mask, bool to_zero, Spacing spacing,
                      Image<double> out);

// kForeground where the nearest pixel outside the mask is farther than `erosion`,
// kBackground where the nearest pixel of the mask is farther than `dilation`, else kUnknown.
void split_trimap(Image<const std::uint8_t> mask, double erosion, double dilation, Spacing spacing,
                  Image<std::uint8_t> out);

}  // namespace dsnet

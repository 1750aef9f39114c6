// Exact Euclidean distances in masks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/image.h"
#include "masks/bits.h"

namespace dsnet {

// Squared distance of each pixel centre to the centre of the nearest pixel where
// (mask == 0) == to_zero. Infinity everywhere when there is no such pixel.
void distance_squared(Image<const std::uint8_t> mask, bool to_zero, Spacing spacing,
                      Image<double> out);

// Buffers that are reused from call to call and only grow; one for each thread.
struct DistanceWorkspace {
    std::vector<std::int32_t> steps, row_largest;
};

// Largest squared distance of a pixel of the mask to the nearest pixel outside the mask or the
// image. `box` holds the mask. Zero for an empty mask.
double largest_distance_squared(Image<const std::uint8_t> mask, const Box& box, Spacing spacing,
                                DistanceWorkspace& workspace);

// Calls that follow `largest_distance_squared` with its arguments: sets the pixels of `out` that
// are as far from the outside, but for rounding. `out` shows what `box` shows.
void set_innermost(const Box& box, Spacing spacing, double largest, std::uint8_t value,
                   const DistanceWorkspace& workspace, Image<std::uint8_t> out);

// Diameter of the largest disc inside the mask and the image, from edge to edge of its pixels.
// Zero for an empty mask.
double inscribed_diameter(Image<const std::uint8_t> mask, const Box& box, Spacing spacing,
                          DistanceWorkspace& workspace);

}  // namespace dsnet

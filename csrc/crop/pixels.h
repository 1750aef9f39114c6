// The pixels of a crop, of an image's or of a CT slice's codes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/image.h"
#include "crop/simd.h"
#include "crop/weights.h"

namespace dsnet {

// Of `piece`, the pixels of both axes' spans; fills `to`.
void resample(const Image<const double>& piece, const Weights& rows, const Weights& columns,
              const Image<double>& to);

// A square of a slice in a window of HU. Where both scales are 1 and both offsets whole, pixels are
// copied as they are. `codes` are the upper left part of the slice, the axes' spans at least.
void show_codes(const Image<const std::uint16_t>& codes, const CropAxis& rows,
                const CropAxis& columns, const HuWindow& window, const Image<float>& to);

// How many codes of a box are below another, and how many there are: what lies in the image counts.
struct Counted {
    std::ptrdiff_t below = 0, pixels = 0;
};
Counted count_below(const Image<const std::uint16_t>& codes, const Box& box, std::int32_t level);

}  // namespace dsnet

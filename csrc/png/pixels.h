// The pixels of a grey PNG that was inflated: its rows' filters undone (PNG specification, 9.2).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/image.h"

namespace dsnet {

// What inflating gave: of each row its filter's number, then `width` pixels, the high byte first.
struct FilteredRows {
    const std::uint8_t* data;
    std::ptrdiff_t width;
};

// Fills `pixels`, the upper left part of the picture: as many rows as were inflated, and not more
// columns than there are. The number of the first row with an unknown filter, or -1. `least`
// becomes the least pixel of 16 bits that is not 0, while they are at hand; 0 where there is none.
std::ptrdiff_t undo_filters(const FilteredRows& filtered, Image<std::uint8_t> pixels);
std::ptrdiff_t undo_filters(const FilteredRows& filtered, Image<std::uint16_t> pixels,
                            std::uint16_t& least);

}  // namespace dsnet

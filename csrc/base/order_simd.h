// Order statistics of the pixels that a plane chooses: exact, by counting instead of sorting.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/vector_unit.h"

namespace dsnet {

// Two planes that can be read up to a multiple of kLanes columns.
struct Planes {
    const float* values;
    const float* measured;
    std::ptrdiff_t rows, cols, stride;
};

struct OrderSimd {
    // Keys of the pixels whose `measured` lies above `above` and not above `highest`, in reading
    // order and padded to a multiple of 4 kLanes with keys above all others; returns how many
    // there are. `keys` must have room for all pixels and 4 kLanes more.
    std::ptrdiff_t (*collect)(const Planes& planes, float above, float highest, std::int32_t* keys);
    // The value that `rank` (from 0) others precede in order, and the one after it, the same at
    // the end.
    void (*select)(const std::int32_t* keys, std::ptrdiff_t count, std::ptrdiff_t rank,
                   float found[2]);
};

DSNET_VECTOR_TABLE(OrderSimd, order_simd)

}  // namespace dsnet

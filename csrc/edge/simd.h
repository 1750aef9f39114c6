// Hot loops of the edge model: features of the pixels around a RECIST mark, and the network that
// weighs them. dsnet/labeling/reference/edge_model.py is their reference.
#pragma once

#include <cstddef>

#include "base/vector_unit.h"
#include "edge/curve.h"

namespace dsnet {

// The planes cover a window of rows x cols pixels, and can be read one row and kLanes columns
// beyond it.
struct EdgeGrid : EdgeCurve {
    std::ptrdiff_t rows, cols, stride;
    float* grey;
    float* outside;  // pixels outside the curve, negative inside
    float* share;    // distance from the crossing as a share of the curve's radius
    float* relative;
    float* smooth[kSmoothings];
    float* scratch;
    // The rows and columns that hold all pixels within the reach, from `measure`.
    std::ptrdiff_t top, bottom, left, right;
};

struct EdgeSimd {
    void (*measure)(EdgeGrid& grid);
    // relative = (grey - surroundings) / scale, within kLowestGrey and kHighestGrey, and continued
    // beyond the window.
    void (*normalise)(const EdgeGrid& grid, float surroundings, float scale);
    // Separable filter of 2 radius + 1 taps; taps[k] is the weight k pixels from the centre. Where
    // pixels within the reach and their neighbours lie.
    void (*smooth)(const EdgeGrid& grid, const float* taps, int radius, float* out);
    // Log-odds within +-kCertain; -kCertain beyond the reach.
    void (*weigh)(const EdgeGrid& grid, const EdgeNetwork& network, float* log_odds,
                  std::ptrdiff_t log_odds_stride);
};

DSNET_VECTOR_TABLE(EdgeSimd, edge_simd)

}  // namespace dsnet

// Hot loops of the edge model: features of the pixels around a RECIST mark, and the network that
// weighs them. See dsnet/labeling/edge_model.py, which is their reference.
#pragma once

#include <cstddef>

#include "vector_unit.h"

namespace dsnet {

inline constexpr int kFeatures = 18;
inline constexpr int kVaryingFeatures = 15;  // the rest are the same for all pixels of a mark
inline constexpr int kHidden = 20;
inline constexpr int kSmoothings = 3;
inline constexpr int kLargestRadius = 12;

// Row-major weights [out][in] of the three layers, in the features as they are.
struct EdgeNetwork {
    float weight1[kHidden][kFeatures];
    float bias1[kHidden];
    float weight2[kHidden][kHidden];
    float bias2[kHidden];
    float weight3[kHidden];
    float bias3;
};

// The planes cover a window of rows x cols pixels, and can be read one row and kLanes columns
// beyond it.
struct EdgeGrid {
    std::ptrdiff_t rows, cols, stride;
    // The curve through the end points: quarter ellipses around (x, y), the axes' crossing, with
    // the half axes on its negative and positive side.
    float x, y, along_x, along_y;
    float half_u[2], half_v[2];
    // The axes' ellipse: its centre against the crossing, and its half axes.
    float centre_u, centre_v, half_long, half_short;
    float reach;  // pixels outside the curve that can be lesion
    float* grey;
    float* outside;  // pixels outside the curve, negative inside
    float* share;    // distance from the crossing as a share of the curve's radius
    float* relative;
    float* smooth[kSmoothings];
    float* scratch;
    // The rows and columns that hold all pixels within the reach, from `measure`.
    std::ptrdiff_t top, bottom, left, right;
};

struct EdgeKernels {
    void (*measure)(EdgeGrid& grid);
    // relative = (grey - surroundings) / scale, within -1 and 2.5, and continued beyond the window.
    void (*normalise)(const EdgeGrid& grid, float surroundings, float scale);
    // Separable filter of 2 radius + 1 taps; taps[k] is the weight k pixels from the centre. Where
    // pixels within the reach and their neighbours lie.
    void (*smooth)(const EdgeGrid& grid, const float* taps, int radius, float* out);
    // Log-odds within +-certain; -certain beyond the reach.
    void (*weigh)(const EdgeGrid& grid, const EdgeNetwork& network, float certain,
                  float* log_odds, std::ptrdiff_t log_odds_stride);
};

DSNET_VECTOR_TABLE(EdgeKernels, edge_kernels)

}  // namespace dsnet

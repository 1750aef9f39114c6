// Hot loops of the edge model: the mark's frame out of the image, the network, and the pixels'
// log-odds out of the frame. dsnet/labeling/reference/edge_model.py is their reference.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/image.h"
#include "base/vector_unit.h"
#include "edge/curve.h"
#include "edge/network.h"

namespace dsnet {

// Of the frame's cells, row by row; can be read kLanes beyond it.
struct EdgeCells {
    float* grey;
    float* outside;  // pixels outside the curve, negative inside
    float* share;    // distance from the crossing as a share of the curve's radius
    float* log_odds;
};

// A layer's activations [side][side][channels] with a rim of zeros, as 3 x 3 convolutions need it.
template <int kSide, int kChannels>
struct EdgeActivations {
    // Of a place: whole vectors.
    static constexpr int kPitch = (kChannels + kLanes - 1) / kLanes * kLanes;
    static constexpr int kRow = (kSide + 2) * kPitch;
    alignas(64) std::int16_t values[(kSide + 2) * kRow];

    std::int16_t* at(int y, int x) { return values + (y + 1) * kRow + (x + 1) * kPitch; }
};

// The network's memory: to be zero before its first use, since nobody writes the rims.
struct EdgeLayers {
    EdgeActivations<kFine, 4 * kCellInputs> entered;
    EdgeActivations<kFine, 16> fine, fine_kept;
    EdgeActivations<kFine / 2, 32> middle, middle_kept;
    EdgeActivations<kFine / 4, 48> coarse, coarse_kept;
    EdgeActivations<kFine / 4, 32> from_coarse;
    EdgeActivations<kFine / 2, 16> from_middle;
};

// What grey values tell: that of the surroundings, what is 1 above it, and their spread.
struct EdgeLevels {
    float surroundings, scale;
    double spread;
};

struct EdgeSimd {
    // Grey values of the cells, and where they lie against the curve.
    void (*sample)(const EdgeCurve& curve, const Image<const float>& image, const EdgeCells& cells);
    // The cells' log-odds.
    void (*weigh)(const EdgePlan& plan, const EdgeNetwork& network, const EdgeLevels& levels,
                  EdgeLayers& layers, const EdgeCells& cells);
    // Of the cells whose centres lie in an image of rows x cols.
    EdgeThreshold (*settle)(const EdgeCurve& curve, const EdgeNetwork& network,
                            const EdgeCells& cells, std::ptrdiff_t rows, std::ptrdiff_t cols);
    // Log-odds within +-kCertain of the pixels of a window that begins at (`top`, `left`);
    // -kCertain outside the frame. The cells' are lost.
    void (*spread)(const EdgeCurve& curve, const EdgeLevels& levels, const EdgeCells& cells,
                   const Image<const float>& image, std::ptrdiff_t top, std::ptrdiff_t left,
                   const Image<float>& log_odds);
};

DSNET_VECTOR_TABLE(EdgeSimd, edge_simd)

}  // namespace dsnet

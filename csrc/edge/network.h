// The edge model's network in whole numbers, for CPU and GPU: the same bits from every machine.
//
// Activations are 0 to kMostActive, weights within +-kMostWeight, so that no sum of products leaves
// 32 bits. The layers form a U: two steps down from half the frame's cells, and up again.
#pragma once

#include <cstdint>

namespace dsnet {

inline constexpr int kGrid = 32;  // cells a side of the mark's frame
inline constexpr int kCells = kGrid * kGrid;
inline constexpr int kFine = kGrid / 2;
inline constexpr int kMostActive = 2047, kMostWeight = 1023;
// Inputs of a cell: relative grey value, pixels outside the curve, the same over half the short
// axis. Four cells of a square are a place of the first layer.
inline constexpr int kCellInputs = 3;
inline constexpr float kInputUnits = 256.0f;
// What is the same for all cells joins the first layer's bias: logarithm of the short axis, short
// over long axis, the surroundings' spread, logarithm of the long axis, 1 without a short axis.
inline constexpr int kConstants = 5, kSpreadConstant = 2;

// The threshold is sought in steps of log-odds from -kCertain to kCertain.
inline constexpr int kSteps = 256;
inline constexpr float kStepsPerLogOdd = 16.0f;
inline constexpr std::int32_t kProbabilityUnits = 65536;

// A square convolution; `side` is the output's.
struct EdgeLayer {
    int side, inputs, outputs, kernel, stride;

    constexpr int weights() const { return kernel * kernel * inputs * outputs; }
};

enum EdgeLayerName {
    kEnter,
    kFineDown,
    kToMiddle,
    kMiddleDown,
    kToCoarse,
    kCoarse,
    kFromCoarse,
    kMiddleUp,
    kFromMiddle,
    kFineUp,
    kLeave,
    kEdgeLayers
};

// The last one has 4 outputs, a square of cells, and as many zeros as fill its lanes.
inline constexpr EdgeLayer kEdgeLayer[kEdgeLayers] = {
    {16, 4 * kCellInputs, 16, 3, 1},
    {16, 16, 16, 3, 1},
    {8, 16, 32, 2, 2},
    {8, 32, 32, 3, 1},
    {4, 32, 48, 2, 2},
    {4, 48, 48, 3, 1},
    {4, 48, 32, 1, 1},
    {8, 32, 32, 3, 1},
    {8, 32, 16, 1, 1},
    {16, 16, 16, 3, 1},
    {16, 16, 16, 1, 1},
};

constexpr int edge_weights_before(int layer) {
    int count = 0;
    for (int k = 0; k < layer; ++k) count += kEdgeLayer[k].weights();
    return count;
}
constexpr int edge_outputs_before(int layer) {
    int count = 0;
    for (int k = 0; k < layer; ++k) count += kEdgeLayer[k].outputs;
    return count;
}

// A 3 x 3 layer's weights for tiles of 2 x 2 outputs, each of which is made of 4 x 4 products.
inline constexpr int kTileProducts = 16;

constexpr int edge_tile_weights_before(int layer) {
    int count = 0;
    for (int k = 0; k < layer; ++k)
        if (kEdgeLayer[k].kernel == 3)
            count += kTileProducts * kEdgeLayer[k].inputs * kEdgeLayer[k].outputs;
    return count;
}

// The magnitudes of an output's weights add up to less: 4 times its sum stays within 32 bits.
inline constexpr std::int32_t kMostWeightSum = (1 << 29) / (kMostActive + 1);

struct EdgeNetwork {
    // Layer after layer, each [row][column][input / 2][output][2].
    alignas(64) std::int16_t weights[edge_weights_before(kEdgeLayers)];
    // Of the 3 x 3 ones, each [product][input / 2][output][2].
    alignas(64) std::int16_t tile_weights[edge_tile_weights_before(kEdgeLayers)];
    alignas(64) std::int32_t bias[edge_outputs_before(kEdgeLayers)];
    // A sum is divided by 2 to this, to the nearest.
    std::int32_t shift[kEdgeLayers];
    double of_constants[kEdgeLayer[kEnter].outputs][kConstants];
    // Of the middle of a step of log-odds, in kProbabilityUnits.
    std::int32_t probability[kSteps];
    float log_odds_per_unit;  // of the last layer's sums
    // The expected Dice of a label: its logit is the sum of these times 1, the logit of the
    // evidence's own expected Dice, the logarithm of the long axis, short over long axis, and the
    // logarithm of the lesion's pixels. It is higher than so much less in nine of ten labels, by
    // the long axis: below 10 pixels, below 20, and from there on.
    double expected_dice[5], expected_dice_margin[3];
};

}  // namespace dsnet

// Weights of 3 x 3 layers for tiles of 2 x 2 outputs: Winograd's minimal filtering F(2 x 2, 3 x 3)
// (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, eq. 8), in whole
// numbers: four times theirs, so that no halves are left.
#pragma once

#include "edge/network.h"

namespace dsnet {

inline void fill_tile_weights(EdgeNetwork& network) {
    constexpr int kTaps = 3, kSide = 4;
    static_assert(9 * kMostWeight <= 32767);
    const auto widen = [](const int taps[kTaps], int to[kSide]) {
        to[0] = 2 * taps[0];
        to[1] = taps[0] + taps[1] + taps[2];
        to[2] = taps[0] - taps[1] + taps[2];
        to[3] = 2 * taps[2];
    };
    for (int layer = 0; layer < kEdgeLayers; ++layer) {
        const EdgeLayer shape = kEdgeLayer[layer];
        if (shape.kernel != kTaps) continue;
        const int values = shape.inputs * shape.outputs;
        const std::int16_t* const from = network.weights + edge_weights_before(layer);
        std::int16_t* const to = network.tile_weights + edge_tile_weights_before(layer);
        for (int k = 0; k < values; ++k) {
            int columns[kSide][kTaps];
            for (int x = 0; x < kTaps; ++x) {
                const int taps[kTaps] = {from[x * values + k], from[(kTaps + x) * values + k],
                                         from[(2 * kTaps + x) * values + k]};
                int column[kSide];
                widen(taps, column);
                for (int y = 0; y < kSide; ++y) columns[y][x] = column[y];
            }
            for (int y = 0; y < kSide; ++y) {
                int row[kSide];
                widen(columns[y], row);
                for (int x = 0; x < kSide; ++x)
                    to[(y * kSide + x) * values + k] = static_cast<std::int16_t>(row[x]);
            }
        }
    }
}

}  // namespace dsnet

// 3 x 3 layers by tiles of 2 x 2 outputs, for vector sources: 16 products an input instead of 36.
// See edge/tile_weights.h. Sums may pass 32 bits on their way and come back, since they count
// modulo 2^32 and the last one, four times a sum of at most kMostWeightSum weights, fits. Where
// products are fused with their sums, transforming costs more than it saves.
#pragma once

#include "edge/integers.h"
#include "edge/simd.h"

namespace dsnet::DSNET_UNIT {

// A few tiles' inputs, transformed, and their products summed over inputs.
template <int kInputs, int kTiles>
struct TileWork {
    alignas(64) std::int16_t inputs[kTileProducts][kTiles][kInputs];
    alignas(64) std::int32_t sums[kTileProducts][kTiles][kOutputLanes];
};

// A row of tiles' inputs, `rows` [4][places][inputs] being transformed along y.
template <int kInputs, int kTiles, int kPlaces>
DSNET_INLINE void transform_inputs(const std::int16_t* const from[4], int tiles, int first,
                                   TileWork<kInputs, kTiles>& work) {
    constexpr int kValues = kPlaces * kInputs;
    alignas(64) std::int16_t rows[4][kValues];
    DSNET_INDEPENDENT
    for (int k = 0; k < kValues; ++k) {
        const int a = from[0][k], b = from[1][k], c = from[2][k], d = from[3][k];
        rows[0][k] = std::int16_t(a - c);
        rows[1][k] = std::int16_t(b + c);
        rows[2][k] = std::int16_t(c - b);
        rows[3][k] = std::int16_t(b - d);
    }
    for (int y = 0; y < 4; ++y) {
        for (int tile = 0; tile < tiles; ++tile) {
            const std::int16_t* const place = rows[y] + 2 * tile * kInputs;
            std::int16_t* const zero = work.inputs[4 * y][first + tile];
            std::int16_t* const one = work.inputs[4 * y + 1][first + tile];
            std::int16_t* const two = work.inputs[4 * y + 2][first + tile];
            std::int16_t* const three = work.inputs[4 * y + 3][first + tile];
            DSNET_INDEPENDENT
            for (int k = 0; k < kInputs; ++k) {
                const int a = place[k], b = place[kInputs + k], c = place[2 * kInputs + k],
                          d = place[3 * kInputs + k];
                zero[k] = std::int16_t(a - c);
                one[k] = std::int16_t(b + c);
                two[k] = std::int16_t(c - b);
                three[k] = std::int16_t(b - d);
            }
        }
    }
}

// The sums of 16 outputs from `o` on.
template <int kInputs, int kOutputs, int kTiles>
DSNET_INLINE void multiply_tiles(const std::int16_t* weights, int o,
                                 TileWork<kInputs, kTiles>& work) {
    for (int product = 0; product < kTileProducts; ++product) {
        const std::int16_t* const weight = weights + product * kInputs * kOutputs + 2 * o;
        Sums sums[kTiles] = {};
        // Unrolled, GCC adds up in trees, for which there are not enough registers.
        DSNET_NOT_UNROLLED
        for (int k = 0; k < kInputs / 2; ++k) {
            const Weights pairs(weight + k * 2 * kOutputs);
            DSNET_UNROLLED
            for (int tile = 0; tile < kTiles; ++tile)
                sums[tile].template add<false>(pairs, work.inputs[product][tile] + 2 * k);
        }
        for (int tile = 0; tile < kTiles; ++tile) sums[tile].keep(work.sums[product][tile]);
    }
}

template <int kName, class In, class Out>
DSNET_INLINE void activate_tiles(const EdgeNetwork& network, const std::int32_t* bias, In& in,
                                 Out& out) {
    constexpr EdgeLayer kLayer = kEdgeLayer[kName];
    static_assert(kLayer.kernel == 3 && kLayer.stride == 1);
    constexpr int kAcross = kLayer.side / 2, kAll = kAcross * kAcross;
    constexpr int kTiles = kPlacesAtOnce < kAll ? kPlacesAtOnce : kAll;
    constexpr int kOfRow = kTiles < kAcross ? kTiles : kAcross;
    const std::int16_t* const weights = network.tile_weights + edge_tile_weights_before(kName);
    const int shift = network.shift[kName];
    TileWork<kLayer.inputs, kTiles> work;
    for (int begin = 0; begin < kAll; begin += kTiles) {
        for (int first = 0; first < kTiles; first += kOfRow) {
            const int y = (begin + first) / kAcross * 2, x = (begin + first) % kAcross * 2;
            const std::int16_t* const from[4] = {in.at(y - 1, x - 1), in.at(y, x - 1),
                                                 in.at(y + 1, x - 1), in.at(y + 2, x - 1)};
            transform_inputs<kLayer.inputs, kTiles, 2 * kOfRow + 2>(from, kOfRow, first, work);
        }
        for (int o = 0; o < kLayer.outputs; o += kOutputLanes) {
            multiply_tiles<kLayer.inputs, kLayer.outputs>(weights, o, work);
            for (int tile = 0; tile < kTiles; ++tile) {
                const int y = (begin + tile) / kAcross * 2, x = (begin + tile) % kAcross * 2;
                Sums upper[4], lower[4];
                DSNET_UNROLLED
                for (int k = 0; k < 4; ++k) {
                    Sums one, two, three;
                    upper[k].set(work.sums[k][tile]);
                    one.set(work.sums[4 + k][tile]);
                    two.set(work.sums[8 + k][tile]);
                    three.set(work.sums[12 + k][tile]);
                    upper[k].add(one);
                    upper[k].add(two);
                    lower[k] = one;
                    lower[k].take_off(two);
                    lower[k].take_off(three);
                }
                const auto put = [&](int down, Sums* sums) {
                    Sums left = sums[0], right = sums[1];
                    left.add(sums[1]);
                    left.add(sums[2]);
                    right.take_off(sums[2]);
                    right.take_off(sums[3]);
                    left.quarter(bias + o);
                    right.quarter(bias + o);
                    left.store(out.at(y + down, x) + o, shift, 0, kMostActive);
                    right.store(out.at(y + down, x + 1) + o, shift, 0, kMostActive);
                };
                put(0, upper);
                put(1, lower);
            }
        }
    }
}

}  // namespace dsnet::DSNET_UNIT

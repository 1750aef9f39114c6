// 3 x 3 layers by tiles of 2 x 2 outputs, for vector sources: 16 products an input instead of 36.
// See edge/tile_weights.h. Sums may pass 32 bits on their way and come back, since they count
// modulo 2^32 and the last one, four times a sum of at most kMostWeightSum weights, fits.
#pragma once

#include "edge/integers.h"
#include "edge/simd.h"

namespace dsnet::DSNET_UNIT {

template <typename T>
DSNET_INLINE void keep_apart(const T*& pointer) {
#if defined(__GNUC__)
    __asm__("" : "+r"(pointer));
#endif
}

// A few tiles' inputs, transformed, and the products of kGroups times 16 outputs, summed over
// inputs.
template <int kPitch, int kTiles, int kGroups>
struct TileWork {
    alignas(64) std::int16_t inputs[kTileProducts][kTiles][kPitch];
    alignas(64) std::int32_t sums[kTileProducts][kGroups][kTiles][kOutputLanes];
};

// A row of tiles' inputs, `rows` [4][places][inputs] being transformed along y.
template <int kPlaces, int kPitch, int kTiles, int kGroups>
DSNET_INLINE void transform_inputs(const std::int16_t* const from[4], int tiles, int first,
                                   TileWork<kPitch, kTiles, kGroups>& work) {
    constexpr int kValues = kPlaces * kPitch;
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
            const std::int16_t* const place = rows[y] + 2 * tile * kPitch;
            std::int16_t* const zero = work.inputs[4 * y][first + tile];
            std::int16_t* const one = work.inputs[4 * y + 1][first + tile];
            std::int16_t* const two = work.inputs[4 * y + 2][first + tile];
            std::int16_t* const three = work.inputs[4 * y + 3][first + tile];
            DSNET_INDEPENDENT
            for (int k = 0; k < kPitch; ++k) {
                const int a = place[k], b = place[kPitch + k], c = place[2 * kPitch + k],
                          d = place[3 * kPitch + k];
                zero[k] = std::int16_t(a - c);
                one[k] = std::int16_t(b + c);
                two[k] = std::int16_t(c - b);
                three[k] = std::int16_t(b - d);
            }
        }
    }
}

// The sums of outputs from `o` on.
template <bool kFused, int kInputs, int kOutputs, int kPitch, int kTiles, int kGroups>
DSNET_INLINE void multiply_tiles(const std::int16_t* weights, int o,
                                 TileWork<kPitch, kTiles, kGroups>& work) {
    for (int product = 0; product < kTileProducts; ++product) {
        const std::int16_t* const weight = weights + product * kInputs * kOutputs + 2 * o;
        // GCC would keep a register for each tile's inputs.
        const std::int16_t* inputs = work.inputs[product][0];
        Sums sums[kGroups][kTiles] = {};
        // Unrolled, GCC adds up in trees, for which there are not enough registers.
        DSNET_NOT_UNROLLED
        for (int k = 0; k < kInputs / 2; ++k, inputs += 2) {
            keep_apart(inputs);
            DSNET_UNROLLED
            for (int group = 0; group < kGroups; ++group) {
                const Weights pairs(weight + 2 * (k * kOutputs + group * kOutputLanes));
                DSNET_UNROLLED
                for (int tile = 0; tile < kTiles; ++tile)
                    sums[group][tile].template add<kFused>(pairs, inputs + tile * kPitch);
            }
        }
        for (int group = 0; group < kGroups; ++group)
            for (int tile = 0; tile < kTiles; ++tile)
                sums[group][tile].keep(work.sums[product][group][tile]);
    }
}

// The four outputs of a tile from its products. `bias`: with a half of 2^shift.
template <int kTiles, int kGroups>
DSNET_INLINE void put_tile(
    const std::int32_t (&products)[kTileProducts][kGroups][kTiles][kOutputLanes], int group,
    int tile, const std::int32_t* bias, int shift, std::int16_t* above_left,
    std::int16_t* above_right, std::int16_t* below_left, std::int16_t* below_right) {
    Sums upper[4], lower[4];
    DSNET_UNROLLED
    for (int k = 0; k < 4; ++k) {
        Sums one, two, three;
        upper[k].set(products[k][group][tile]);
        one.set(products[4 + k][group][tile]);
        two.set(products[8 + k][group][tile]);
        three.set(products[12 + k][group][tile]);
        upper[k].add(one);
        upper[k].add(two);
        lower[k] = one;
        lower[k].take_off(two);
        lower[k].take_off(three);
    }
    const auto put = [&](Sums* sums, std::int16_t* to_left, std::int16_t* to_right) {
        Sums left = sums[0], right = sums[1];
        left.add(sums[1]);
        left.add(sums[2]);
        right.take_off(sums[2]);
        right.take_off(sums[3]);
        left.quarter(bias);
        right.quarter(bias);
        left.shifted(shift).store_within(to_left, 0, kMostActive);
        right.shifted(shift).store_within(to_right, 0, kMostActive);
    };
    put(upper, above_left, above_right);
    put(lower, below_left, below_right);
}

template <int kName, bool kFused, class In, class Out>
DSNET_INLINE void activate_tiles(const EdgeNetwork& network, const std::int32_t* bias, In& in,
                                 Out& out) {
    constexpr EdgeLayer kLayer = kEdgeLayer[kName];
    static_assert(kLayer.kernel == 3 && kLayer.stride == 1);
    constexpr int kAcross = kLayer.side / 2, kAll = kAcross * kAcross;
    constexpr int kTiles = kTilesAtOnce < kAll ? kTilesAtOnce : kAll;
    constexpr int kMostGroups = kTilesAtOnce / kTiles, kAllGroups = kLayer.outputs / kOutputLanes;
    constexpr int kGroups = kMostGroups < kAllGroups ? kMostGroups : kAllGroups;
    static_assert(kAllGroups % kGroups == 0);
    constexpr int kOfRow = kTiles < kAcross ? kTiles : kAcross;
    const std::int16_t* const weights = network.tile_weights + edge_tile_weights_before(kName);
    const int shift = network.shift[kName];
    alignas(64) std::int32_t rounding[kLayer.outputs];
    for (int output = 0; output < kLayer.outputs; ++output)
        rounding[output] = bias[output] + (1 << shift >> 1);
    TileWork<In::kPitch, kTiles, kGroups> work;
    for (int begin = 0; begin < kAll; begin += kTiles) {
        for (int first = 0; first < kTiles; first += kOfRow) {
            const int y = (begin + first) / kAcross * 2, x = (begin + first) % kAcross * 2;
            const std::int16_t* const from[4] = {in.at(y - 1, x - 1), in.at(y, x - 1),
                                                 in.at(y + 1, x - 1), in.at(y + 2, x - 1)};
            transform_inputs<2 * kOfRow + 2>(from, kOfRow, first, work);
        }
        for (int o = 0; o < kLayer.outputs; o += kGroups * kOutputLanes) {
            multiply_tiles<kFused, kLayer.inputs, kLayer.outputs>(weights, o, work);
            for (int group = 0; group < kGroups; ++group) {
                const int output = o + group * kOutputLanes;
                for (int tile = 0; tile < kTiles; ++tile) {
                    const int y = (begin + tile) / kAcross * 2, x = (begin + tile) % kAcross * 2;
                    put_tile(work.sums, group, tile, rounding + output, shift,
                             out.at(y, x) + output, out.at(y, x + 1) + output,
                             out.at(y + 1, x) + output, out.at(y + 1, x + 1) + output);
                }
            }
        }
    }
}

}  // namespace dsnet::DSNET_UNIT

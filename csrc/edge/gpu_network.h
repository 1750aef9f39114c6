// A block of threads runs the edge model's network on the cells of a mark's frame: in whole
// numbers, the same bits as `weigh` of edge/simd.h.
//
// Activations are words of two channels, a plane of places [side][side] for each pair, so that the
// threads of a warp, which have neighbouring places, read neighbouring words. A thread makes a few
// outputs of several places, whole rows apart: so a warp has the same weights, and few loads.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/gpu_block.h"
#include "edge/network.h"

namespace dsnet::edge_device {

// The outputs that a thread makes of a place.
constexpr int kOutputsAtOnce = 4;

constexpr int activation_words(int side, int channels) { return side * side * channels / 2; }

// The network's memory, which its threads share. The middle layers lie where the fine ones do until
// these are written again; `fine_kept` has what enters until it is written.
struct FrameActivations {
    static constexpr int kFineWords = activation_words(kFine, kEdgeLayer[kFineUp].outputs);
    static constexpr int kMiddleWords = activation_words(kFine / 2, kEdgeLayer[kMiddleUp].outputs);
    static constexpr int kCoarseWords = activation_words(kFine / 4, kEdgeLayer[kCoarse].outputs);
    static_assert(2 * kMiddleWords <= kFineWords);
    static_assert(activation_words(kFine, 4 * kCellInputs) <= kFineWords);

    std::int32_t fine[kFineWords], fine_kept[kFineWords];
    std::int32_t coarse[kCoarseWords], coarse_kept[kCoarseWords];
    std::int32_t first_bias[kEdgeLayer[kEnter].outputs];

    DSNET_HOST_DEVICE std::int32_t* entered() { return fine_kept; }
    DSNET_HOST_DEVICE std::int32_t* middle() { return fine; }
    DSNET_HOST_DEVICE std::int32_t* middle_kept() { return fine + kMiddleWords; }
};

DSNET_HOST_DEVICE std::int32_t pair_of(std::int32_t low, std::int32_t high) {
    return std::int32_t((std::uint32_t(low) & 0xffffu) | std::uint32_t(high) << 16);
}
DSNET_HOST_DEVICE std::int32_t low_of(std::int32_t pair) {
    return std::int16_t(std::uint16_t(std::uint32_t(pair)));
}
DSNET_HOST_DEVICE std::int32_t high_of(std::int32_t pair) { return pair >> 16; }

DSNET_HOST_DEVICE std::int32_t bounded(std::int32_t value, std::int32_t least, std::int32_t most) {
    return value < least ? least : value > most ? most : value;
}

// The weights of a pair of inputs, for the outputs that a thread makes.
struct WeightPairs {
    std::int32_t of[kOutputsAtOnce];

    DSNET_HOST_DEVICE explicit WeightPairs(const std::int16_t* from) {
        memcpy(of, __builtin_assume_aligned(from, sizeof(of)), sizeof(of));
    }
};

// What a thread makes of a layer at a time: the outputs from `output` on of `kPlaces` places, the
// first of them (y, x), each kStep rows below the one before.
template <int kName, int kPlaces>
struct LayerTask {
    static constexpr int kSide = kEdgeLayer[kName].side, kKernel = kEdgeLayer[kName].kernel;
    static constexpr int kStride = kEdgeLayer[kName].stride, kFrom = kKernel == 3 ? -1 : 0;
    static constexpr int kInputSide = kSide * kStride, kPlane = kInputSide * kInputSide;
    static constexpr int kPairs = kEdgeLayer[kName].inputs / 2;
    static constexpr int kOutputs = kEdgeLayer[kName].outputs;
    // The last layer's lanes are filled with zeros.
    static constexpr int kWanted = kName == kLeave ? kOutputsAtOnce : kOutputs;
    static constexpr int kStep = kSide / kPlaces, kPlaceGroups = kStep * kSide;
    static constexpr int kTasks = kPlaceGroups * (kWanted / kOutputsAtOnce);
    static constexpr int kFirstWeight = edge_weights_before(kName);
    static_assert(kStep * kPlaces == kSide && kWanted % kOutputsAtOnce == 0);

    int y, x, output;
    std::int32_t sums[kPlaces][kOutputsAtOnce];

    DSNET_HOST_DEVICE LayerTask(int task, const std::int32_t* bias)
        : y(task % kPlaceGroups / kSide),
          x(task % kSide),
          output(task / kPlaceGroups * kOutputsAtOnce) {
        DSNET_UNROLL
        for (int p = 0; p < kPlaces; ++p) {
            DSNET_UNROLL
            for (int o = 0; o < kOutputsAtOnce; ++o) sums[p][o] = bias[output + o];
        }
    }

    // `weights`: the layer's.
    DSNET_HOST_DEVICE void add(const std::int32_t* inputs, const std::int16_t* weights) {
        DSNET_ROLLED
        for (int tap = 0; tap < kKernel * kKernel; ++tap) {
            const int row = y * kStride + tap / kKernel + kFrom;
            const int column = x * kStride + tap % kKernel + kFrom;
            if (column < 0 || column >= kInputSide) continue;
            add_tap(inputs + (row * kInputSide + column), row,
                    weights + 2 * (tap * kPairs * kOutputs + output));
        }
    }

  private:
    // `inputs`: the first place's for this tap, in `row`, which may lie outside.
    DSNET_HOST_DEVICE void add_tap(const std::int32_t* inputs, int row,
                                   const std::int16_t* weights) {
        for (int k = 0; k < kPairs; ++k) {
            const WeightPairs pairs(weights + 2 * k * kOutputs);
            DSNET_UNROLL
            for (int p = 0; p < kPlaces; ++p) {
                const int at = row + p * kStep * kStride;
                // The places between are whole rows from the rim.
                const bool inside = kFrom == 0 ||
                                    ((p > 0 || at >= 0) && (p < kPlaces - 1 || at < kInputSide));
                const std::int32_t pair =
                    inside ? inputs[k * kPlane + p * kStep * kStride * kInputSide] : 0;
                DSNET_UNROLL
                for (int o = 0; o < kOutputsAtOnce; ++o)
                    sums[p][o] +=
                        low_of(pair) * low_of(pairs.of[o]) + high_of(pair) * high_of(pairs.of[o]);
            }
        }
    }
};

template <class Block>
class NetworkOfFrame {
  public:
    DSNET_DEVICE NetworkOfFrame(Block& block, const EdgeNetwork& network, FrameActivations& held)
        : block_(block), network_(network), held_(held) {}

    // From `entered` and `first_bias` to the cells' log-odds.
    DSNET_DEVICE void run(float* log_odds) {
        FrameActivations& at = held_;
        activate<kEnter, 8>(at.first_bias, at.entered(), at.fine);
        activate<kFineDown, 8>(at.fine, at.fine_kept);
        activate<kToMiddle, 4>(at.fine_kept, at.middle());
        activate<kMiddleDown, 4>(at.middle(), at.middle_kept());
        activate<kToCoarse, 2>(at.middle_kept(), at.coarse);
        activate<kCoarse, 2>(at.coarse, at.coarse_kept);
        add_coarser<kFromCoarse, 2>(at.coarse_kept, at.middle_kept());
        activate<kMiddleUp, 4>(at.middle_kept(), at.middle());
        add_coarser<kFromMiddle, 2>(at.middle(), at.fine_kept);
        activate<kFineUp, 8>(at.fine_kept, at.fine);
        const float unit = network_.log_odds_per_unit;
        convolve<kLeave, 2>(bias_of<kLeave>(), at.fine, [&](int y, int x, int, const auto& sums) {
            float* const to = log_odds + 2 * y * kGrid + 2 * x;
            for (int o = 0; o < kOutputsAtOnce; ++o)
                to[o / 2 * kGrid + o % 2] = float(sums[o]) * unit;
        });
    }

  private:
    template <int kName, int kFirst = edge_outputs_before(kName)>
    DSNET_HOST_DEVICE const std::int32_t* bias_of() const {
        return network_.bias + kFirst;
    }

    // body(y, x, output, sums) gets a place's sums of the outputs from `output` on.
    template <int kName, int kPlaces, class Body>
    DSNET_DEVICE void convolve(const std::int32_t* bias, const std::int32_t* inputs, Body body) {
        using Task = LayerTask<kName, kPlaces>;
        const std::int16_t* const weights = network_.weights + Task::kFirstWeight;
        block_.each([&](int t) {
            for (int k = t; k < Task::kTasks; k += Block::kThreads) {
                Task task(k, bias);
                task.add(inputs, weights);
                DSNET_UNROLL
                for (int p = 0; p < kPlaces; ++p)
                    body(task.y + p * Task::kStep, task.x, task.output, task.sums[p]);
            }
        });
        block_.sync();
    }

    // A sum divided by 2 to the shift, to the nearest.
    DSNET_HOST_DEVICE static std::int32_t divided(std::int32_t sum, int shift) {
        return (sum + (1 << shift >> 1)) >> shift;
    }

    // Activations: sums by the layer's shift, 0 to kMostActive.
    template <int kName, int kPlaces>
    DSNET_DEVICE void activate(const std::int32_t* bias, const std::int32_t* inputs,
                               std::int32_t* out) {
        constexpr int kSide = kEdgeLayer[kName].side;
        const int shift = network_.shift[kName];
        convolve<kName, kPlaces>(
            bias, inputs,
            [&](int y, int x, int output, const std::int32_t (&sums)[kOutputsAtOnce]) {
                DSNET_UNROLL
                for (int o = 0; o < kOutputsAtOnce; o += 2)
                    out[(output + o) / 2 * kSide * kSide + y * kSide + x] =
                        pair_of(bounded(divided(sums[o], shift), 0, kMostActive),
                                bounded(divided(sums[o + 1], shift), 0, kMostActive));
            });
    }

    template <int kName, int kPlaces>
    DSNET_DEVICE void activate(const std::int32_t* inputs, std::int32_t* out) {
        activate<kName, kPlaces>(bias_of<kName>(), inputs, out);
    }

    // What a coarser layer adds to each square of places of a finer one's.
    template <int kName, int kPlaces>
    DSNET_DEVICE void add_coarser(const std::int32_t* inputs, std::int32_t* kept) {
        constexpr int kSide = 2 * kEdgeLayer[kName].side;
        const int shift = network_.shift[kName];
        convolve<kName, kPlaces>(
            bias_of<kName>(), inputs,
            [&](int y, int x, int output, const std::int32_t (&sums)[kOutputsAtOnce]) {
                DSNET_UNROLL
                for (int o = 0; o < kOutputsAtOnce; o += 2) {
                    const std::int32_t low =
                        bounded(divided(sums[o], shift), -kMostActive, kMostActive);
                    const std::int32_t high =
                        bounded(divided(sums[o + 1], shift), -kMostActive, kMostActive);
                    DSNET_UNROLL
                    for (int square = 0; square < 4; ++square) {
                        std::int32_t& word =
                            kept[(output + o) / 2 * kSide * kSide + (2 * y + square / 2) * kSide +
                                 2 * x + square % 2];
                        word = pair_of(bounded(low_of(word) + low, 0, kMostActive),
                                       bounded(high_of(word) + high, 0, kMostActive));
                    }
                }
            });
    }

    Block& block_;
    const EdgeNetwork& network_;
    FrameActivations& held_;
};

}  // namespace dsnet::edge_device

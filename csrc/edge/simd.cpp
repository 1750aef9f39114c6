#include "edge/simd.h"

#include "base/lanes.h"
// Below them, whose unit they take.
#include "edge/integers.h"
#include "edge/pixel.h"
#include "edge/tiles.h"

namespace dsnet::DSNET_UNIT {
namespace {

using Index = std::ptrdiff_t;

// Where a row of places lies in a plane of `rows` x `cols`: the corner of a square of four values,
// and the shares of its far sides. Plain lanes, which every unit packs as it is wide; 32 bits
// number the values, of which there are at most kMostPixels.
struct Squares {
    alignas(64) float x[kGrid], y[kGrid];
    alignas(64) float share_x[kGrid], share_y[kGrid];
    alignas(64) std::int32_t at[kGrid];

    DSNET_INLINE void find(Index rows, Index cols, Index stride) {
        const float last_x = float(cols - 1), last_y = float(rows - 1);
        // The last value is the far side of the square before it.
        const std::int32_t most_x = cols > 1 ? std::int32_t(cols - 2) : 0;
        const std::int32_t most_y = rows > 1 ? std::int32_t(rows - 2) : 0;
        DSNET_INDEPENDENT
        for (Index k = 0; k < kGrid; ++k) {
            const float in_x = within(x[k], 0.0f, last_x), in_y = within(y[k], 0.0f, last_y);
            const auto whole_x = std::int32_t(in_x), whole_y = std::int32_t(in_y);
            const std::int32_t from_x = whole_x < most_x ? whole_x : most_x;
            const std::int32_t from_y = whole_y < most_y ? whole_y : most_y;
            share_x[k] = in_x - float(from_x);
            share_y[k] = in_y - float(from_y);
            at[k] = from_y * std::int32_t(stride) + from_x;
        }
    }
    DSNET_INLINE float value(const float* plane, Index k, Index right, Index down) const {
        const float* const from = plane + at[k];
        const float above = mixed(from[0], from[right], share_x[k]);
        const float below = mixed(from[down], from[down + right], share_x[k]);
        return mixed(above, below, share_y[k]);
    }
};

// Adds the samples of a row of cells that lie (`row`, `column`) from the frame's corner.
DSNET_INLINE void add_samples(const EdgeCurve& curve, const Image<const float>& image, float row,
                              float column, float* sums) {
    Squares squares;
    DSNET_INDEPENDENT
    for (Index j = 0; j < kGrid; ++j) {
        const auto place = sample_of(curve, row, float(std::int32_t(j)) + column);
        squares.x[j] = place.x;
        squares.y[j] = place.y;
    }
    squares.find(image.rows, image.cols, image.row_stride);
    const Index right = image.cols > 1 ? 1 : 0, down = image.rows > 1 ? image.row_stride : 0;
    DSNET_INDEPENDENT
    for (Index j = 0; j < kGrid; ++j) sums[j] += squares.value(image.data, j, right, down);
}

void sample(const EdgeCurve& curve, const Image<const float>& image, const EdgeCells& cells) {
    const int samples = curve.samples;
    const float each = 1.0f / float(samples), share = 1.0f / float(samples * samples);
    for (Index i = 0; i < kGrid; ++i) {
        alignas(64) float sums[kGrid] = {};
        for (int b = 0; b < samples; ++b)
            for (int a = 0; a < samples; ++a)
                add_samples(curve, image, float(i) + (float(b) + 0.5f) * each,
                            (float(a) + 0.5f) * each, sums);
        float* const grey = cells.grey + i * kGrid;
        float* const shares = cells.share + i * kGrid;
        float* const outside = cells.outside + i * kGrid;
        DSNET_INDEPENDENT
        for (Index j = 0; j < kGrid; ++j) {
            grey[j] = sums[j] * share;
            const auto place = place_of(curve, float(i), float(std::int32_t(j)));
            shares[j] = place.share;
            outside[j] = place.outside;
        }
    }
}

// Squares of four cells become places of the first layer: input, then row, then column.
void enter(const EdgeCurve& curve, float surroundings, float scale, const EdgeCells& cells,
           EdgeActivations<kFine, 4 * kCellInputs>& to) {
    for (Index i = 0; i < kGrid; ++i) {
        const float* const grey = cells.grey + i * kGrid;
        const float* const outside = cells.outside + i * kGrid;
        alignas(64) std::int16_t inputs[kCellInputs][kGrid];
        DSNET_INDEPENDENT
        for (Index j = 0; j < kGrid; ++j) {
            inputs[0][j] = std::int16_t(told_grey(grey[j], surroundings, scale));
            inputs[1][j] = std::int16_t(told_pixels(outside[j]));
            inputs[2][j] = std::int16_t(told_share(outside[j], curve.half_short));
        }
        std::int16_t* const first = to.at(int(i / 2), 0) + i % 2 * 2;
        for (Index place = 0; place < kFine; ++place)
            for (int input = 0; input < kCellInputs; ++input)
                __builtin_memcpy(first + 4 * (place * kCellInputs + input),
                                 inputs[input] + 2 * place, 2 * sizeof(std::int16_t));
    }
}

// A layer's sums of kOutputLanes outputs at a few places of a row, which `body(place, sums)` gets.
template <int kName, bool kFused, class In, class Body>
DSNET_INLINE void convolve(const EdgeNetwork& network, const std::int32_t* bias, In& in,
                           Body body) {
    constexpr EdgeLayer kLayer = kEdgeLayer[kName];
    constexpr int kFrom = kLayer.kernel == 3 ? -1 : 0;
    constexpr int kStep = kLayer.stride * kLayer.inputs;
    // A fused sum waits for the one before it: two chains take turns.
    constexpr int kChains = kFused ? 2 : 1;
    constexpr int kPlaces = kPlacesAtOnce < kLayer.side ? kPlacesAtOnce : kLayer.side;
    const std::int16_t* const weights = network.weights + edge_weights_before(kName);
    for (int y = 0; y < kLayer.side; ++y) {
        for (int x = 0; x < kLayer.side; x += kPlaces) {
            for (int o = 0; o < kLayer.outputs; o += kOutputLanes) {
                Sums sums[kChains][kPlaces] = {};
                for (int p = 0; p < kPlaces; ++p) sums[0][p].set(bias + o);
                for (int row = 0; row < kLayer.kernel; ++row) {
                    const std::int16_t* from =
                        in.at(y * kLayer.stride + row + kFrom, x * kLayer.stride + kFrom);
                    const std::int16_t* weight =
                        weights + (row * kLayer.kernel * kLayer.inputs * kLayer.outputs) + 2 * o;
                    for (int k = 0; k < kLayer.kernel * kLayer.inputs / 2; k += kChains) {
                        DSNET_UNROLLED
                        for (int chain = 0; chain < kChains; ++chain) {
                            const Weights pairs(weight + (k + chain) * 2 * kLayer.outputs);
                            DSNET_UNROLLED
                            for (int p = 0; p < kPlaces; ++p)
                                sums[chain][p].template add<kFused>(
                                    pairs, from + p * kStep + 2 * (k + chain));
                        }
                    }
                }
                for (int chain = 1; chain < kChains; ++chain)
                    for (int p = 0; p < kPlaces; ++p) sums[0][p].add(sums[chain][p]);
                for (int p = 0; p < kPlaces; ++p) body(y, x + p, o, sums[0][p]);
            }
        }
    }
}

DSNET_INLINE const std::int32_t* bias_of(const EdgeNetwork& network, int layer) {
    return network.bias + edge_outputs_before(layer);
}

// Activations: sums by the layer's shift, 0 to kMostActive.
template <int kName, bool kFused, class In, class Out>
DSNET_INLINE void activate(const EdgeNetwork& network, const std::int32_t* bias, In& in, Out& out) {
    if constexpr (kEdgeLayer[kName].kernel == 3 && !kFused) {
        activate_tiles<kName>(network, bias, in, out);
    } else {
        const int shift = network.shift[kName];
        convolve<kName, kFused>(network, bias, in, [&](int y, int x, int o, const Sums& sums) {
            sums.store(out.at(y, x) + o, shift, 0, kMostActive);
        });
    }
}

template <int kName, bool kFused, class In, class Out>
DSNET_INLINE void activate(const EdgeNetwork& network, In& in, Out& out) {
    activate<kName, kFused>(network, bias_of(network, kName), in, out);
}

// What a coarser layer adds to each square of places of a finer one's.
template <int kName, bool kFused, class In, class Coarse, class Kept>
DSNET_INLINE void add_coarser(const EdgeNetwork& network, In& in, Coarse& coarse, Kept& kept) {
    constexpr EdgeLayer kLayer = kEdgeLayer[kName];
    const int shift = network.shift[kName];
    convolve<kName, kFused>(network, bias_of(network, kName), in,
                            [&](int y, int x, int o, const Sums& sums) {
                                sums.store(coarse.at(y, x) + o, shift, -kMostActive, kMostActive);
                            });
    for (int y = 0; y < 2 * kLayer.side; ++y) {
        for (int x = 0; x < 2 * kLayer.side; ++x) {
            std::int16_t* const to = kept.at(y, x);
            const std::int16_t* const more = coarse.at(y / 2, x / 2);
            for (int o = 0; o < kLayer.outputs; o += kOutputLanes) {
                typedef std::int16_t Shorts __attribute__((vector_size(2 * kOutputLanes)));
                Shorts kept_values, more_values;
                __builtin_memcpy(&kept_values, to + o, sizeof(Shorts));
                __builtin_memcpy(&more_values, more + o, sizeof(Shorts));
                const Shorts least = {}, most = least + std::int16_t(kMostActive);
                Shorts sum = kept_values + more_values;
                sum = sum < least ? least : sum;
                sum = sum > most ? most : sum;
                __builtin_memcpy(to + o, &sum, sizeof(Shorts));
            }
        }
    }
}

template <bool kFused>
void weigh_by(const EdgePlan& plan, const EdgeNetwork& network, const EdgeLevels& levels,
              EdgeLayers& layers, const EdgeCells& cells) {
    std::int32_t first[kEdgeLayer[kEnter].outputs];
    for (int output = 0; output < kEdgeLayer[kEnter].outputs; ++output)
        first[output] = first_bias(network, output, plan.constants, levels.spread);
    enter(plan.curve, levels.surroundings, levels.scale, cells, layers.entered);
    activate<kEnter, kFused>(network, first, layers.entered, layers.fine);
    activate<kFineDown, kFused>(network, layers.fine, layers.fine_kept);
    activate<kToMiddle, kFused>(network, layers.fine_kept, layers.middle);
    activate<kMiddleDown, kFused>(network, layers.middle, layers.middle_kept);
    activate<kToCoarse, kFused>(network, layers.middle_kept, layers.coarse);
    activate<kCoarse, kFused>(network, layers.coarse, layers.coarse_kept);
    add_coarser<kFromCoarse, kFused>(network, layers.coarse_kept, layers.from_coarse,
                                     layers.middle_kept);
    activate<kMiddleUp, kFused>(network, layers.middle_kept, layers.middle);
    add_coarser<kFromMiddle, kFused>(network, layers.middle, layers.from_middle, layers.fine_kept);
    activate<kFineUp, kFused>(network, layers.fine_kept, layers.fine);
    convolve<kLeave, kFused>(
        network, bias_of(network, kLeave), layers.fine, [&](int y, int x, int, const Sums& sums) {
            float* const to = cells.log_odds + 2 * y * kGrid + 2 * x;
            for (int o = 0; o < 4; ++o)
                to[o / 2 * kGrid + o % 2] = float(sums.first(o)) * network.log_odds_per_unit;
        });
}

void weigh(const EdgePlan& plan, const EdgeNetwork& network, const EdgeLevels& levels,
           EdgeLayers& layers, const EdgeCells& cells) {
    const bool fused = has_fused_dot();
    (fused ? &weigh_by<true> : &weigh_by<false>)(plan, network, levels, layers, cells);
}

EdgeThreshold settle(const EdgeCurve& curve, const EdgeNetwork& network, const EdgeCells& cells,
                     std::ptrdiff_t rows, std::ptrdiff_t cols) {
    std::int32_t counts[kSteps] = {};
    const float reach = 1.5f * curve.half;
    const bool whole = curve.x >= reach && curve.y >= reach && curve.x + reach < float(cols - 1) &&
                       curve.y + reach < float(rows - 1);
    for (int i = 0; i < kGrid; ++i) {
        for (int j = 0; j < kGrid; ++j) {
            const int step = step_of(cells.log_odds[i * kGrid + j]);
            counts[step] += whole || in_image(curve, i, j, int(rows), int(cols));
        }
    }
    return best_threshold(counts, network.probability);
}

void spread(const EdgeCurve& curve, const EdgeLevels& levels, const EdgeCells& cells,
            const Image<const float>& image, std::ptrdiff_t top, std::ptrdiff_t left,
            const Image<float>& log_odds) {
    const float detail = detail_of(levels.scale, float(levels.spread));
    for (Index i = 0; i < kCells; i += kLanes)
        store(cells.log_odds + i, load(cells.log_odds + i) - load(cells.grey + i) * detail);
    for (Index row = 0; row < log_odds.rows; ++row) {
        const float y = float(top + row);
        float* const out = log_odds.row(row);
        const float* const seen = image.row(top + row) + left;
        for (Index begin = 0; begin < log_odds.cols; begin += kGrid) {
            // Whole lanes, some of them perhaps beyond the window.
            const auto first = std::int32_t(left + begin);
            Squares squares;
            alignas(64) std::int32_t inside[kGrid];
            alignas(64) float odds[kGrid];
            std::int32_t any = 0;
            DSNET_INDEPENDENT
            for (Index k = 0; k < kGrid; ++k) {
                const auto cell = cell_of(curve, y, float(first + std::int32_t(k)));
                squares.x[k] = cell.x;
                squares.y[k] = cell.y;
                inside[k] = in_frame(cell) ? 1 : 0;
                any |= inside[k];
                odds[k] = -kCertain;
            }
            const Index size = log_odds.cols - begin < kGrid ? log_odds.cols - begin : kGrid;
            if (any != 0) {
                alignas(64) float grey[kGrid] = {};
                __builtin_memcpy(grey, seen + begin, sizeof(float) * std::size_t(size));
                squares.find(kGrid, kGrid, kGrid);
                DSNET_INDEPENDENT
                for (Index k = 0; k < kGrid; ++k) {
                    const float value =
                        squares.value(cells.log_odds, k, 1, kGrid) + grey[k] * detail;
                    odds[k] = inside[k] ? within(value, -kCertain, kCertain) : -kCertain;
                }
            }
            __builtin_memcpy(out + begin, odds, sizeof(float) * std::size_t(size));
        }
    }
}

}  // namespace

extern const EdgeSimd edge_simd;
const EdgeSimd edge_simd = {&sample, &weigh, &settle, &spread};

}  // namespace dsnet::DSNET_UNIT

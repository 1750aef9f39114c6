#include "edge/simd.h"

#include "base/lanes.h"
// Below them, whose unit they take.
#include "edge/integers.h"
#include "edge/pixel.h"

namespace dsnet::DSNET_UNIT {
namespace {

using Index = std::ptrdiff_t;

DSNET_INLINE Vector counting() {
    Vector out;
    for (int lane = 0; lane < kLanes; ++lane) out[lane] = float(lane);
    return out;
}

// Adds the samples of a row of cells that lie (`row`, `column`) from the frame's corner.
DSNET_INLINE void add_samples(const EdgeCurve& curve, const Image<const float>& image, float row,
                              float column, float* sums) {
    const float last_x = float(image.cols - 1), last_y = float(image.rows - 1);
    const Index right = image.cols > 1 ? 1 : 0, down = image.rows > 1 ? image.row_stride : 0;
    alignas(64) float share_x[kGrid], share_y[kGrid];
    alignas(64) std::int32_t at_x[kGrid], at_y[kGrid];
    for (Index j = 0; j < kGrid; j += kLanes) {
        const auto place = sample_of(curve, row, counting() + (float(j) + column));
        const Vector x = within(place.x, 0.0f, last_x), y = within(place.y, 0.0f, last_y);
        // The last pixel is the far end of the square before it.
        const Vector most_x = all(image.cols > 1 ? last_x - 1.0f : 0.0f);
        const Vector most_y = all(image.rows > 1 ? last_y - 1.0f : 0.0f);
        DSNET_INDEPENDENT
        for (Index lane = 0; lane < kLanes; ++lane) {
            const float left = float(std::int32_t(x[lane])), top = float(std::int32_t(y[lane]));
            const float from_x = left < most_x[lane] ? left : most_x[lane];
            const float from_y = top < most_y[lane] ? top : most_y[lane];
            share_x[j + lane] = x[lane] - from_x;
            share_y[j + lane] = y[lane] - from_y;
            at_x[j + lane] = std::int32_t(from_x);
            at_y[j + lane] = std::int32_t(from_y);
        }
    }
    for (Index j = 0; j < kGrid; ++j) {
        const float* const from = image.data + at_y[j] * image.row_stride + at_x[j];
        const float above = mixed(from[0], from[right], share_x[j]);
        const float below = mixed(from[down], from[down + right], share_x[j]);
        sums[j] += mixed(above, below, share_y[j]);
    }
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
        for (Index j = 0; j < kGrid; j += kLanes) {
            store(cells.grey + i * kGrid + j, load(sums + j) * share);
            const auto place = place_of(curve, float(i), counting() + float(j));
            store(cells.share + i * kGrid + j, place.share);
            store(cells.outside + i * kGrid + j, place.outside);
        }
    }
}

// Squares of four cells become places of the first layer: input, then row, then column.
void enter(const EdgeCurve& curve, float surroundings, float scale, const EdgeCells& cells,
           EdgeActivations<kFine, 4 * kCellInputs>& to) {
    for (Index i = 0; i < kGrid; ++i) {
        for (Index j = 0; j < kGrid; j += kLanes) {
            const Vector grey = load(cells.grey + i * kGrid + j);
            const Vector outside = load(cells.outside + i * kGrid + j);
            const Vector inputs[kCellInputs] = {told_grey(grey, surroundings, scale),
                                                told_pixels(outside),
                                                told_share(outside, curve.half_short)};
            for (int input = 0; input < kCellInputs; ++input) {
                std::int16_t* const first = to.at(int(i / 2), int(j / 2)) + 4 * input + i % 2 * 2;
                for (Index lane = 0; lane < kLanes; ++lane)
                    first[lane / 2 * (4 * kCellInputs) + lane % 2] =
                        std::int16_t(inputs[input][lane]);
            }
        }
    }
}

// A layer's sums of kOutputLanes outputs at a few places of a row, which `body(place, sums)` gets.
template <int kName, int kPlaces, class In, class Body>
DSNET_INLINE void convolve(const EdgeNetwork& network, const std::int32_t* bias, In& in,
                           Body body) {
    constexpr EdgeLayer kLayer = kEdgeLayer[kName];
    constexpr int kFrom = kLayer.kernel == 3 ? -1 : 0;
    constexpr int kStep = kLayer.stride * kLayer.inputs;
    const std::int16_t* const weights = network.weights + edge_weights_before(kName);
    for (int y = 0; y < kLayer.side; ++y) {
        for (int x = 0; x < kLayer.side; x += kPlaces) {
            for (int o = 0; o < kLayer.outputs; o += kOutputLanes) {
                Sums sums[kPlaces];
                for (int p = 0; p < kPlaces; ++p) sums[p].set(bias + o);
                for (int row = 0; row < kLayer.kernel; ++row) {
                    const std::int16_t* from =
                        in.at(y * kLayer.stride + row + kFrom, x * kLayer.stride + kFrom);
                    const std::int16_t* weight =
                        weights + (row * kLayer.kernel * kLayer.inputs * kLayer.outputs) + 2 * o;
                    for (int k = 0; k < kLayer.kernel * kLayer.inputs / 2; ++k) {
                        const Weights pairs(weight + k * 2 * kLayer.outputs);
                        DSNET_UNROLLED
                        for (int p = 0; p < kPlaces; ++p)
                            sums[p].add(pairs, from + p * kStep + 2 * k);
                    }
                }
                for (int p = 0; p < kPlaces; ++p) body(y, x + p, o, sums[p]);
            }
        }
    }
}

DSNET_INLINE const std::int32_t* bias_of(const EdgeNetwork& network, int layer) {
    return network.bias + edge_outputs_before(layer);
}

constexpr int places(int side) { return kPlacesAtOnce < side ? kPlacesAtOnce : side; }

// Activations: sums by the layer's shift, 0 to kMostActive.
template <int kName, class In, class Out>
DSNET_INLINE void activate(const EdgeNetwork& network, const std::int32_t* bias, In& in, Out& out) {
    const int shift = network.shift[kName];
    convolve<kName, places(kEdgeLayer[kName].side)>(
        network, bias, in, [&](int y, int x, int o, const Sums& sums) {
            sums.store(out.at(y, x) + o, shift, 0, kMostActive);
        });
}

template <int kName, class In, class Out>
DSNET_INLINE void activate(const EdgeNetwork& network, In& in, Out& out) {
    activate<kName>(network, bias_of(network, kName), in, out);
}

// What a coarser layer adds to each square of places of a finer one's.
template <int kName, class In, class Coarse, class Kept>
DSNET_INLINE void add_coarser(const EdgeNetwork& network, In& in, Coarse& coarse, Kept& kept) {
    constexpr EdgeLayer kLayer = kEdgeLayer[kName];
    const int shift = network.shift[kName];
    convolve<kName, places(kLayer.side)>(
        network, bias_of(network, kName), in, [&](int y, int x, int o, const Sums& sums) {
            sums.store(coarse.at(y, x) + o, shift, -kMostActive, kMostActive);
        });
    for (int y = 0; y < 2 * kLayer.side; ++y) {
        for (int x = 0; x < 2 * kLayer.side; ++x) {
            std::int16_t* const to = kept.at(y, x);
            const std::int16_t* const more = coarse.at(y / 2, x / 2);
            DSNET_INDEPENDENT
            for (int o = 0; o < kLayer.outputs; ++o) {
                const int sum = to[o] + more[o];
                to[o] = std::int16_t(sum < 0 ? 0 : sum > kMostActive ? kMostActive : sum);
            }
        }
    }
}

void weigh(const EdgePlan& plan, const EdgeNetwork& network, const EdgeLevels& levels,
           EdgeLayers& layers, const EdgeCells& cells) {
    std::int32_t first[kEdgeLayer[kEnter].outputs];
    for (int output = 0; output < kEdgeLayer[kEnter].outputs; ++output)
        first[output] = first_bias(network, output, plan.constants, levels.spread);
    enter(plan.curve, levels.surroundings, levels.scale, cells, layers.entered);
    activate<kEnter>(network, first, layers.entered, layers.fine);
    activate<kFineDown>(network, layers.fine, layers.fine_kept);
    activate<kToMiddle>(network, layers.fine_kept, layers.middle);
    activate<kMiddleDown>(network, layers.middle, layers.middle_kept);
    activate<kToCoarse>(network, layers.middle_kept, layers.coarse);
    activate<kCoarse>(network, layers.coarse, layers.coarse_kept);
    add_coarser<kFromCoarse>(network, layers.coarse_kept, layers.from_coarse, layers.middle_kept);
    activate<kMiddleUp>(network, layers.middle_kept, layers.middle);
    add_coarser<kFromMiddle>(network, layers.middle, layers.from_middle, layers.fine_kept);
    activate<kFineUp>(network, layers.fine_kept, layers.fine);
    convolve<kLeave, places(kFine)>(
        network, bias_of(network, kLeave), layers.fine, [&](int y, int x, int, const Sums& sums) {
            float* const to = cells.log_odds + 2 * y * kGrid + 2 * x;
            for (int o = 0; o < 4; ++o)
                to[o / 2 * kGrid + o % 2] = float(sums.first(o)) * network.log_odds_per_unit;
        });
}

void spread(const EdgeCurve& curve, const EdgeCells& cells, std::ptrdiff_t top, std::ptrdiff_t left,
            const Image<float>& log_odds) {
    constexpr float kLast = kGrid - 1;
    for (Index row = 0; row < log_odds.rows; ++row) {
        float* const out = log_odds.row(row);
        for (Index begin = 0; begin < log_odds.cols; begin += kLanes) {
            const auto cell =
                cell_of(curve, float(top + row), counting() + float(left + begin));
            const Vector x = within(cell.x, 0.0f, kLast), y = within(cell.y, 0.0f, kLast);
            alignas(64) float share_x[kLanes], share_y[kLanes], odds[kLanes];
            alignas(64) std::int32_t at[kLanes];
            const auto inside = in_frame(cell);
            DSNET_INDEPENDENT
            for (Index lane = 0; lane < kLanes; ++lane) {
                const auto whole_x = std::int32_t(x[lane]), whole_y = std::int32_t(y[lane]);
                const std::int32_t from_x = whole_x < kGrid - 2 ? whole_x : kGrid - 2;
                const std::int32_t from_y = whole_y < kGrid - 2 ? whole_y : kGrid - 2;
                share_x[lane] = x[lane] - float(from_x);
                share_y[lane] = y[lane] - float(from_y);
                at[lane] = from_y * kGrid + from_x;
            }
            DSNET_INDEPENDENT
            for (Index lane = 0; lane < kLanes; ++lane) {
                const float* const from = cells.log_odds + at[lane];
                const float above = mixed(from[0], from[1], share_x[lane]);
                const float below = mixed(from[kGrid], from[kGrid + 1], share_x[lane]);
                const float value = mixed(above, below, share_y[lane]);
                const float bounded = within(value, -kCertain, kCertain);
                odds[lane] = inside[lane] ? bounded : -kCertain;
            }
            const Index size = log_odds.cols - begin < kLanes ? log_odds.cols - begin : kLanes;
            for (Index lane = 0; lane < size; ++lane) out[begin + lane] = odds[lane];
        }
    }
}

}  // namespace

extern const EdgeSimd edge_simd;
const EdgeSimd edge_simd = {&sample, &weigh, &spread};

}  // namespace dsnet::DSNET_UNIT

#include "edge/simd.h"

#include "base/lanes.h"
// Below them, whose unit they take.
#include "edge/integers.h"
#include "edge/pixel.h"
#include "edge/squares.h"
#include "edge/tiles.h"

namespace dsnet::DSNET_UNIT {
namespace {

using Index = std::ptrdiff_t;

// 0, 1, 2 and so on, and a number.
DSNET_INLINE FloatVector counted_from(std::int32_t first) {
    WholeVector numbers;
    for (Index k = 0; k < kPlaces; ++k) numbers[k] = std::int32_t(k);
    return __builtin_convertvector(numbers + first, FloatVector);
}

template <bool kNarrow>
DSNET_INLINE void sample_from(EdgeCurve curve, const Image<const float>& image,
                              const EdgeCells& cells) {
    const Squares<kNarrow> squares(image.data, image.rows, image.cols, image.row_stride);
    const int samples = curve.samples;
    const float each = 1.0f / float(samples), share = 1.0f / float(samples * samples);
    for (Index i = 0; i < kGrid; ++i) {
        for (Index j = 0; j < kGrid; j += kPlaces) {
            const FloatVector columns = counted_from(std::int32_t(j));
            FloatVector sum{};
            for (int b = 0; b < samples; ++b) {
                const float row = float(i) + (float(b) + 0.5f) * each;
                for (int a = 0; a < samples; ++a)
                    sum += squares.at(sample_of(curve, row, columns + (float(a) + 0.5f) * each));
            }
            const auto place = place_of(curve, float(i), columns);
            store(cells.grey + i * kGrid + j, sum * share);
            store(cells.share + i * kGrid + j, place.share);
            store(cells.outside + i * kGrid + j, place.outside);
        }
    }
}

void sample(const EdgeCurve& curve, const Image<const float>& image, const EdgeCells& cells) {
    if (image.cols > 1)
        sample_from<false>(curve, image, cells);
    else
        sample_from<true>(curve, image, cells);
}

// Squares of four cells become places of the first layer: input, then row, then column.
void enter(const EdgeCurve& curve, float surroundings, float scale, const EdgeCells& cells,
           EdgeActivations<kFine, 4 * kCellInputs>& to) {
    constexpr int kPitch = EdgeActivations<kFine, 4 * kCellInputs>::kPitch;
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
                __builtin_memcpy(first + place * kPitch + 4 * input, inputs[input] + 2 * place,
                                 2 * sizeof(std::int16_t));
    }
}

// A layer's sums of kOutputLanes outputs at a few places of a row, which `body(place, sums)` gets.
template <int kName, bool kFused, class In, class Body>
DSNET_INLINE void convolve(const EdgeNetwork& network, const std::int32_t* bias, In& in,
                           Body body) {
    constexpr EdgeLayer kLayer = kEdgeLayer[kName];
    static_assert(kLayer.kernel == kLayer.stride, "the others are tiles'");
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
                    const std::int16_t* from = in.at(y * kLayer.stride + row, x * kLayer.stride);
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
    if constexpr (kEdgeLayer[kName].kernel == 3) {
        activate_tiles<kName, kFused>(network, bias, in, out);
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
    convolve<kLeave, kFused>(network, bias_of(network, kLeave), layers.fine,
                             [&](int y, int x, int, const Sums& sums) {
                                 float* const to = cells.log_odds + 2 * y * kGrid + 2 * x;
                                 sums.store_first(network.log_odds_per_unit, to, to + kGrid);
                             });
}

void weigh(const EdgePlan& plan, const EdgeNetwork& network, const EdgeLevels& levels,
           EdgeLayers& layers, const EdgeCells& cells) {
    const bool fused = has_fused_dot();
    (fused ? &weigh_by<true> : &weigh_by<false>)(plan, network, levels, layers, cells);
}

EdgeThreshold settle(const EdgeCurve& curve, const EdgeNetwork& network, const EdgeCells& cells,
                     std::ptrdiff_t rows, std::ptrdiff_t cols) {
    // Counters that take turns, since many cells in a row are of one step.
    constexpr Index kTurns = 4;
    std::int32_t counts[kTurns][kSteps] = {};
    const float reach = 1.5f * curve.half;
    const bool whole = curve.x >= reach && curve.y >= reach && curve.x + reach < float(cols - 1) &&
                       curve.y + reach < float(rows - 1);
    for (Index i = 0; i < kGrid; ++i) {
        alignas(64) std::int32_t steps[kGrid], counted[kGrid];
        for (Index j = 0; j < kGrid; j += kPlaces) {
            const auto odds = load_as<FloatVector>(cells.log_odds + i * kGrid + j);
            store(steps + j, __builtin_convertvector(step_of(odds), WholeVector));
            WholeVector one = WholeVector{} + 1;
            if (!whole)
                one &= in_image(curve, float(i) + 0.5f, counted_from(std::int32_t(j)) + 0.5f,
                                int(rows), int(cols));
            store(counted + j, one);
        }
        for (Index j = 0; j < kGrid; ++j) counts[j % kTurns][steps[j]] += counted[j];
    }
    for (Index turn = 1; turn < kTurns; ++turn)
        for (Index k = 0; k < kSteps; ++k) counts[0][k] += counts[turn][k];
    return best_threshold(counts[0], network.probability);
}

// The columns of a row of pixels that may lie in the frame, some more on either side: those where
// |slope * place + offset| is at most the reach along either of the frame's directions.
class FrameRows {
  public:
    explicit FrameRows(const EdgeCurve& curve)
        : x_(curve.x),
          y_(curve.y),
          along_(curve.along_x, curve.along_y, reach_of(curve)),
          across_(-curve.along_y, curve.along_x, reach_of(curve)) {}

    // Of the row `y`; `left` and `count` are of the columns to be told of, counted from `left`.
    DSNET_INLINE void find(float y, Index left, Index count, Index& begin, Index& end) const {
        const double dy = double(y) - y_, first = x_ - double(left);
        double low = -first, high = double(count) - first;
        along_.narrow(dy, low, high);
        across_.narrow(dy, low, high);
        begin = high > low ? Index(low + first) : 0;
        end = high > low ? Index(high + first) : 0;
    }

  private:
    // Rounding to float32 is far from moving a border by so many pixels, and this share of where
    // it lies.
    static constexpr double kSlack = 2.0, kRounding = 1e-6;

    static DSNET_INLINE double reach_of(const EdgeCurve& curve) {
        return curve.half + kSlack +
               kRounding * (double(curve.half) + double(greater_of(curve.x, -curve.x)) +
                            double(greater_of(curve.y, -curve.y)));
    }

    struct Direction {
        double middle = 0, half = 0;  // of the places, the former for each row down
        bool tells = false;

        // Along such a direction as a row's own a row of any length lies on one side, or the other
        // one tells little.
        DSNET_INLINE Direction(double slope, double down, double reach) {
            const double size = slope < 0 ? -slope : slope;
            tells = size >= 1e-3;
            if (!tells) return;
            middle = -down / slope;
            half = reach / size;
        }
        DSNET_INLINE void narrow(double dy, double& low, double& high) const {
            if (!tells) return;
            const double from = dy * middle - half, to = dy * middle + half;
            low = from > low ? from : low;
            high = to < high ? to : high;
        }
    };

    double x_, y_;
    Direction along_, across_;
};

void spread(const EdgeCurve& told, const EdgeLevels& levels, const EdgeCells& cells,
            const Image<const float>& image, std::ptrdiff_t top, std::ptrdiff_t left,
            const Image<float>& log_odds) {
    // Of our own: what is stored is no part of it.
    const EdgeCurve curve = told;
    const float detail = detail_of(levels.scale, float(levels.spread));
    for (Index i = 0; i < kCells; i += kPlaces)
        store(cells.log_odds + i, load_as<FloatVector>(cells.log_odds + i) -
                                      load_as<FloatVector>(cells.grey + i) * detail);
    const Squares<false> squares(cells.log_odds, kGrid, kGrid, kGrid);
    const FloatVector outside = FloatVector{} - kCertain;
    const FrameRows frame(curve);
    const Index cols = log_odds.cols;
    for (Index row = 0; row < log_odds.rows; ++row) {
        const float y = float(top + row);
        float* out = log_odds.row(row);
        const float* seen = image.row(top + row) + left;
        // Of a row that is shorter than a vector.
        float held[kPlaces], held_seen[kPlaces] = {};
        if (cols < kPlaces) {
            for (Index k = 0; k < cols; ++k) held_seen[k] = seen[k];
            out = held;
            seen = held_seen;
        }
        // The last vector of a row ends where the row does, and may begin before the one before
        // it ends.
        const Index last = cols < kPlaces ? 0 : cols - kPlaces;
        const auto at_most = [last](Index x) { return x < last ? x : last; };
        for (Index x = 0; x < cols; x += kPlaces) store(out + at_most(x), outside);
        Index begin, end;
        frame.find(y, left, cols, begin, end);
        for (Index x = begin; x < end; x += kPlaces) {
            const Index from = at_most(x);
            const auto cell = cell_of(curve, y, counted_from(std::int32_t(left + from)));
            const FloatVector value = squares.at(cell) + load_as<FloatVector>(seen + from) * detail;
            store(out + from, in_frame(cell) ? within(value, -kCertain, kCertain) : outside);
        }
        if (cols < kPlaces)
            for (Index k = 0; k < cols; ++k) log_odds.row(row)[k] = held[k];
    }
}

}  // namespace

extern const EdgeSimd edge_simd;
const EdgeSimd edge_simd = {&sample, &weigh, &settle, &spread};

}  // namespace dsnet::DSNET_UNIT

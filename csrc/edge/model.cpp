#include "edge/model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/order_simd.h"
#include "edge/simd.h"

namespace dsnet {
namespace {

constexpr double kSigmas[kSmoothings] = {0.7, 1.5, 3.0};
constexpr int kRadii[kSmoothings] = {3, 6, 12};  // four sigmas

// Weights of scipy.ndimage.gaussian_filter, from the centre on.
EdgeTaps make_taps() {
    EdgeTaps taps = {};
    for (int s = 0; s < kSmoothings; ++s) {
        taps.radius[s] = kRadii[s];
        double sum = 0.0, values[kLargestRadius + 1];
        for (int k = 0; k <= kRadii[s]; ++k) {
            values[k] = std::exp(-0.5 / (kSigmas[s] * kSigmas[s]) * k * k);
            sum += k == 0 ? values[k] : 2 * values[k];
        }
        for (int k = 0; k <= kRadii[s]; ++k)
            taps.weight[s][k] = static_cast<float>(values[k] / sum);
    }
    return taps;
}

// The pixels of a plane that are chosen by another one, for quantiles.
class Sample {
  public:
    Sample(const EdgeGrid& grid, std::vector<std::int32_t>& keys) : grid_(grid), keys_(keys) {
        const auto size = static_cast<std::size_t>(grid.rows * grid.cols + 4 * kLanes);
        if (keys.size() < size) keys.resize(size);
    }
    void choose(const float* values, const float* measured, float above, float most) {
        count_ = order_simd().collect({values, measured, grid_.rows, grid_.cols, grid_.stride},
                                      above, most, keys_.data());
    }
    std::ptrdiff_t count() const { return count_; }
    double at(std::ptrdiff_t rank) const {
        float found[2];
        order_simd().select(keys_.data(), count_, rank, found);
        return found[0];
    }
    // As numpy.percentile with linear interpolation; `share` in 0..1.
    double quantile(double share) const {
        const double place = share * static_cast<double>(count_ - 1);
        const double step = place - std::floor(place);
        float found[2];
        order_simd().select(keys_.data(), count_, static_cast<std::ptrdiff_t>(place), found);
        const double low = found[0], high = found[1];
        return step < 0.5 ? low + (high - low) * step : high - (high - low) * (1.0 - step);
    }

  private:
    const EdgeGrid& grid_;
    std::vector<std::int32_t>& keys_;
    std::ptrdiff_t count_ = 0;
};

struct Levels {
    double lesion, surroundings, spread;
};

// Grey value of the lesion and of the surroundings, and the latter's interquartile range.
Levels measure_levels(const EdgeGrid& grid, float ring, std::vector<std::int32_t>& keys) {
    constexpr float kAll = std::numeric_limits<float>::infinity();
    Sample sample(grid, keys);
    sample.choose(grid.grey, grid.share, -kAll, kCoreShare);
    if (sample.count() < kLeastCore) {
        sample.choose(grid.share, grid.share, -kAll, kAll);
        const auto limit = sample.at(std::min<std::ptrdiff_t>(kLeastCore, sample.count() - 1));
        sample.choose(grid.grey, grid.share, -kAll, static_cast<float>(limit));
    }
    Levels levels;
    levels.lesion = sample.quantile(0.5);
    sample.choose(grid.grey, grid.outside, kRingBegin, ring);
    if (sample.count() < kLeastRing) sample.choose(grid.grey, grid.grey, -kAll, kAll);
    // Walls and vessels brighten the ring of a bright lesion: its darker quarter is lung. For a
    // lesion darker than most of its ring it is the other way round.
    const double bright = sample.quantile(0.75), dark = sample.quantile(0.25);
    const bool darker = levels.lesion < bright &&
                        std::abs(levels.lesion - bright) > 2 * std::abs(levels.lesion - dark);
    levels.surroundings = darker ? bright : dark;
    levels.spread = bright - dark;
    return levels;
}

EdgeGrid lay_out(Image<const float> image, const Box& window, PlaneArena<float>& arena) {
    EdgeGrid grid{};
    grid.rows = window.rows();
    grid.cols = window.cols();
    grid.stride = (grid.cols + kLanes - 1) / kLanes * kLanes + 3 * kLanes;
    const std::ptrdiff_t size = (grid.rows + 2) * grid.stride;
    constexpr std::ptrdiff_t kPlanes = 5 + kSmoothings;
    arena.reserve(static_cast<std::size_t>(kPlanes * size));
    float* next = arena.data() + grid.stride + kLanes;
    for (float** plane : {&grid.grey, &grid.outside, &grid.share, &grid.relative, &grid.smooth[0],
                          &grid.smooth[1], &grid.smooth[2], &grid.scratch}) {
        *plane = next;
        next += size;
    }
    for (std::ptrdiff_t y = 0; y < grid.rows; ++y)
        std::memcpy(grid.grey + y * grid.stride, image.row(window.top + y) + window.left,
                    sizeof(float) * static_cast<std::size_t>(grid.cols));
    return grid;
}

}  // namespace

Box lesion_window(const MarkFrame& frame, std::ptrdiff_t rows, std::ptrdiff_t cols) {
    const double reach = std::max(4.0, 0.3 * std::max(frame.long_diameter, 1.0));
    return window_around(frame, reach + 6.0, rows, cols);
}

EdgePlan plan_edge(const RecistMark& mark, const MarkFrame& frame, const Box& window) {
    EdgePlan plan = {};
    plan.rows = static_cast<std::int32_t>(window.rows());
    plan.cols = static_cast<std::int32_t>(window.cols());
    EdgeCurve& curve = plan.curve;
    const auto middle = [](double a, double b) { return (a + b) / 2; };
    const Point* l = mark.long_axis;
    const Point* s = mark.short_axis;
    const double long_u = middle(frame.along_of(l[0]), frame.along_of(l[1]));
    const double long_v = middle(frame.across_of(l[0]), frame.across_of(l[1]));
    const double short_u = middle(frame.along_of(s[0]), frame.along_of(s[1]));
    const double short_v = middle(frame.across_of(s[0]), frame.across_of(s[1]));
    // The axes cross where the short one lies along the long one, and the other way round.
    const double u = short_u, v = long_v;
    curve.x = static_cast<float>(frame.along.x * u + frame.across.x * v -
                                 static_cast<double>(window.left));
    curve.y = static_cast<float>(frame.along.y * u + frame.across.y * v -
                                 static_cast<double>(window.top));
    curve.along_x = static_cast<float>(frame.along.x);
    curve.along_y = static_cast<float>(frame.along.y);
    const auto halves = [](double a, double b, float half[2]) {
        half[0] = static_cast<float>(std::max(-std::min(a, b), 0.5));
        half[1] = static_cast<float>(std::max(std::max(a, b), 0.5));
    };
    halves(frame.along_of(l[0]) - u, frame.along_of(l[1]) - u, curve.half_u);
    halves(frame.across_of(s[0]) - v, frame.across_of(s[1]) - v, curve.half_v);
    const double long_diameter = std::max(frame.long_diameter, 1.0);
    const double short_diameter = std::max(frame.short_diameter, 1.0);
    curve.centre_u = static_cast<float>(u - long_u);
    curve.centre_v = static_cast<float>(v - short_v);
    curve.half_long = static_cast<float>(long_diameter / 2);
    curve.half_short = static_cast<float>(short_diameter / 2);
    curve.reach = static_cast<float>(std::max(4.0, 0.3 * long_diameter));
    const auto width = static_cast<float>(2.0 + std::max(3.0, 0.35 * long_diameter));
    plan.ring = std::nextafter(width, 0.0f);
    plan.same[0] = std::log(std::min(std::max(short_diameter, 2.0), 40.0));
    plan.same[1] = short_diameter / long_diameter;
    return plan;
}

const EdgeTaps& edge_taps() {
    static const EdgeTaps taps = make_taps();
    return taps;
}

double weigh_evidence(Image<const float> image, const RecistMark& mark, const Box& window,
                      const EdgeNetwork& network, EdgeWorkspace& workspace, Image<float> log_odds) {
    const EdgeTaps& taps = edge_taps();
    const EdgeSimd& simd = edge_simd();
    const EdgePlan plan = plan_edge(mark, MarkFrame(mark), window);
    EdgeGrid grid = lay_out(image, window, workspace.planes);
    static_cast<EdgeCurve&>(grid) = plan.curve;
    simd.measure(grid);
    const Levels levels = measure_levels(grid, plan.ring, workspace.keys);
    const double contrast = levels.lesion - levels.surroundings;
    const double scale = std::copysign(std::max(std::abs(contrast), kLeastContrast), contrast);
    simd.normalise(grid, static_cast<float>(levels.surroundings), static_cast<float>(scale));
    for (int s = 0; s < kSmoothings; ++s)
        simd.smooth(grid, taps.weight[s], taps.radius[s], grid.smooth[s]);

    // The features that are the same for all pixels join the first layer's bias.
    EdgeNetwork folded = network;
    const double same[kFeatures - kVaryingFeatures] = {
        plan.same[0], plan.same[1], std::min(levels.spread / std::abs(scale), kMostSpread)};
    for (int neuron = 0; neuron < kHidden; ++neuron) {
        double bias = network.bias1[neuron];
        for (int k = kVaryingFeatures; k < kFeatures; ++k)
            bias += double{network.weight1[neuron][k]} * same[k - kVaryingFeatures];
        folded.bias1[neuron] = static_cast<float>(bias);
    }
    simd.weigh(grid, folded, log_odds.data, log_odds.row_stride);
    return contrast;
}

}  // namespace dsnet

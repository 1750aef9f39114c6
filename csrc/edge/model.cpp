#include "edge/model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/order_simd.h"

namespace dsnet {
namespace {

constexpr float kAll = std::numeric_limits<float>::infinity();

// The cells that are chosen by another plane, for quantiles.
class Sample {
  public:
    explicit Sample(std::int32_t* keys) : keys_(keys) {}
    void choose(const float* values, const float* measured, float above, float most) {
        count_ = order_simd().collect({values, measured, kGrid, kGrid, kGrid}, above, most, keys_);
    }
    std::ptrdiff_t count() const { return count_; }
    float at(std::ptrdiff_t rank) const {
        float found[2];
        order_simd().select(keys_, count_, rank, found);
        return found[0];
    }
    // As numpy.percentile with linear interpolation; `share` in 0..1.
    double quantile(double share) const {
        const double place = share * static_cast<double>(count_ - 1);
        const double step = place - std::floor(place);
        float found[2];
        order_simd().select(keys_, count_, static_cast<std::ptrdiff_t>(place), found);
        const double low = found[0], high = found[1];
        return step < 0.5 ? low + (high - low) * step : high - (high - low) * (1.0 - step);
    }

  private:
    std::int32_t* keys_;
    std::ptrdiff_t count_ = 0;
};

struct Levels {
    double lesion, surroundings, spread;
};

// Grey value of the lesion and of the surroundings, and the latter's interquartile range.
Levels measure_levels(const EdgeCells& cells, float ring, std::int32_t* keys) {
    Sample sample(keys);
    sample.choose(cells.grey, cells.share, -kAll, kCoreShare);
    if (sample.count() < kLeastCore) {
        sample.choose(cells.share, cells.share, -kAll, kAll);
        sample.choose(cells.grey, cells.share, -kAll, sample.at(kLeastCore - 1));
    }
    Levels levels;
    levels.lesion = sample.quantile(0.5);
    sample.choose(cells.grey, cells.outside, kRingBegin, ring);
    if (sample.count() < kLeastRing) sample.choose(cells.grey, cells.share, -kAll, kAll);
    // Walls and vessels brighten the ring of a bright lesion: its darker quarter is lung. For a
    // lesion darker than most of its ring it is the other way round.
    const double bright = sample.quantile(0.75), dark = sample.quantile(0.25);
    const bool darker = levels.lesion < bright &&
                        std::abs(levels.lesion - bright) > 2 * std::abs(levels.lesion - dark);
    levels.surroundings = darker ? bright : dark;
    levels.spread = bright - dark;
    return levels;
}

double frame_half(const MarkFrame& frame) {
    const double longer = std::max({frame.long_diameter, frame.short_diameter, 1.0});
    return kFrameShare * longer + kFramePixels;
}

}  // namespace

Box lesion_window(const MarkFrame& frame, std::ptrdiff_t rows, std::ptrdiff_t cols) {
    const double reach = frame_half(frame) * (std::abs(frame.along.x) + std::abs(frame.along.y));
    const auto side = [reach](double centre, std::ptrdiff_t size) {
        const auto last = static_cast<double>(size - 1);
        const double low = std::clamp(std::floor(centre - reach), 0.0, last);
        const double high = std::clamp(std::ceil(centre + reach) + 1, low + 1, last + 1);
        return std::pair(static_cast<std::ptrdiff_t>(low), static_cast<std::ptrdiff_t>(high));
    };
    const auto [top, bottom] = side(frame.centre.y, rows);
    const auto [left, right] = side(frame.centre.x, cols);
    return {top, left, bottom, right};
}

EdgePlan plan_edge(const RecistMark& mark, const MarkFrame& frame, const Box& window) {
    EdgePlan plan = {};
    plan.rows = static_cast<std::int32_t>(window.rows());
    plan.cols = static_cast<std::int32_t>(window.cols());
    const Point* l = mark.long_axis;
    const Point* s = mark.short_axis;
    const double half = frame_half(frame), step = 2 * half / kGrid;
    EdgeCurve& curve = plan.curve;
    curve.x = static_cast<float>(frame.centre.x);
    curve.y = static_cast<float>(frame.centre.y);
    // Whichever end was drawn first: to the right, or down.
    const bool turned = frame.along.x < 0 || (frame.along.x == 0 && frame.along.y < 0);
    const double sign = turned ? -1.0 : 1.0;
    const auto along_of = [&](Point p) { return sign * frame.along_of(p); };
    const auto across_of = [&](Point p) { return sign * frame.across_of(p); };
    curve.along_x = static_cast<float>(sign * frame.along.x);
    curve.along_y = static_cast<float>(sign * frame.along.y);
    curve.half = static_cast<float>(half);
    curve.step = static_cast<float>(step);
    curve.cells_per_pixel = static_cast<float>(1 / step);
    curve.samples = static_cast<std::int32_t>(
        std::clamp(std::nearbyint(step), 1.0, static_cast<double>(kMostSamples)));
    // The axes cross where the short one lies along the long one, and the other way round.
    const double u = along_of(s[0]) / 2 + along_of(s[1]) / 2;
    const double v = across_of(l[0]) / 2 + across_of(l[1]) / 2;
    curve.cross_u = static_cast<float>(u - along_of(frame.centre));
    curve.cross_v = static_cast<float>(v - across_of(frame.centre));
    const auto halves = [](double a, double b, float of[2]) {
        of[0] = static_cast<float>(std::max(-std::min(a, b), 0.5));
        of[1] = static_cast<float>(std::max(std::max(a, b), 0.5));
    };
    halves(along_of(l[0]) - u, along_of(l[1]) - u, curve.half_u);
    halves(across_of(s[0]) - v, across_of(s[1]) - v, curve.half_v);
    const double long_diameter = std::max(frame.long_diameter, 1.0);
    const double short_diameter = std::max(frame.short_diameter, 1.0);
    curve.half_short = static_cast<float>(short_diameter / 2);
    curve.ring =
        std::nextafter(static_cast<float>(2.0 + std::max(3.0, 0.35 * long_diameter)), 0.0f);
    plan.constants[0] = std::log(std::clamp(short_diameter, 2.0, 40.0));
    plan.constants[1] = short_diameter / long_diameter;
    plan.constants[3] = std::log(std::clamp(long_diameter, 2.0, 80.0));
    plan.constants[4] = mark.short_known ? 0.0 : 1.0;
    return plan;
}

EdgeOutcome weigh_evidence(Image<const float> image, const RecistMark& mark, const Box& window,
                           const EdgeNetwork& network, EdgeWorkspace& workspace,
                           Image<float> log_odds) {
    const EdgeSimd& simd = edge_simd();
    const EdgePlan plan = plan_edge(mark, MarkFrame(mark), window);
    float (*planes)[kCells + kLanes] = workspace.cells;
    const EdgeCells cells = {planes[0], planes[1], planes[2], planes[3]};
    simd.sample(plan.curve, image, cells);
    const Levels levels = measure_levels(cells, plan.curve.ring, workspace.keys);
    const double contrast = levels.lesion - levels.surroundings;
    if (std::abs(contrast) < kLeastContrast) return {contrast, {}};
    const EdgeLevels told = {static_cast<float>(levels.surroundings), static_cast<float>(contrast),
                             std::min(kMostSpread, levels.spread / std::abs(contrast))};
    simd.weigh(plan, network, told, workspace.layers, cells);
    const EdgeThreshold threshold = simd.settle(plan.curve, network, cells, image.rows, image.cols);
    simd.spread(plan.curve, told, cells, image, window.top, window.left, log_odds);
    return {contrast, threshold};
}

}  // namespace dsnet

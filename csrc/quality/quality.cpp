#include "quality/quality.h"

#include <algorithm>
#include <cmath>

#include "mark/recist.h"
#include "masks/simd.h"
#include "trimap/trimap.h"

namespace dsnet {
namespace {

// The ring of background that the lesion's grey is compared with, in pixels.
constexpr double kRing = 3.0;

// The binary mask: packed whole, and cropped to what the ring reaches.
struct Lesion {
    BitPlane whole;
    Box box;
    Box window;
    BitPlane plane;
    std::int64_t pixels = 0;
};

double dice(std::int64_t shared, std::int64_t total) {
    return total > 0 ? 2.0 * static_cast<double>(shared) / static_cast<double>(total) : 1.0;
}

double axes_agreement(const Lesion& lesion, const RecistMark& mark) {
    if (lesion.pixels == 0) return 0.0;
    const MarkFrame frame(mark);
    double ratios = 0.0;
    // An assumed axis says nothing.
    const int axes = mark.short_known ? 2 : 1;
    for (int axis = 0; axis < axes; ++axis) {
        const Point direction = axis == 0 ? frame.along : frame.across;
        const Point* ends = axis == 0 ? mark.long_axis : mark.short_axis;
        // A row's farthest pixels are its first and its last.
        double low = 0.0, high = 0.0;
        bool any = false;
        const auto extend = [&](std::ptrdiff_t x, std::ptrdiff_t y) {
            const double at = static_cast<double>(lesion.window.left + x) * direction.x +
                              static_cast<double>(lesion.window.top + y) * direction.y;
            low = any ? std::min(low, at) : at;
            high = any ? std::max(high, at) : at;
            any = true;
        };
        for (std::ptrdiff_t y = 0; y < lesion.plane.rows; ++y) {
            const std::ptrdiff_t columns = lesion.plane.columns();
            std::ptrdiff_t c = 0;
            while (c < columns && lesion.plane.column(c)[y] == 0) ++c;
            if (c == columns) continue;
            extend(c * 64 + __builtin_ctzll(lesion.plane.column(c)[y]), y);
            c = columns - 1;
            while (lesion.plane.column(c)[y] == 0) --c;
            extend(c * 64 + 63 - __builtin_clzll(lesion.plane.column(c)[y]), y);
        }
        // Pixel squares reach beyond their centres, by this much in that direction.
        const double reach = 0.5 * std::max(std::abs(direction.x), std::abs(direction.y));
        const double found = high - low + 2 * reach;
        const double length =
            (ends[1].x - ends[0].x) * direction.x + (ends[1].y - ends[0].y) * direction.y;
        const double drawn = std::max(std::abs(length), 1.0);
        ratios += std::min(found, drawn) / std::max(found, drawn);
    }
    return ratios / axes;
}

// The mark's quadrilateral; of a long axis alone its line, up to half a pixel from its ends.
MarkCore rasterise_marked(const RecistMark& mark, std::ptrdiff_t rows, std::ptrdiff_t cols,
                          std::vector<std::uint8_t>& buffer) {
    if (mark.short_known) return rasterise_core(mark, rows, cols, buffer);
    const MarkFrame frame(mark);
    const double step = std::min(0.5, frame.long_diameter / 2);
    const Point from = mark.long_axis[0], to = mark.long_axis[1];
    const Point first = {from.x + step * frame.along.x, from.y + step * frame.along.y};
    const Point last = {to.x - step * frame.along.x, to.y - step * frame.along.y};
    const RecistMark line = {{first, last}, {first, last}};
    const Box window = window_around(MarkFrame(line), 1.0, rows, cols);
    buffer.assign(static_cast<std::size_t>(window.rows() * window.cols()), 0);
    MarkCore core{{buffer.data(), window.rows(), window.cols()}, window.top, window.left, 0};
    add_axes(line, window.top, window.left, core.pixels);
    core.count = std::count(buffer.begin(), buffer.end(), std::uint8_t{1});
    return core;
}

double mark_inside(Image<const float> alpha, const RecistMark& mark,
                   std::vector<std::uint8_t>& buffer) {
    const MarkCore core = rasterise_marked(mark, alpha.rows, alpha.cols, buffer);
    if (core.count == 0) return 0.0;
    std::int64_t covered = 0;
    for (std::ptrdiff_t y = 0; y < core.pixels.rows; ++y) {
        const float* values = alpha.row(core.top + y) + core.left;
        const std::uint8_t* inside = core.pixels.row(y);
        for (std::ptrdiff_t x = 0; x < core.pixels.cols; ++x)
            covered += (inside[x] != 0) & (values[x] >= 0.5f);
    }
    return static_cast<double>(covered) / static_cast<double>(core.count);
}

struct Moments {
    double mean;
    double variance;
};

Moments moments(const float* image, std::ptrdiff_t stride, const BitPlane& plane,
                std::int64_t pixels) {
    const MasksSimd& simd = masks_simd();
    const auto count = static_cast<double>(pixels);
    const double mean = simd.sum(image, stride, plane, 0.0, 1) / count;
    return {mean, simd.sum(image, stride, plane, mean, 2) / count};
}

double edge_contrast(Image<const float> image, const Lesion& lesion,
                     MorphologyWorkspace& workspace) {
    if (lesion.pixels == 0 || lesion.pixels == image.size()) return 0.0;
    const MasksSimd& simd = masks_simd();
    BitPlane ring = workspace.planes.plane(1);
    const BitPlane beside = workspace.planes.plane(2);
    dilate(lesion.plane, workspace.dilation, ring, workspace);
    dilate(lesion.plane, workspace.erosion, beside, workspace);
    simd.without(ring, beside, ring);
    const float* corner = image.row(lesion.window.top) + lesion.window.left;
    const Moments inside = moments(corner, image.row_stride, lesion.plane, lesion.pixels);
    std::int64_t around = simd.count(ring);
    if (around == 0) {
        // Nothing but what touches the lesion: all that is not the lesion.
        simd.complement(lesion.whole, lesion.whole);
        ring = lesion.whole;
        corner = image.data;
        around = image.size() - lesion.pixels;
    }
    const Moments outside = moments(corner, image.row_stride, ring, around);
    const double difference = std::abs(inside.mean - outside.mean);
    const double spread = std::sqrt((inside.variance + outside.variance) / 2);
    return difference > 0 ? difference / (difference + spread) : 0.0;
}

double border_clearance(const Lesion& lesion) {
    if (lesion.pixels == 0) return 1.0;
    const BitPlane& plane = lesion.whole;
    const std::int64_t outline = masks_simd().count_outline(lesion.plane);
    std::int64_t on_border = 0;
    const auto add = [&](std::ptrdiff_t y, std::ptrdiff_t x) {
        on_border += static_cast<std::int64_t>(plane.column(x / 64)[y] >> (x % 64) & 1);
    };
    for (std::ptrdiff_t y = 0; y < plane.rows; y += std::max<std::ptrdiff_t>(plane.rows - 1, 1))
        for (std::ptrdiff_t x = 0; x < plane.cols; ++x) add(y, x);
    for (std::ptrdiff_t x = 0; x < plane.cols; x += std::max<std::ptrdiff_t>(plane.cols - 1, 1))
        for (std::ptrdiff_t y = 1; y + 1 < plane.rows; ++y) add(y, x);
    return 1.0 - static_cast<double>(on_border) / static_cast<double>(outline);
}

double decades(double residual, double rtol) {
    if (!(residual > 0.0 && residual < 1.0) || !(rtol > 0.0 && rtol < 1.0)) return 0.0;
    return std::clamp(std::log(residual) / std::log(rtol), 0.0, 1.0);
}

Lesion find_lesion(Image<const float> alpha, MorphologyWorkspace& workspace) {
    const MasksSimd& simd = masks_simd();
    Lesion lesion{};
    workspace.whole.shape(alpha.rows, alpha.cols, 0, 1);
    lesion.whole = workspace.whole.plane(0);
    simd.pack_at_least(alpha.data, alpha.row_stride, 0.5f, lesion.whole);
    lesion.box = simd.bounds(lesion.whole);
    if (lesion.box.empty()) return lesion;
    make_disc(kRing + 1.0, {}, alpha.rows, alpha.cols, workspace.dilation);
    make_disc(1.0, {}, alpha.rows, alpha.cols, workspace.erosion);
    const auto reach = static_cast<std::ptrdiff_t>(kRing + 1.0);
    lesion.window = {std::max<std::ptrdiff_t>(lesion.box.top - reach, 0),
                     std::max<std::ptrdiff_t>(lesion.box.left - reach, 0),
                     std::min(lesion.box.bottom + reach, alpha.rows),
                     std::min(lesion.box.right + reach, alpha.cols)};
    workspace.planes.shape(lesion.window.rows(), lesion.window.cols(), reach, 3);
    lesion.plane = workspace.planes.plane(0);
    simd.crop(lesion.whole, lesion.window.top, lesion.window.left, lesion.plane);
    lesion.pixels = simd.count(lesion.plane);
    return lesion;
}

}  // namespace

QualityScores score(Image<const float> image, Image<const float> alpha,
                    Image<const std::uint8_t> trimap, const QualityContext& context,
                    QualityWorkspace& workspace) {
    const MasksSimd& simd = masks_simd();
    const Lesion lesion = find_lesion(alpha, workspace.morphology);
    QualityScores scores;
    if (context.mark != nullptr) {
        scores.axes_agreement = axes_agreement(lesion, *context.mark);
        scores.mark_inside = mark_inside(alpha, *context.mark, workspace.core);
        scores.mark_soundness =
            std::ldexp(1.0, -count_problems(mark_problems(*context.mark, alpha.rows, alpha.cols)));
    }
    if (context.reference != nullptr) {
        std::int64_t shared = 0, total = lesion.pixels;
        for (std::ptrdiff_t y = 0; y < alpha.rows; ++y) {
            const std::uint8_t* reference = context.reference + y * alpha.cols;
            const float* values = alpha.row(y);
            std::int32_t both = 0, marked = 0;
            for (std::ptrdiff_t x = 0; x < alpha.cols; ++x) {
                marked += reference[x] != 0;
                both += (reference[x] != 0) & (values[x] >= 0.5f);
            }
            shared += both;
            total += marked;
        }
        scores.mask_agreement = dice(shared, total);
    }
    const auto equal = [&](std::uint8_t value) {
        return static_cast<double>(
            simd.count_equal(trimap.data, trimap.row_stride, trimap.rows, trimap.cols, value));
    };
    const double sure = equal(kForeground), unknown = equal(kUnknown);
    scores.known_fraction = sure > 0 ? sure / (sure + unknown) : 0.0;
    scores.in_one_piece = lesion.pixels == 0
                              ? 0.0
                              : static_cast<double>(largest_part(lesion.plane, Connectivity::kEight,
                                                                 workspace.components)) /
                                    static_cast<double>(lesion.pixels);
    scores.border_clearance = border_clearance(lesion);
    scores.edge_contrast = edge_contrast(image, lesion, workspace.morphology);
    if (context.cut != QualityContext::Cut::kNone)
        scores.cut = context.cut == QualityContext::Cut::kWorked ? 1.0 : 0.0;
    scores.solver_convergence = context.converged ? 1.0 : decades(context.residual, context.rtol);

    double logs = 0.0;
    int applying = 0;
    bool zero = false;
    for (const double value :
         {scores.axes_agreement, scores.mark_inside, scores.mark_soundness, scores.mask_agreement,
          context.rater_agreement, scores.known_fraction, scores.edge_contrast, scores.in_one_piece,
          scores.border_clearance, scores.cut, scores.solver_convergence}) {
        if (std::isnan(value)) continue;
        ++applying;
        if (value > 0)
            logs += std::log(value);
        else
            zero = true;
    }
    scores.overall = zero ? 0.0 : std::exp(logs / applying);
    return scores;
}

}  // namespace dsnet

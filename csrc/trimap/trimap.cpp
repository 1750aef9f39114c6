#include "trimap/trimap.h"

#include <algorithm>
#include <cstddef>

#include "mark/recist.h"
#include "masks/simd.h"

namespace dsnet {
namespace {

// Calls body(word, bits) for the words of a run and the run's bits in each, until it says false.
template <typename Body>
void each_word(const BitPlane& plane, const PixelRun& run, Body body) {
    for (std::int32_t c = run.begin / 64; c * 64 < run.end; ++c) {
        const std::int32_t from = std::max(run.begin - c * 64, 0);
        const std::int32_t to = std::min(run.end - c * 64, 64);
        const std::uint64_t bits = (~std::uint64_t{0} >> (64 - (to - from))) << from;
        if (!body(plane.column(c)[run.row], bits)) return;
    }
}

// Clears the 4-connected parts that hold no pixel of the border.
void keep_bordering_parts(const BitPlane& plane, const BitPlane& border,
                          ComponentsWorkspace& workspace) {
    connected_runs(plane, true, Connectivity::kFour, workspace);
    std::vector<std::int64_t>& touches = workspace.votes;
    touches.assign(workspace.runs.size(), 0);
    for (const PixelRun& run : workspace.runs) {
        if (touches[run.part]) continue;
        each_word(border, run, [&](std::uint64_t word, std::uint64_t bits) {
            touches[run.part] = (word & bits) != 0;
            return !touches[run.part];
        });
    }
    for (const PixelRun& run : workspace.runs) {
        if (touches[run.part]) continue;
        each_word(plane, run, [](std::uint64_t& word, std::uint64_t bits) {
            word &= ~bits;
            return true;
        });
    }
}

void keep_most_certain(Image<const std::uint8_t> mask, Image<const float> log_odds, const Box& box,
                       Image<std::uint8_t> out) {
    bool any = false;
    float best = 0;
    const auto each = [&](auto body) {
        for (std::ptrdiff_t y = box.top; y < box.bottom; ++y)
            for (std::ptrdiff_t x = box.left; x < box.right; ++x)
                if (mask.row(y)[x] != 0) body(log_odds.row(y)[x], out.row(y)[x]);
    };
    each([&](float value, std::uint8_t&) {
        best = any ? std::max(best, value) : value;
        any = true;
    });
    each([&](float value, std::uint8_t& pixel) {
        if (value >= best) pixel = kForeground;
    });
}

bool keep_quadrilateral(Image<const std::uint8_t> mask, const RecistMark& mark,
                        std::vector<std::uint8_t>& buffer, Image<std::uint8_t> out) {
    const MarkCore core = rasterise_core(mark, mask.rows, mask.cols, buffer);
    bool kept = false;
    for (std::ptrdiff_t y = 0; y < core.pixels.rows; ++y) {
        const std::uint8_t* cut = mask.row(core.top + y) + core.left;
        std::uint8_t* to = out.row(core.top + y) + core.left;
        for (std::ptrdiff_t x = 0; x < core.pixels.cols; ++x) {
            if (cut[x] == 0 || core.pixels.row(y)[x] == 0) continue;
            to[x] = kForeground;
            kept = true;
        }
    }
    return kept;
}

}  // namespace

MarkCore rasterise_core(const RecistMark& mark, std::ptrdiff_t rows, std::ptrdiff_t cols,
                        std::vector<std::uint8_t>& buffer) {
    MarkFrame frame(mark);
    // Where no pixel centre is inside, the centre's pixel stands for the quadrilateral.
    frame.low = {std::min(frame.low.x, frame.centre.x), std::min(frame.low.y, frame.centre.y)};
    frame.high = {std::max(frame.high.x, frame.centre.x), std::max(frame.high.y, frame.centre.y)};
    const Box window = window_around(frame, 1.0, rows, cols);
    const auto size = static_cast<std::size_t>(window.rows() * window.cols());
    buffer.assign(size, 0);
    MarkCore core{{buffer.data(), window.rows(), window.cols()}, window.top, window.left, 0};
    core.count = add_quadrilateral(mark, window.top, window.left, core.pixels);
    return core;
}

void split_trimap(Image<const std::uint8_t> mask, double erosion, double dilation, Spacing spacing,
                  MorphologyWorkspace& workspace, Image<std::uint8_t> out) {
    split_mask(mask, erosion, dilation, spacing, kForeground, kUnknown, workspace, out);
}

void trimap_from_cut(Image<const std::uint8_t> mask, Image<const float> log_odds,
                     const RecistMark& mark, TrimapWorkspace& workspace, Image<std::uint8_t> out) {
    MorphologyWorkspace& morphology = workspace.morphology;
    const MasksSimd& simd = masks_simd();
    for (std::ptrdiff_t y = 0; y < out.rows; ++y) std::fill_n(out.row(y), out.cols, kBackground);
    const Box box = pack_mask(mask, morphology);
    if (box.empty()) return;
    const double diameter = inscribed_diameter(mask, box, {}, workspace.distance);
    const double reach = std::max(kFaintShare * diameter, kFaintLeast);

    StructuringElement& far = morphology.dilation;
    make_disc(reach, {}, mask.rows, mask.cols, far);
    const Box window = grown(box, std::max<std::ptrdiff_t>(far.reach_rows(), 1),
                             std::max<std::ptrdiff_t>(far.reach_cols(), 1), mask);
    BitPlanes& planes = morphology.planes;
    planes.shape(window.rows(), window.cols(), std::max<std::ptrdiff_t>(far.reach_rows(), 1), 6);
    const BitPlane inside = planes.plane(0), inner = planes.plane(1), near = planes.plane(2),
                   border = planes.plane(3), held = planes.plane(4), unknown = planes.plane(5);
    simd.crop(morphology.whole.plane(0), window.top, window.left, inside);
    dilate(inside, far, near, morphology);
    erode(inside, far, held, inner, morphology);
    simd.without(near, inner, near);

    StructuringElement& beside = morphology.erosion;
    make_disc(kLeastMargin, {}, mask.rows, mask.cols, beside);
    dilate(inside, beside, border, morphology);
    erode(inside, beside, held, inner, morphology);
    simd.without(border, inner, border);

    simd.pack_near_zero(log_odds.row(window.top) + window.left, log_odds.row_stride, kFaintLogOdds,
                        held);
    for (std::ptrdiff_t c = 0; c < unknown.columns(); ++c)
        for (std::ptrdiff_t y = 0; y < unknown.rows; ++y)
            unknown.column(c)[y] = border.column(c)[y] | (near.column(c)[y] & held.column(c)[y]);
    // Faint specks apart from the border say nothing about it.
    keep_bordering_parts(unknown, border, workspace.components);
    simd.without(inner, unknown, inner);
    simd.unpack(inner, unknown, kForeground, kUnknown, out.row(window.top) + window.left,
                out.row_stride);
    if (simd.count(inner) == 0 && !keep_quadrilateral(mask, mark, workspace.core, out))
        keep_most_certain(mask, log_odds, box, out);
}

}  // namespace dsnet

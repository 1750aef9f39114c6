#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>

#include "masks/simd.h"
#include "trimap/trimap.h"

namespace dsnet {
namespace {

// A part's own pixels, of what its box shows.
Image<const std::uint8_t> component_of(Image<const std::uint8_t> mask, const LesionPart& part,
                                       bool alone, TrimapWorkspace& workspace) {
    const Box& box = part.box;
    if (alone) return {mask.row(box.top) + box.left, box.rows(), box.cols(), mask.row_stride};
    workspace.component.assign(static_cast<std::size_t>(box.rows() * box.cols()), 0);
    const Image<std::uint8_t> pixels(workspace.component.data(), box.rows(), box.cols());
    for (std::int32_t i = part.first_run; i >= 0; i = workspace.next_run[i]) {
        const PixelRun& run = workspace.components.runs[i];
        std::memset(pixels.row(run.row - box.top) + (run.begin - box.left), 1,
                    static_cast<std::size_t>(run.end - run.begin));
    }
    return {pixels.data, pixels.rows, pixels.cols};
}

void find_parts(const BitPlane& whole, TrimapWorkspace& workspace) {
    connected_runs(whole, true, Connectivity::kEight, workspace.components);
    const std::vector<PixelRun>& runs = workspace.components.runs;
    std::vector<std::int64_t>& part_at = workspace.components.votes;
    part_at.assign(runs.size(), -1);
    workspace.next_run.resize(std::max(workspace.next_run.size(), runs.size()));
    workspace.parts.clear();
    // Backwards, so that each part's list ends with what was met first.
    for (std::size_t i = runs.size(); i-- > 0;) {
        const PixelRun& run = runs[i];
        std::int64_t& at = part_at[run.part];
        if (at < 0) {
            at = static_cast<std::int64_t>(workspace.parts.size());
            workspace.parts.push_back({{run.row, run.begin, run.row + 1, run.end}, -1, 0.0});
        }
        LesionPart& part = workspace.parts[at];
        workspace.next_run[i] = part.first_run;
        part.first_run = static_cast<std::int32_t>(i);
        part.box.top = run.row;
        part.box.left = std::min<std::ptrdiff_t>(part.box.left, run.begin);
        part.box.right = std::max<std::ptrdiff_t>(part.box.right, run.end);
    }
}

// The background's mean distance to the lesion, or infinity where that is above `margin` for
// certain: half the background farther away than twice the margin suffices, and costs less.
double mean_background_distance(Image<const std::uint8_t> mask, const Box& box, Spacing spacing,
                                double margin, TrimapWorkspace& workspace) {
    MorphologyWorkspace& morphology = workspace.morphology;
    const MasksSimd& simd = masks_simd();
    const std::int64_t background = mask.size() - simd.count(morphology.whole.plane(0));
    if (background == 0) return std::numeric_limits<double>::infinity();
    StructuringElement& disc = morphology.dilation;
    make_disc(2.0 * margin, spacing, mask.rows, mask.cols, disc);
    const Box window = grown(box, disc.reach_rows(), disc.reach_cols(), mask);
    morphology.planes.shape(window.rows(), window.cols(), disc.reach_rows(), 2);
    const BitPlane inside = morphology.planes.plane(0), near = morphology.planes.plane(1);
    simd.crop(morphology.whole.plane(0), window.top, window.left, inside);
    dilate(inside, disc, near, morphology);
    const std::int64_t far = mask.size() - simd.count(near);
    if (2 * far > background) return std::numeric_limits<double>::infinity();

    workspace.distance_map.resize(
        std::max(workspace.distance_map.size(), static_cast<std::size_t>(mask.size())));
    const Image<double> distance(workspace.distance_map.data(), mask.rows, mask.cols);
    distance_squared(mask, false, spacing, distance);
    double total = 0.0;
    for (std::ptrdiff_t y = 0; y < mask.rows; ++y)
        for (std::ptrdiff_t x = 0; x < mask.cols; ++x)
            if (mask.row(y)[x] == 0) total += std::sqrt(distance.row(y)[x]);
    return total / static_cast<double>(background);
}

// Splits one part and joins it with the others: what is surer wins.
void add_part(const Box& image_box, Image<const std::uint8_t> component, const LesionPart& part,
              double erosion, double dilation, Spacing spacing, const std::uint8_t* core,
              TrimapWorkspace& workspace, Image<std::uint8_t> out) {
    MorphologyWorkspace& morphology = workspace.morphology;
    const MasksSimd& simd = masks_simd();
    StructuringElement& outward = morphology.dilation;
    StructuringElement& inward = morphology.erosion;
    make_disc(dilation, spacing, out.rows, out.cols, outward);
    const std::ptrdiff_t rows = std::max<std::ptrdiff_t>(outward.reach_rows(), 1);
    const std::ptrdiff_t cols = std::max<std::ptrdiff_t>(outward.reach_cols(), 1);
    const Box& box = part.box;
    const Box window = {
        std::max(box.top - rows, image_box.top), std::max(box.left - cols, image_box.left),
        std::min(box.bottom + rows, image_box.bottom), std::min(box.right + cols, image_box.right)};
    make_disc(erosion, spacing, window.rows(), window.cols(), inward);
    morphology.planes.shape(window.rows(), window.cols(),
                            std::max(inward.reach_rows(), outward.reach_rows()), 5);
    const BitPlane inside = morphology.planes.plane(0), inner = morphology.planes.plane(1),
                   outer = morphology.planes.plane(2), rest = morphology.planes.plane(3);
    BitPlane packed = morphology.planes.plane(4);
    packed.rows = component.rows;
    packed.cols = component.cols;
    simd.pack(component.data, component.row_stride, packed);
    simd.place(packed, box.top - window.top, box.left - window.left, inside);
    dilate(inside, outward, outer, morphology);
    erode(inside, inward, rest, inner, morphology);
    workspace.piece.resize(
        std::max(workspace.piece.size(), static_cast<std::size_t>(window.rows() * window.cols())));
    std::uint8_t* piece = workspace.piece.data();
    simd.unpack(inner, outer, kForeground, kUnknown, piece, window.cols());
    for (std::ptrdiff_t y = 0; y < window.rows(); ++y) {
        const std::uint8_t* from = piece + y * window.cols();
        std::uint8_t* to = out.row(window.top + y) + window.left;
        for (std::ptrdiff_t x = 0; x < window.cols(); ++x)
            to[x] = from[x] > to[x] ? from[x] : to[x];
    }
    if (simd.count(inner) > 0) return;

    bool kept = false;
    const Image<std::uint8_t> here(out.row(box.top) + box.left, box.rows(), box.cols(),
                                   out.row_stride);
    for (std::ptrdiff_t y = 0; core != nullptr && y < box.rows(); ++y) {
        const std::uint8_t* stays = core + (box.top + y) * out.cols + box.left;
        for (std::ptrdiff_t x = 0; x < box.cols(); ++x) {
            if (stays[x] == 0 || component.row(y)[x] == 0) continue;
            here.row(y)[x] = kForeground;
            kept = true;
        }
    }
    if (kept) return;
    const Box own = {0, 0, box.rows(), box.cols()};
    const double largest = largest_distance_squared(component, own, spacing, workspace.distance);
    set_innermost(own, spacing, largest, kForeground, workspace.distance, here);
}

}  // namespace

void trimap_from_mask(Image<const std::uint8_t> mask, double erosion, double dilation,
                      Spacing spacing, const std::uint8_t* core, TrimapWorkspace& workspace,
                      Image<std::uint8_t> out) {
    for (std::ptrdiff_t y = 0; y < out.rows; ++y) std::fill_n(out.row(y), out.cols, kBackground);
    const Box box = pack_mask(mask, workspace.morphology);
    if (box.empty()) return;
    find_parts(workspace.morphology.whole.plane(0), workspace);
    std::vector<LesionPart>& parts = workspace.parts;
    const bool alone = parts.size() == 1;
    const bool own_margins = std::isnan(erosion) || std::isnan(dilation);
    double most = 0.0;
    for (LesionPart& part : parts) {
        if (!own_margins) break;
        const Box own = {0, 0, part.box.rows(), part.box.cols()};
        const double diameter = inscribed_diameter(component_of(mask, part, alone, workspace), own,
                                                   spacing, workspace.distance);
        part.margin =
            std::max(kMarginShare * diameter, kLeastMargin * std::min(spacing.row, spacing.column));
        most = std::max(most, part.margin);
    }
    double widest = std::numeric_limits<double>::infinity();
    if (std::isnan(dilation))
        widest = mean_background_distance(mask, box, spacing, most, workspace);
    const Box image_box = {0, 0, mask.rows, mask.cols};
    for (const LesionPart& part : parts)
        add_part(image_box, component_of(mask, part, alone, workspace), part,
                 std::isnan(erosion) ? part.margin : erosion,
                 std::isnan(dilation) ? std::min(part.margin, widest) : dilation, spacing, core,
                 workspace, out);
}

}  // namespace dsnet

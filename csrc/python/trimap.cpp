// Bindings of trimaps: of masks, and of cuts.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "base/kept.h"
#include "base/threads.h"
#include "label/label.h"
#include "python/arguments.h"
#include "trimap/prior.h"
#include "trimap/trimap.h"

namespace dsnet {
namespace {

// One for each thread that ever asks: a second call of the same size allocates nothing.
TrimapWorkspace& workspace() {
    thread_local TrimapWorkspace kept;
    return kept;
}

Array<std::uint8_t> split_trimap_binding(const py::object& mask_value, double erosion,
                                         double dilation, double row_spacing,
                                         double column_spacing) {
    const auto mask = mask_argument(mask_value);
    check_margin(erosion, "erosion");
    check_margin(dilation, "dilation");
    const Spacing spacing = spacing_argument(row_spacing, column_spacing);
    Array<std::uint8_t> out({mask.shape(0), mask.shape(1)});
    const Image<std::uint8_t> result = writable(out);
    {
        py::gil_scoped_release release;
        const Lent lent(workspace(), mask.size());
        split_trimap(view(mask), erosion, dilation, spacing, lent->morphology, result);
    }
    return out;
}

Array<std::uint8_t> trimap_from_mask_binding(const py::object& mask_value,
                                             const py::object& erosion_value,
                                             const py::object& dilation_value, double row_spacing,
                                             double column_spacing, const py::object& core_value) {
    const auto mask = mask_argument(mask_value);
    const Spacing spacing = spacing_argument(row_spacing, column_spacing);
    const double erosion = margin_argument(erosion_value, "erosion");
    const double dilation = margin_argument(dilation_value, "dilation");
    Array<std::uint8_t> core;
    if (!core_value.is_none()) {
        core = image_argument<std::uint8_t>(core_value, "core", "bu", "bool or uint8");
        check_shape(core, mask, "core", "mask");
    }
    Array<std::uint8_t> out({mask.shape(0), mask.shape(1)});
    const Image<std::uint8_t> result = writable(out);
    {
        py::gil_scoped_release release;
        const Lent lent(workspace(), mask.size());
        trimap_from_mask(view(mask), erosion, dilation, spacing,
                         core_value.is_none() ? nullptr : core.data(), *lent, result);
    }
    return out;
}

Array<std::uint8_t> trimap_batch(const py::object& masks_value, const py::object& erosion_value,
                                 const py::object& dilation_value, double row_spacing,
                                 double column_spacing, int threads) {
    const auto masks = batch_argument<std::uint8_t>(masks_value, "masks", "uint8");
    const double erosion = margin_argument(erosion_value, "erosion");
    const double dilation = margin_argument(dilation_value, "dilation");
    const Spacing spacing = spacing_argument(row_spacing, column_spacing);
    const py::ssize_t rows = masks.shape(1), cols = masks.shape(2);
    Array<std::uint8_t> out({masks.shape(0), rows, cols});
    const std::uint8_t* const from = masks.data();
    std::uint8_t* const to = out.mutable_data();
    py::gil_scoped_release release;
    run_label_batch(out.shape(0), threads, rows * cols,
                    [&](std::ptrdiff_t i, LabelWorkspace& kept) {
                        const std::ptrdiff_t at = i * rows * cols;
                        trimap_from_mask({from + at, rows, cols}, erosion, dilation, spacing,
                                         nullptr, kept.trimap, {to + at, rows, cols});
                    });
    return out;
}

Array<float> mask_prior_binding(const py::object& masks_value, const py::object& trimaps_value,
                                double row_spacing, double column_spacing, int threads) {
    const auto masks = batch_argument<std::uint8_t>(masks_value, "masks", "uint8");
    const auto trimaps = batch_argument<std::uint8_t>(trimaps_value, "trimaps", "uint8", &masks);
    const Spacing spacing = spacing_argument(row_spacing, column_spacing);
    const py::ssize_t rows = masks.shape(1), cols = masks.shape(2);
    Array<float> out({masks.shape(0), rows, cols});
    const std::uint8_t* const from = masks.data();
    const std::uint8_t* const split = trimaps.data();
    float* const to = out.mutable_data();
    py::gil_scoped_release release;
    run_batch(out.shape(0), threads, [&](std::ptrdiff_t i, int) {
        const std::ptrdiff_t at = i * rows * cols;
        mask_prior({from + at, rows, cols}, {split + at, rows, cols}, spacing,
                   {to + at, rows, cols});
    });
    return out;
}

Array<float> votes_prior_binding(int raters) {
    if (raters < 1) throw py::value_error("raters must be >= 1, got " + std::to_string(raters));
    Array<float> out(raters + py::ssize_t(1));
    for (int votes = 0; votes <= raters; ++votes)
        out.mutable_data()[votes] = votes_prior(votes, raters);
    return out;
}

Array<std::uint8_t> trimap_from_cut_binding(const py::object& mask_value,
                                            const py::object& log_odds_value,
                                            const py::object& mark_value) {
    const auto mask = mask_argument(mask_value);
    const RecistMark mark = mark_argument(mark_value, "mark");
    if (mask.shape(0) == 0 || mask.shape(1) == 0)
        throw py::value_error("mask must have H, W >= 1, got shape " + shape_text(mask));
    const auto log_odds = image_argument<float>(log_odds_value, "log_odds", "f", "float32");
    check_shape(log_odds, mask, "log_odds", "mask");
    Array<std::uint8_t> out({mask.shape(0), mask.shape(1)});
    const Image<std::uint8_t> result = writable(out);
    {
        py::gil_scoped_release release;
        const Lent lent(workspace(), mask.size());
        trimap_from_cut(view(mask), view(log_odds), mark, *lent, result);
    }
    return out;
}

}  // namespace

void bind_trimap(py::module_& module) {
    using namespace pybind11::literals;
    module.def("split_trimap", &split_trimap_binding, "mask"_a, "erosion"_a, "dilation"_a,
               "row_spacing"_a = 1.0, "column_spacing"_a = 1.0,
               R"(Trimap of a mask by Euclidean erosion and dilation.

Parameters
----------
mask : bool or uint8 [H, W]
    Non-zero inside.
erosion, dilation : float
    Margins inside and outside the mask's border, in units of the spacing.
row_spacing, column_spacing : float
    Distance of neighbouring pixel centres along a column and along a row.

Returns
-------
uint8 [H, W]
    255 where the nearest pixel outside the mask is farther than ``erosion``, 0 where the nearest
    pixel of the mask is farther than ``dilation``, 128 elsewhere. Beyond the image's border
    nothing is assumed: a mask that covers the image is 255 everywhere, an empty one 0.

Raises
------
TypeError
    If ``mask`` is not an array of bool or uint8.
ValueError
    If ``mask`` is not two-dimensional, a margin is negative or not finite, or a spacing is not
    positive and finite.)");
    module.def("trimap_from_mask", &trimap_from_mask_binding, "mask"_a, "erosion"_a = py::none(),
               "dilation"_a = py::none(), "row_spacing"_a = 1.0, "column_spacing"_a = 1.0,
               "core"_a = py::none(),
               R"(Strategy 1's trimap of a mask, as ``dsnet.labeling.trimap_from_mask`` tells it.

Parameters
----------
mask : bool or uint8 [H, W]
    Non-zero inside.
erosion, dilation : float, optional
    Margins in units of the spacing; None is the default of each 8-connected part.
row_spacing, column_spacing : float
    Distance of neighbouring pixel centres along a column and along a row.
core : bool or uint8 [H, W], optional
    What stays lesion where a part would erode to nothing.

Returns
-------
uint8 [H, W]
    0, 128 (unknown) or 255.

Raises
------
TypeError
    If ``mask`` or ``core`` is not an array of bool or uint8.
ValueError
    If a mask is not two-dimensional, the shapes differ, a margin is negative or not finite, or a
    spacing is not positive and finite.)");
    module.def("trimap_batch", &trimap_batch, "masks"_a, "erosion"_a, "dilation"_a, "row_spacing"_a,
               "column_spacing"_a, "threads"_a,
               R"(Strategy 1's trimaps of a batch of masks, each as by trimap_from_mask.

Parameters
----------
masks : uint8 [N, H, W]
    Non-zero inside; contiguous.
erosion, dilation : float or None
row_spacing, column_spacing : float
    As in ``trimap_from_mask``, the same for all.
threads : int
    At least 1.

Returns
-------
uint8 [N, H, W]

Raises
------
TypeError
    If ``masks`` is not a contiguous array of uint8.
ValueError
    If it has other axes, or a margin or the spacing is of no use.)");
    module.def("mask_prior", &mask_prior_binding, "masks"_a, "trimaps"_a, "row_spacing"_a = 1.0,
               "column_spacing"_a = 1.0, "threads"_a = 1,
               R"(Strategy 1's prior of masks, as ``dsnet.labeling.prior`` tells it.

Parameters
----------
masks : uint8 [N, H, W]
    Non-zero inside; contiguous.
trimaps : uint8 [N, H, W]
    Of ``trimap_from_mask``; contiguous.
row_spacing, column_spacing : float
    Distance of neighbouring pixel centres along a column and along a row.
threads : int
    At least 1.

Returns
-------
float32 [N, H, W]
    How likely each pixel is lesion: by its distance to the edge where the trimap is 128, else 0
    or 1.

Raises
------
TypeError
    If an argument is not a contiguous array of uint8.
ValueError
    If the shapes differ, or the spacing is of no use.)");
    module.def("votes_prior", &votes_prior_binding, "raters"_a,
               R"(Strategy 2's prior, as ``dsnet.labeling.prior`` tells it.

Parameters
----------
raters : int
    How many marked something, at least 1.

Returns
-------
float32 [raters + 1]
    How likely a pixel is lesion that 0, 1, ... of them marked.)");
    module.def("trimap_from_cut", &trimap_from_cut_binding, "mask"_a, "log_odds"_a, "mark"_a,
               R"(Strategy 3's trimap of a cut, as ``dsnet.labeling.trimap`` tells it.

Parameters
----------
mask : bool or uint8 [H, W]
    The cut; non-zero inside.
log_odds : float32 [H, W]
    Of lesion against background.
mark : 8 floats
    x1 y1 x2 y2 of the long axis, then of the short one.

Returns
-------
uint8 [H, W]
    0, 128 (unknown) or 255.

Raises
------
TypeError
    If ``mask`` or ``log_odds`` is not an array of these dtypes.
ValueError
    If the shapes differ, an array is not two-dimensional or empty, or the mark is not eight
    finite numbers.)");
}

}  // namespace dsnet

// Bindings of the GPU's morphology run by the CPU.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <utility>

#include "masks.h"
#include "python/arguments.h"

namespace dsnet {
namespace {

BlockWork work_named(const std::string& name) {
    if (name == "split") return BlockWork::kSplit;
    if (name == "erode") return BlockWork::kErode;
    if (name == "dilate") return BlockWork::kDilate;
    if (name == "trimap") return BlockWork::kTrimap;
    throw py::value_error("work must be split, erode, dilate or trimap, got '" + name + "'");
}

// `cols` above 0: masks are words of bits of so many columns.
py::tuple morphology_block(const std::string& work, const py::array& masks_value,
                           const py::object& erosion_value, const py::object& dilation_value,
                           const py::object& spacing_value, const py::object& cores_value,
                           std::int32_t cols, bool large, bool backwards) {
    const bool packed = cols > 0;
    if (masks_value.ndim() != 3 || masks_value.shape(1) < 1 || masks_value.shape(2) < 1)
        throw py::value_error("masks must be [N, H, W] with H, W >= 1, got shape " +
                              shape_text(masks_value));
    const py::ssize_t count = masks_value.shape(0), rows = masks_value.shape(1);
    Array<std::uint8_t> pixels;
    Array<std::uint64_t> words;
    if (packed) {
        words = shaped_argument<std::uint64_t>(masks_value, "masks", "uint64",
                                               {count, rows, (cols + 63) / 64});
    } else {
        pixels = batch_argument<std::uint8_t>(masks_value, "masks", "uint8");
        cols = static_cast<std::int32_t>(masks_value.shape(2));
    }
    const auto erosion = shaped_argument<double>(erosion_value, "erosion", "float64", {count});
    const auto dilation = shaped_argument<double>(dilation_value, "dilation", "float64", {count});
    Array<double> spacing;
    if (!spacing_value.is_none())
        spacing = shaped_argument<double>(spacing_value, "spacing", "float64", {count, 2});
    Array<std::uint8_t> cores;
    if (!cores_value.is_none())
        cores = shaped_argument<std::uint8_t>(cores_value, "cores", "uint8", {count, rows, cols});
    Array<std::uint8_t> out({count, rows, py::ssize_t(cols)});
    Array<std::int32_t> statuses(count);
    Array<float> priors({count, rows, py::ssize_t(cols)});
    cuda::MorphologyBatch batch = {};
    batch.masks = packed ? static_cast<const void*>(words.data()) : pixels.data();
    batch.packed = packed;
    batch.cores = cores_value.is_none() ? nullptr : cores.data();
    batch.erosion = erosion.data();
    batch.dilation = dilation.data();
    batch.spacing = spacing_value.is_none() ? nullptr : spacing.data();
    batch.out = out.mutable_data();
    batch.statuses = statuses.mutable_data();
    const BlockWork what = work_named(work);
    const bool with_priors = what == BlockWork::kTrimap && !packed;
    batch.priors = with_priors ? priors.mutable_data() : nullptr;
    batch.count = count;
    batch.rows = static_cast<std::int32_t>(rows);
    batch.cols = cols;
    {
        py::gil_scoped_release release;
        morphology_on_host(batch, what, large, backwards);
    }
    if (with_priors) return py::make_tuple(std::move(out), std::move(statuses), std::move(priors));
    return py::make_tuple(std::move(out), std::move(statuses));
}

py::tuple raters_block(const py::object& masks_value, double erosion, double dilation,
                       const std::pair<double, double>& spacing, bool backwards) {
    const auto masks = plain_argument<std::uint8_t>(masks_value, "masks", "uint8");
    if (masks.ndim() != 4 || masks.shape(1) < 1 || masks.shape(2) < 1 || masks.shape(3) < 1)
        throw py::value_error("masks must be [N, R, H, W] with R, H, W >= 1, got shape " +
                              shape_text(masks));
    Array<std::uint8_t> out({masks.shape(0), masks.shape(2), masks.shape(3)});
    Array<float> priors({masks.shape(0), masks.shape(2), masks.shape(3)});
    cuda::RatersBatch batch = {};
    batch.masks = masks.data();
    batch.erosion = erosion;
    batch.dilation = dilation;
    batch.row_spacing = spacing.first;
    batch.col_spacing = spacing.second;
    batch.out = out.mutable_data();
    batch.priors = priors.mutable_data();
    batch.count = masks.shape(0);
    batch.raters = static_cast<std::int32_t>(masks.shape(1));
    batch.rows = static_cast<std::int32_t>(masks.shape(2));
    batch.cols = static_cast<std::int32_t>(masks.shape(3));
    {
        py::gil_scoped_release release;
        raters_on_host(batch, backwards);
    }
    return py::make_tuple(std::move(out), std::move(priors));
}

}  // namespace

void bind_masks(py::module_& module) {
    using namespace pybind11::literals;
    module.def("morphology_block", &morphology_block, "work"_a, "masks"_a, "erosion"_a,
               "dilation"_a, "spacing"_a = py::none(), "cores"_a = py::none(), "cols"_a = 0,
               "large"_a = false, "backwards"_a = false,
               R"(The GPU's morphology, run by the CPU a thread at a time.

Parameters
----------
work : str
    split, erode, dilate, or trimap (strategy 1).
masks : uint8 [N, H, W], non-zero is lesion; with ``cols`` uint64 [N, H, (cols + 63) // 64]
erosion, dilation : float64 [N]
    Radii; NaN, for trimap alone, the default margin of each part.
spacing : float64 [N, 2], optional
cores : uint8 [N, H, W], optional
    For trimap alone.
cols : int
    Columns of masks that come as bits, the lowest first.
large : bool
    Take the path of images that shared memory cannot hold.
backwards : bool
    Run the threads from the last to the first, which gives the same bits.

Returns
-------
out : uint8 [N, H, W]
statuses : int32 [N]
    0 done; 1, 2, 3 for a bad erosion, dilation or spacing, then out is 0.
priors : float32 [N, H, W]
    For trimap of masks that do not come as bits alone.)");
    module.def("raters_block", &raters_block, "masks"_a, "erosion"_a, "dilation"_a,
               "spacing"_a = std::make_pair(1.0, 1.0), "backwards"_a = false,
               R"(The GPU's trimaps of several raters, run by the CPU a thread at a time.

Parameters
----------
masks : uint8 [N, R, H, W], non-zero is lesion
erosion, dilation : float
    Radii; NaN for the default margins.
spacing : (row, column)
backwards : bool
    Run the threads from the last to the first, which gives the same bits.

Returns
-------
trimaps : uint8 [N, H, W]
priors : float32 [N, H, W])");
}

}  // namespace dsnet

// Bindings of the batches that a GPU works on. Arrays come as objects that tell where they lie:
// they are read by name, and checked.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>

#include "cut/plan.h"
#include "python/gpu_batches.h"

namespace dsnet {
namespace {

using Shape = std::array<std::int64_t, 3>;

template <typename Batch>
void set_shape(Batch& batch, const Shape& shape) {
    const auto [count, rows, cols] = shape;
    if (count < 0 || rows < 1 || cols < 1 || rows > kMostDevicePixels / cols)
        throw py::value_error("shape must be (N, H, W) with H, W >= 1, got " +
                              repr_text(py::make_tuple(count, rows, cols)) +
                              " (an image has at most " + std::to_string(kMostDevicePixels) +
                              " pixels)");
    batch.count = count;
    batch.rows = static_cast<std::int32_t>(rows);
    batch.cols = static_cast<std::int32_t>(cols);
}

MattingHeld make_matting(const Shape& shape, const py::object& images, const py::object& trimaps,
                         const py::object& priors, const py::object& alphas,
                         const py::object& results, const py::object& workspace,
                         double prior_weight, double epsilon, double rtol,
                         std::int32_t max_iterations) {
    MattingHeld held;
    cuda::MattingBatch& batch = held.batch;
    set_shape(batch, shape);
    held.take(batch.images, images, "images", held.pixels(), {"float32"});
    held.take(batch.trimaps, trimaps, "trimaps", held.pixels(), {"uint8"});
    held.take_if_given(batch.priors, priors, "priors", held.pixels(), {"float32"});
    held.take(batch.alphas, alphas, "alphas", held.pixels(), {"float32"});
    held.take(batch.results, results, "results", batch.count, {"uint8"});
    held.take_workspace(workspace);
    batch.prior_weight = prior_weight;
    batch.epsilon = epsilon;
    batch.rtol = rtol;
    batch.max_iterations = max_iterations;
    return held;
}

CutHeld make_cut(const Shape& shape, const py::object& images, const py::object& plans,
                 const py::object& seeds, const py::object& network, const py::object& masks,
                 const py::object& trimaps, const py::object& priors, const py::object& results,
                 const py::object& workspace) {
    CutHeld held;
    cuda::CutBatch& batch = held.batch;
    set_shape(batch, shape);
    held.take(batch.images, images, "images", held.pixels(), {"float32"});
    held.take(batch.plans, plans, "plans", batch.count, {"uint8"});
    held.take(batch.seeds, seeds, "seeds", batch.count * batch.rows * ((batch.cols + 63) / 64),
              {"uint64", "uint8"});
    held.take(batch.network, network, "network", 1, {"uint8"});
    held.take(batch.masks, masks, "masks", held.pixels(), {"bool", "uint8"});
    held.take(batch.trimaps, trimaps, "trimaps", held.pixels(), {"uint8"});
    held.take(batch.priors, priors, "priors", held.pixels(), {"float32"});
    held.take(batch.results, results, "results", batch.count, {"uint8"});
    held.take_workspace(workspace);
    return held;
}

MorphologyHeld make_morphology(const Shape& shape, const py::object& masks, const py::object& cores,
                               const py::object& erosion, const py::object& dilation,
                               const py::object& spacing, const py::object& out,
                               const py::object& statuses, const py::object& workspace, bool packed,
                               const py::object& priors) {
    MorphologyHeld held;
    cuda::MorphologyBatch& batch = held.batch;
    set_shape(batch, shape);
    if (packed) {
        const std::int64_t words = batch.count * batch.rows * ((batch.cols + 63) / 64);
        batch.masks =
            held.take(masks, "masks", 8 * static_cast<std::size_t>(words), {"uint64", "int64"});
    } else {
        batch.masks =
            held.take(masks, "masks", static_cast<std::size_t>(held.pixels()), {"bool", "uint8"});
    }
    batch.packed = packed;
    held.take_if_given(batch.cores, cores, "cores", held.pixels(), {"bool", "uint8"});
    held.take_if_given(batch.erosion, erosion, "erosion", batch.count, {"float64"});
    held.take_if_given(batch.dilation, dilation, "dilation", batch.count, {"float64"});
    held.take_if_given(batch.spacing, spacing, "spacing", 2 * batch.count, {"float64"});
    held.take(batch.out, out, "out", held.pixels(), {"bool", "uint8"});
    held.take(batch.statuses, statuses, "statuses", batch.count, {"int32"});
    held.take_if_given(batch.priors, priors, "priors", held.pixels(), {"float32"});
    held.take_workspace(workspace);
    return held;
}

RatersHeld make_raters(const std::array<std::int64_t, 4>& shape, const py::object& masks,
                       const py::object& erosion, const py::object& dilation,
                       const std::pair<double, double>& spacing, const py::object& out,
                       const py::object& workspace, const py::object& priors) {
    RatersHeld held;
    cuda::RatersBatch& batch = held.batch;
    set_shape(batch, {shape[0], shape[2], shape[3]});
    if (shape[1] < 1 || shape[1] > std::numeric_limits<std::int32_t>::max())
        throw py::value_error("shape must be (N, R, H, W) with R, H, W >= 1, got " +
                              repr_text(py::make_tuple(shape[0], shape[1], shape[2], shape[3])));
    batch.raters = static_cast<std::int32_t>(shape[1]);
    held.take(batch.masks, masks, "masks", held.pixels() * batch.raters, {"bool", "uint8"});
    batch.erosion = margin_argument(erosion, "erosion");
    batch.dilation = margin_argument(dilation, "dilation");
    const Spacing steps = spacing_argument(spacing.first, spacing.second);
    batch.row_spacing = steps.row;
    batch.col_spacing = steps.column;
    held.take(batch.out, out, "out", held.pixels(), {"uint8"});
    held.take_if_given(batch.priors, priors, "priors", held.pixels(), {"float32"});
    held.take_workspace(workspace);
    return held;
}

// What a batch holds, read by its name: addresses as numbers.
template <typename Batch, typename T>
void read(py::class_<Held<Batch>>& of, const char* name, T Batch::* field) {
    of.def_property_readonly(name, [field](const Held<Batch>& self) {
        if constexpr (std::is_pointer_v<T>)
            return reinterpret_cast<std::uintptr_t>(self.batch.*field);
        else
            return self.batch.*field;
    });
}

}  // namespace

void bind_gpu_batches(py::module_& module) {
    using namespace pybind11::literals;
    using cuda::CutBatch, cuda::MattingBatch, cuda::MorphologyBatch, cuda::RatersBatch;

    py::class_<MattingHeld> matting(module, "MattingBatch", R"(Closed-form matting of a batch.

Arrays are objects that tell `address` and `nbytes` of contiguous memory of one device, and `dtype`
where it is known; the batch keeps them. Attributes tell addresses as int, 0 for None.

Parameters
----------
shape : (N, H, W)
images : float32 [N, H, W]
trimaps : uint8 [N, H, W]
priors : float32 [N, H, W] or None
alphas : float32 [N, H, W]
    Written to.
results : MATTING_RESULT [N], as uint8
    Written to.
workspace : uint8
    Of ``cuda_matting_workspace_bytes``, aligned to 16 bytes.
prior_weight, epsilon, rtol, max_iterations
    See ``matting``.

Raises
------
TypeError
    If an argument is not device memory, or of another dtype.
ValueError
    If one is too small.)");
    matting.def(py::init(&make_matting), "shape"_a, py::kw_only(), "images"_a, "trimaps"_a,
                "priors"_a = py::none(), "alphas"_a, "results"_a, "workspace"_a,
                "prior_weight"_a = 0.0, "epsilon"_a = 1e-7, "rtol"_a = 3e-6,
                "max_iterations"_a = 1000);
    read(matting, "count", &MattingBatch::count);
    read(matting, "rows", &MattingBatch::rows);
    read(matting, "cols", &MattingBatch::cols);
    read(matting, "images", &MattingBatch::images);
    read(matting, "trimaps", &MattingBatch::trimaps);
    read(matting, "priors", &MattingBatch::priors);
    read(matting, "alphas", &MattingBatch::alphas);
    read(matting, "results", &MattingBatch::results);
    read(matting, "workspace", &MattingBatch::workspace);
    read(matting, "workspace_bytes", &MattingBatch::workspace_bytes);
    read(matting, "prior_weight", &MattingBatch::prior_weight);
    read(matting, "epsilon", &MattingBatch::epsilon);
    read(matting, "rtol", &MattingBatch::rtol);
    read(matting, "max_iterations", &MattingBatch::max_iterations);

    py::class_<CutHeld> cut(module, "CutBatch", R"(Cuts of RECIST marks, with trimaps and priors.

Arrays as in ``MattingBatch``.

Parameters
----------
shape : (N, H, W)
images : float32 [N, H, W]
    Finite, within 0 and 1.
plans : uint8 [N, CUT_PLAN_BYTES]
seeds : uint64 [N, H, (W + 63) // 64]
    Of ``plan_cuts``.
network : uint8 [EDGE_NETWORK_BYTES]
    ``EdgeNetwork.bytes``, aligned to 64 bytes.
masks : bool or uint8 [N, H, W]
trimaps : uint8 [N, H, W]
priors : float32 [N, H, W]
results : CUT_RESULT [N], as uint8
    Written to.
workspace : uint8
    Of ``cuda_cut_workspace_bytes``, aligned to 16 bytes.

Raises
------
TypeError, ValueError
    As in ``MattingBatch``.)");
    cut.def(py::init(&make_cut), "shape"_a, py::kw_only(), "images"_a, "plans"_a, "seeds"_a,
            "network"_a, "masks"_a, "trimaps"_a, "priors"_a, "results"_a, "workspace"_a);
    read(cut, "count", &CutBatch::count);
    read(cut, "rows", &CutBatch::rows);
    read(cut, "cols", &CutBatch::cols);
    read(cut, "images", &CutBatch::images);
    read(cut, "plans", &CutBatch::plans);
    read(cut, "seeds", &CutBatch::seeds);
    read(cut, "network", &CutBatch::network);
    read(cut, "masks", &CutBatch::masks);
    read(cut, "trimaps", &CutBatch::trimaps);
    read(cut, "priors", &CutBatch::priors);
    read(cut, "results", &CutBatch::results);
    read(cut, "workspace", &CutBatch::workspace);
    read(cut, "workspace_bytes", &CutBatch::workspace_bytes);

    py::class_<MorphologyHeld> morphology(module, "MorphologyBatch",
                                          R"(Erosion, dilation or trimaps of a batch of masks.

Arrays as in ``MattingBatch``.

Parameters
----------
shape : (N, H, W)
masks : bool or uint8 [N, H, W]; with `packed` uint64 [N, H, (W + 63) // 64]
    Non-zero is lesion; pixel 64 w + i is bit i of word w.
cores : bool or uint8 [N, H, W] or None
    For ``trimap_from_mask`` alone.
erosion, dilation : float64 [N] or None
    Radii in units of the spacing; NaN, for ``trimap_from_mask`` alone, the default margin of each
    8-connected part. ``erode`` needs the first alone, ``dilate`` the second.
spacing : float64 [N, 2] or None
    Of rows and of columns.
out : bool or uint8 [N, H, W]
    Written to.
statuses : int32 [N]
    Written to: 0 done; 1, 2, 3 for a bad erosion, dilation or spacing, `out` is 0 then.
workspace : uint8
    A multiple of ``cuda_morphology_workspace_bytes``, aligned to 16 bytes; its share of it many
    images are worked on at a time.
packed : bool
priors : float32 [N, H, W] or None
    For ``trimap_from_mask`` of masks that are not packed; written to as by ``mask_prior``.

Raises
------
TypeError, ValueError
    As in ``MattingBatch``.)");
    morphology.def(py::init(&make_morphology), "shape"_a, py::kw_only(), "masks"_a,
                   "cores"_a = py::none(), "erosion"_a = py::none(), "dilation"_a = py::none(),
                   "spacing"_a = py::none(), "out"_a, "statuses"_a, "workspace"_a,
                   "packed"_a = false, "priors"_a = py::none());
    read(morphology, "count", &MorphologyBatch::count);
    read(morphology, "rows", &MorphologyBatch::rows);
    read(morphology, "cols", &MorphologyBatch::cols);
    read(morphology, "masks", &MorphologyBatch::masks);
    read(morphology, "packed", &MorphologyBatch::packed);
    read(morphology, "cores", &MorphologyBatch::cores);
    read(morphology, "erosion", &MorphologyBatch::erosion);
    read(morphology, "dilation", &MorphologyBatch::dilation);
    read(morphology, "spacing", &MorphologyBatch::spacing);
    read(morphology, "out", &MorphologyBatch::out);
    read(morphology, "statuses", &MorphologyBatch::statuses);
    read(morphology, "priors", &MorphologyBatch::priors);
    read(morphology, "workspace", &MorphologyBatch::workspace);
    read(morphology, "workspace_bytes", &MorphologyBatch::workspace_bytes);

    py::class_<RatersHeld> raters(module, "RatersBatch",
                                  R"(Trimaps of a batch of several raters' masks.

Arrays as in ``MattingBatch``.

Parameters
----------
shape : (N, R, H, W)
masks : bool or uint8 [N, R, H, W]
    Non-zero is lesion.
erosion, dilation : float or None
    Radii of the band where the raters agree; None is the default margin.
spacing : (row, column)
out : uint8 [N, H, W]
    Written to.
workspace : uint8
    Of ``cuda_raters_workspace_bytes``, aligned to 16 bytes.
priors : float32 [N, H, W] or None
    Written to: of the votes, as ``votes_prior``; where one rater alone marked something as by
    ``mask_prior``.

Raises
------
TypeError, ValueError
    As in ``MattingBatch``; ValueError also for a margin or spacing that is of no use.)");
    raters.def(py::init(&make_raters), "shape"_a, py::kw_only(), "masks"_a,
               "erosion"_a = py::none(), "dilation"_a = py::none(),
               "spacing"_a = std::make_pair(1.0, 1.0), "out"_a, "workspace"_a,
               "priors"_a = py::none());
    read(raters, "count", &RatersBatch::count);
    read(raters, "raters", &RatersBatch::raters);
    read(raters, "rows", &RatersBatch::rows);
    read(raters, "cols", &RatersBatch::cols);
    read(raters, "masks", &RatersBatch::masks);
    read(raters, "erosion", &RatersBatch::erosion);
    read(raters, "dilation", &RatersBatch::dilation);
    read(raters, "row_spacing", &RatersBatch::row_spacing);
    read(raters, "col_spacing", &RatersBatch::col_spacing);
    read(raters, "out", &RatersBatch::out);
    read(raters, "priors", &RatersBatch::priors);
    read(raters, "workspace", &RatersBatch::workspace);
    read(raters, "workspace_bytes", &RatersBatch::workspace_bytes);
}

}  // namespace dsnet

// Bindings of trimaps and matting for whole batches, on threads.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "python/arguments.h"
#include "base/image_simd.h"
#include "label/label.h"
#include "matting.h"

namespace dsnet {
namespace {

template <typename T>
Array<T> batch_argument(const py::object& value, const char* name, const char* dtype,
                        const py::array* like) {
    if (!py::isinstance<Array<T>>(value) || !is_aligned(value))
        throw py::type_error(std::string(name) + " must be a contiguous " + dtype + " array");
    auto array = py::reinterpret_borrow<Array<T>>(value);
    if (array.ndim() != 3 || array.shape(1) < 1 || array.shape(2) < 1)
        throw py::value_error(std::string(name) + " must be [N, H, W] with H, W >= 1, got shape " +
                              shape_text(array));
    for (int axis = 0; like != nullptr && axis < 3; ++axis)
        if (array.shape(axis) != like->shape(axis))
            throw py::value_error(std::string(name) + " must have shape " + shape_text(*like) +
                                  ", got " + shape_text(array));
    return array;
}

double margin_argument(const py::object& value, const char* name) {
    if (value.is_none()) return std::numeric_limits<double>::quiet_NaN();
    const auto margin = value.cast<double>();
    if (!(margin >= 0) || !std::isfinite(margin))
        throw py::value_error(std::string(name) + " must be finite and not negative, got " +
                              py::repr(value).cast<std::string>());
    return margin;
}

Array<std::uint8_t> trimap_batch(const py::object& masks_value, const py::object& erosion_value,
                                 const py::object& dilation_value, double row_spacing,
                                 double column_spacing, int threads) {
    const auto masks = batch_argument<std::uint8_t>(masks_value, "masks", "uint8", nullptr);
    const double erosion = margin_argument(erosion_value, "erosion");
    const double dilation = margin_argument(dilation_value, "dilation");
    for (const double step : {row_spacing, column_spacing})
        if (!(step > 0) || !std::isfinite(step))
            throw py::value_error("spacing must be positive and finite, got " +
                                  std::to_string(step));
    const py::ssize_t rows = masks.shape(1), cols = masks.shape(2);
    Array<std::uint8_t> out({masks.shape(0), rows, cols});
    const std::uint8_t* const from = masks.data();
    std::uint8_t* const to = out.mutable_data();
    py::gil_scoped_release release;
    run_label_batch(out.shape(0), threads, [&](std::ptrdiff_t i, LabelWorkspace& workspace) {
        const std::ptrdiff_t at = i * rows * cols;
        trimap_from_mask({from + at, rows, cols}, erosion, dilation, {row_spacing, column_spacing},
                         nullptr, workspace.trimap, {to + at, rows, cols});
    });
    return out;
}

// Beyond this, float32 and the one-pass variance lose too much.
constexpr float kLargestGrey = 16.0f;

bool is_solvable(const float* image, std::ptrdiff_t size) {
    const Range range = image_simd().range(image, size);
    return range.ordered && range.low >= -kLargestGrey && range.high <= kLargestGrey;
}

// Images below 3 x 3, whose windows are cut to them.
MattingOutcome solve_tiny(const float* image, const std::uint8_t* trimap, py::ssize_t rows,
                          py::ssize_t cols, const MattingOptions& options, float* alpha) {
    cuda::MattingResult result = {};
    cuda::MattingBatch batch = {};
    batch.images = image;
    batch.trimaps = trimap;
    batch.alphas = alpha;
    batch.results = &result;
    batch.count = 1;
    batch.rows = static_cast<std::int32_t>(rows);
    batch.cols = static_cast<std::int32_t>(cols);
    batch.epsilon = options.epsilon;
    batch.rtol = options.rtol;
    batch.max_iterations = options.max_iterations;
    matting_on_host(batch, MattingPath::kAny, false);
    MattingOutcome outcome;
    outcome.converged = result.converged != 0;
    outcome.valid = result.status == cuda::kMattingDone;
    return outcome;
}

py::tuple matting_batch(const py::object& images_value, const py::object& trimaps_value,
                        double rtol, int threads) {
    const auto images = batch_argument<float>(images_value, "images", "float32", nullptr);
    const auto trimaps =
        batch_argument<std::uint8_t>(trimaps_value, "trimaps", "uint8", &images);
    const py::ssize_t count = images.shape(0), rows = images.shape(1), cols = images.shape(2);
    MattingOptions options;
    options.rtol = rtol;
    Array<float> alphas({count, rows, cols});
    Array<bool> converged(count);
    const float* const from = images.data();
    const std::uint8_t* const split = trimaps.data();
    float* const to = alphas.mutable_data();
    bool* const done = converged.mutable_data();
    {
        py::gil_scoped_release release;
        run_label_batch(count, threads, [&](std::ptrdiff_t i, LabelWorkspace& workspace) {
            const std::ptrdiff_t size = rows * cols, at = i * size;
            MattingOutcome outcome;
            outcome.valid = is_solvable(from + at, size);
            if (outcome.valid && (rows < 3 || cols < 3))
                outcome = solve_tiny(from + at, split + at, rows, cols, options, to + at);
            else if (outcome.valid)
                outcome = solve_matting({from + at, rows, cols}, {split + at, rows, cols},
                                        {nullptr, rows, cols}, options, workspace.matting,
                                        {to + at, rows, cols});
            done[i] = outcome.converged;
            if (!outcome.valid)
                std::fill_n(to + at, size, std::numeric_limits<float>::quiet_NaN());
        });
    }
    return py::make_tuple(std::move(alphas), std::move(converged));
}

}  // namespace

void bind_arrays(py::module_& module) {
    using namespace pybind11::literals;
    module.def("trimap_batch", &trimap_batch, "masks"_a, "erosion"_a, "dilation"_a,
               "row_spacing"_a, "column_spacing"_a, "threads"_a,
               "Trimaps uint8 [N, H, W] of masks uint8 [N, H, W], each as by trimap_from_mask.");
    module.def("matting_batch", &matting_batch, "images"_a, "trimaps"_a, "rtol"_a, "threads"_a,
               R"(Closed-form matting of a batch.

Parameters
----------
images : float32 [N, H, W]
trimaps : uint8 [N, H, W]
rtol : float
threads : int

Returns
-------
alphas : float32 [N, H, W]
    NaN all over an image with values that are not finite or beyond +-16, or with a trimap of
    values other than 0, 128 and 255.
converged : bool [N])");
}

}  // namespace dsnet

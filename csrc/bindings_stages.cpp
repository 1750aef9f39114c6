// Bindings of a label's stages on either side of matting, for batches.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "arguments.h"
#include "label_stages.h"
#include "label_table.h"
#include "matting_cuda.h"

namespace dsnet {
namespace {

// An array that the caller keeps: never converted, never copied.
template <typename T>
Array<T> block_argument(const py::object& value, const char* name, const char* dtype,
                        const py::array* like, bool writable) {
    const auto refuse = [&](const std::string& wanted) {
        throw py::value_error(std::string(name) + " must be " + wanted);
    };
    if (!py::isinstance<Array<T>>(value) || !is_aligned(value))
        refuse(std::string("a contiguous ") + dtype + " array [N, H, W]");
    auto array = py::reinterpret_borrow<Array<T>>(value);
    if (array.ndim() != 3 || array.shape(1) < 1 || array.shape(2) < 1)
        refuse("[N, H, W] with H, W >= 1, got shape " + shape_text(array));
    if (like != nullptr)
        for (int axis = 0; axis < 3; ++axis)
            if (array.shape(axis) != like->shape(axis))
                refuse("of shape " + shape_text(*like) + ", got " + shape_text(array));
    if (writable && !array.writeable()) refuse("writable");
    return array;
}

struct Begun {
    std::vector<LabelOutcome> outcomes;
    std::vector<double> coordinates;
};

std::unique_ptr<Begun> begin_labels(const py::object& images, const Array<double>& coordinates,
                                    const EdgeNetwork& network, const py::object& staged_value,
                                    const py::object& trimaps_value,
                                    const py::object& priors_value, const py::object& masks_value,
                                    int threads) {
    auto staged = block_argument<float>(staged_value, "staged", "float32", nullptr, true);
    auto trimaps = block_argument<std::uint8_t>(trimaps_value, "trimaps", "uint8", &staged, true);
    auto priors = block_argument<float>(priors_value, "priors", "float32", &staged, true);
    auto masks = block_argument<std::uint8_t>(masks_value, "masks", "uint8", &staged, true);
    const py::ssize_t count = staged.shape(0), rows = staged.shape(1), cols = staged.shape(2);
    if (static_cast<py::ssize_t>(py::len(images)) != count)
        throw py::value_error("images must be as many as staged (" + std::to_string(count) +
                              "), got " + std::to_string(py::len(images)));
    if (coordinates.ndim() != 2 || coordinates.shape(0) != count || coordinates.shape(1) != 8)
        throw py::value_error("coordinates must have shape [N, 8] with as many rows as images (" +
                              std::to_string(count) + "), got " + shape_text(coordinates));
    std::vector<Array<float>> kept;
    std::vector<const float*> sources;
    if (py::isinstance<Array<float>>(images)) {
        kept.push_back(block_argument<float>(images, "images", "float32", &staged, false));
        for (py::ssize_t i = 0; i < count; ++i)
            sources.push_back(kept[0].data() + i * rows * cols);
    } else {
        for (py::ssize_t i = 0; i < count; ++i) {
            kept.push_back(image_argument<float>(images[py::int_(i)], "images", "f", "float32"));
            if (kept.back().shape(0) != rows || kept.back().shape(1) != cols)
                throw py::value_error("images must have staged's rows and columns " +
                                      shape_text(staged) + ", got shape " +
                                      shape_text(kept.back()));
            sources.push_back(kept.back().data());
        }
    }
    auto begun = std::make_unique<Begun>();
    begun->outcomes.resize(static_cast<std::size_t>(count));
    begun->coordinates.assign(coordinates.data(), coordinates.data() + coordinates.size());
    float* const to = staged.mutable_data();
    float* const prior = priors.mutable_data();
    std::uint8_t* const trimap = trimaps.mutable_data();
    std::uint8_t* const mask = masks.mutable_data();
    {
        py::gil_scoped_release release;
        run_label_batch(count, threads, [&](std::ptrdiff_t i, LabelWorkspace& workspace) {
            const std::ptrdiff_t size = rows * cols, at = i * size;
            const auto index = static_cast<std::size_t>(i);
            const LabelOutcome outcome = begin_label(
                {sources[index], rows, cols}, begun->coordinates.data() + 8 * i, network,
                workspace, {mask + at, rows, cols}, {trimap + at, rows, cols},
                {prior + at, rows, cols});
            if (outcome.error == LabelError::kNone) {
                std::copy_n(sources[index], size, to + at);
            } else {
                // Nothing for matting to solve.
                std::fill_n(to + at, size, 0.0f);
                std::fill_n(prior + at, size, 0.0f);
                std::fill_n(trimap + at, size, std::uint8_t{0});
                std::fill_n(mask + at, size, std::uint8_t{0});
            }
            begun->outcomes[index] = outcome;
        });
    }
    return begun;
}

py::tuple finish_labels(Begun& begun, const py::object& images_value,
                        const py::object& trimaps_value, const py::object& priors_value,
                        const py::object& masks_value, const py::object& alphas_value,
                        const Array<cuda::MattingResult>& results, double prior_weight,
                        double rtol, double seconds, int threads) {
    const auto images = block_argument<float>(images_value, "images", "float32", nullptr, false);
    const auto trimaps =
        block_argument<std::uint8_t>(trimaps_value, "trimaps", "uint8", &images, false);
    const auto priors = block_argument<float>(priors_value, "priors", "float32", &images, false);
    const auto masks = block_argument<std::uint8_t>(masks_value, "masks", "uint8", &images, false);
    const auto alphas = block_argument<float>(alphas_value, "alphas", "float32", &images, false);
    const py::ssize_t count = images.shape(0), rows = images.shape(1), cols = images.shape(2);
    if (static_cast<py::ssize_t>(begun.outcomes.size()) != count || results.size() != count)
        throw py::value_error("images and results must be as many as were begun (" +
                              std::to_string(begun.outcomes.size()) + "), got " +
                              std::to_string(count) + " and " + std::to_string(results.size()));
    Array<float> alpha({count, rows, cols});
    Array<bool> binary({count, rows, cols});
    Array<std::uint8_t> trimap({count, rows, cols});
    static_assert(sizeof(bool) == 1, "the mask is written as bytes");
    float* const alpha_to = alpha.mutable_data();
    auto* const binary_to = reinterpret_cast<std::uint8_t*>(binary.mutable_data());
    std::uint8_t* const trimap_to = trimap.mutable_data();
    MattingOptions options;
    options.rtol = rtol;
    options.prior_weight = prior_weight;
    std::vector<std::uint8_t> again(static_cast<std::size_t>(count), 0);
    {
        py::gil_scoped_release release;
        const float* const image = images.data();
        run_label_batch(count, threads, [&](std::ptrdiff_t i, LabelWorkspace& workspace) {
            const std::ptrdiff_t size = rows * cols, at = i * size;
            const auto index = static_cast<std::size_t>(i);
            LabelOutcome& outcome = begun.outcomes[index];
            if (outcome.error != LabelError::kNone) return;
            const cuda::MattingResult& result = results.data()[i];
            const Image<const std::uint8_t> split(trimaps.data() + at, rows, cols);
            const Image<float> found(alpha_to + at, rows, cols);
            // Conjugate gradients preconditioned by the diagonal may be too slow for a crop; the
            // CPU's have multigrid.
            again[index] = result.status != cuda::kMattingDone || result.converged == 0;
            if (again[index] != 0) {
                outcome.matting =
                    solve_matting({image + at, rows, cols}, split, {priors.data() + at, rows, cols},
                                  options, workspace.matting, found);
            } else {
                std::copy_n(alphas.data() + at, size, found.data);
                outcome.matting.iterations = result.iterations;
                outcome.matting.residual = result.residual;
                outcome.matting.converged = true;
                outcome.matting.unknowns = result.unknowns;
            }
            std::copy_n(split.data, size, trimap_to + at);
            outcome.seconds[2] += seconds;
            finish_label({image + at, rows, cols}, begun.coordinates.data() + 8 * i, rtol,
                         {masks.data() + at, rows, cols}, split, workspace.quality, found,
                         {binary_to + at, rows, cols}, outcome);
        });
    }
    const py::tuple table = label_table(count, [&](py::ssize_t i) -> const LabelOutcome& {
        return begun.outcomes[static_cast<std::size_t>(i)];
    });
    return py::make_tuple(std::move(alpha), std::move(binary), std::move(trimap), table[0],
                          table[1], table[2],
                          std::count(again.begin(), again.end(), std::uint8_t{1}));
}

}  // namespace

void bind_stages(py::module_& module) {
    using namespace pybind11::literals;
    PYBIND11_NUMPY_DTYPE(cuda::MattingResult, residual, status, iterations, unknowns, converged,
                         solved, reserved);
    module.attr("MATTING_RESULT") = py::dtype::of<cuda::MattingResult>();
    py::class_<Begun>(module, "BegunLabels", "What begin_labels found, for finish_labels.");
    module.def("begin_labels", &begin_labels, "images"_a, "coordinates"_a, "network"_a,
               "staged"_a, "trimaps"_a, "priors"_a, "masks"_a, "threads"_a,
               R"(The part of label_batch before matting.

Parameters
----------
images : float32 [N, H, W], or sequence of N float32 [H, W]
coordinates : float64 [N, 8]
network : EdgeNetwork
staged, trimaps, priors, masks : float32, uint8, float32, uint8 [N, H, W]
    Written to: copies of the images, matting's other inputs, and the cuts. All 0 in a row that
    cannot be labelled.
threads : int

Returns
-------
BegunLabels)");
    module.def("finish_labels", &finish_labels, "begun"_a, "images"_a, "trimaps"_a, "priors"_a,
               "masks"_a, "alphas"_a, "results"_a, "prior_weight"_a, "rtol"_a, "seconds"_a,
               "threads"_a,
               R"(The part of label_batch after matting.

Parameters
----------
begun : BegunLabels
images, trimaps, priors, masks : arrays [N, H, W]
    As begin_labels wrote them.
alphas : float32 [N, H, W]
results : MATTING_RESULT [N]
    Of matting. A row that did not converge is solved again here.
prior_weight, rtol : float
    Of matting.
seconds : float
    A label's share of the time that matting took.
threads : int

Returns
-------
alpha, binary, trimap, states, values, scores
    As label_batch's.
again : int
    Rows that were solved again.)");
}

}  // namespace dsnet

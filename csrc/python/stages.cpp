// Bindings of a label's stages on either side of those that a GPU runs, for batches.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cut/plan.h"
#include "label/label.h"
#include "matting/gpu.h"
#include "python/arguments.h"
#include "python/label_table.h"

namespace dsnet {
namespace {

struct Begun {
    std::vector<LabelOutcome> outcomes;
    std::vector<double> coordinates;
};

std::unique_ptr<Begun> begin_labels(const py::object& images, const Array<double>& coordinates,
                                    const py::object& staged_value, const py::object& plans_value,
                                    const py::object& seeds_value, int threads) {
    auto staged = batch_argument<float>(staged_value, "staged", "float32");
    const py::ssize_t count = staged.shape(0), rows = staged.shape(1), cols = staged.shape(2);
    const py::ssize_t words = (cols + 63) / 64;
    auto plans = shaped_argument<std::uint8_t>(plans_value, "plans", "uint8",
                                               {count, static_cast<py::ssize_t>(sizeof(CutPlan))});
    auto seeds =
        shaped_argument<std::uint64_t>(seeds_value, "seeds", "uint64", {count, rows, words});
    require_writable(staged, "staged");
    require_writable(plans, "plans");
    require_writable(seeds, "seeds");
    if (static_cast<py::ssize_t>(py::len(images)) != count)
        throw py::value_error("images must be as many as staged (" + std::to_string(count) +
                              "), got " + std::to_string(py::len(images)));
    if (coordinates.ndim() != 2 || coordinates.shape(0) != count || coordinates.shape(1) != 8)
        throw py::value_error("coordinates must have shape [N, 8] with as many rows as images (" +
                              std::to_string(count) + "), got " + shape_text(coordinates));
    std::vector<Array<float>> kept;
    std::vector<const float*> sources;
    if (py::isinstance<Array<float>>(images)) {
        kept.push_back(batch_argument<float>(images, "images", "float32", &staged));
        for (py::ssize_t i = 0; i < count; ++i) sources.push_back(kept[0].data() + i * rows * cols);
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
    auto* const plan = reinterpret_cast<CutPlan*>(plans.mutable_data());
    std::uint64_t* const seed = seeds.mutable_data();
    {
        py::gil_scoped_release release;
        run_label_batch(count, threads, 0, [&](std::ptrdiff_t i, LabelWorkspace&) {
            const std::ptrdiff_t size = rows * cols;
            const Image<const float> image(sources[static_cast<std::size_t>(i)], rows, cols);
            const double* const mark = begun->coordinates.data() + 8 * i;
            LabelOutcome& outcome = begun->outcomes[static_cast<std::size_t>(i)];
            if (check_label(image, mark, outcome)) {
                std::copy_n(image.data, size, to + i * size);
                plan[i] = plan_cut(mark_as_given(mark), rows, cols, seed + i * rows * words);
            } else {
                // Nothing to cut, and nothing for matting to solve.
                std::fill_n(to + i * size, size, 0.0f);
                std::fill_n(seed + i * rows * words, rows * words, std::uint64_t{0});
                plan[i] = CutPlan{};
            }
        });
    }
    return begun;
}

py::tuple finish_labels(Begun& begun, const py::object& images_value, const py::object& masks_value,
                        const py::object& trimaps_value, const py::object& alphas_value,
                        const py::object& cuts_value, const py::object& results_value,
                        const EdgeNetwork& network, double prior_weight, double rtol,
                        const std::pair<double, double>& seconds, int threads) {
    const auto images = batch_argument<float>(images_value, "images", "float32");
    const auto masks = batch_argument<std::uint8_t>(masks_value, "masks", "uint8", &images);
    const auto trimaps = batch_argument<std::uint8_t>(trimaps_value, "trimaps", "uint8", &images);
    const auto alphas = batch_argument<float>(alphas_value, "alphas", "float32", &images);
    const py::ssize_t count = images.shape(0), rows = images.shape(1), cols = images.shape(2);
    if (static_cast<py::ssize_t>(begun.outcomes.size()) != count)
        throw py::value_error("images must be as many as were begun (" +
                              std::to_string(begun.outcomes.size()) + "), got " +
                              std::to_string(count));
    const auto cuts = shaped_argument<CutResult>(cuts_value, "cuts", "CUT_RESULT", {count});
    const auto results =
        shaped_argument<cuda::MattingResult>(results_value, "results", "MATTING_RESULT", {count});
    Array<float> alpha({count, rows, cols});
    Array<bool> binary({count, rows, cols});
    Array<std::uint8_t> trimap({count, rows, cols});
    static_assert(sizeof(bool) == 1, "the mask is written as bytes");
    float* const alpha_to = alpha.mutable_data();
    auto* const binary_to = reinterpret_cast<std::uint8_t*>(binary.mutable_data());
    std::uint8_t* const trimap_to = trimap.mutable_data();
    LabelOptions options;
    options.network = &network;
    options.prior_weight = prior_weight;
    options.matting.rtol = rtol;
    std::vector<std::uint8_t> again(static_cast<std::size_t>(count), 0);
    {
        py::gil_scoped_release release;
        run_label_batch(
            count, threads, rows * cols, [&](std::ptrdiff_t i, LabelWorkspace& workspace) {
                const std::ptrdiff_t size = rows * cols, at = i * size;
                const auto index = static_cast<std::size_t>(i);
                LabelOutcome& outcome = begun.outcomes[index];
                if (outcome.error != LabelError::kNone) return;
                const Image<const float> image(images.data() + at, rows, cols);
                const double* const mark = begun.coordinates.data() + 8 * i;
                const Image<float> found(alpha_to + at, rows, cols);
                const Image<std::uint8_t> sides(binary_to + at, rows, cols);
                const cuda::MattingResult& result = results.data()[i];
                // Conjugate gradients preconditioned by the diagonal may be too slow for a crop;
                // the CPU's have multigrid.
                again[index] = result.status != cuda::kMattingDone || result.converged == 0;
                if (again[index] != 0) {
                    outcome = label_recist(image, mark, options, workspace, found, sides,
                                           {trimap_to + at, rows, cols});
                    return;
                }
                std::copy_n(alphas.data() + at, size, found.data);
                std::copy_n(trimaps.data() + at, size, trimap_to + at);
                outcome.cut.fallback = static_cast<CutFallback>(cuts.data()[i].fallback);
                outcome.cut.value = cuts.data()[i].value;
                outcome.cut.expected_dice = cuts.data()[i].expected_dice;
                outcome.matting.iterations = result.iterations;
                outcome.matting.residual = result.residual;
                outcome.matting.converged = true;
                outcome.matting.unknowns = result.unknowns;
                outcome.seconds[0] += seconds.first;
                outcome.seconds[2] += seconds.second;
                finish_label(image, mark, network, rtol, {masks.data() + at, rows, cols},
                             {trimaps.data() + at, rows, cols}, workspace.quality, found, sides,
                             outcome);
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
    py::class_<Begun>(module, "BegunLabels", "What begin_labels found, for finish_labels.");
    module.def("begin_labels", &begin_labels, "images"_a, "coordinates"_a, "staged"_a, "plans"_a,
               "seeds"_a, "threads"_a,
               R"(The part of label_batch before the cut: checks, and what a GPU needs to know.

Parameters
----------
images : float32 [N, H, W], or sequence of N float32 [H, W]
coordinates : float64 [N, 8]
staged : float32 [N, H, W]
    Written to: copies of the images.
plans, seeds : uint8 [N, CUT_PLAN_BYTES], uint64 [N, H, (W + 63) // 64]
    Written to: as plan_cuts'. All 0, as staged, in a row that cannot be labelled.
threads : int
    At least 1.

Returns
-------
BegunLabels

Raises
------
TypeError
    If an array is of another dtype, or one that is written to is not contiguous.
ValueError
    If the shapes do not fit, or an array that is written to is read-only.)");
    module.def("finish_labels", &finish_labels, "begun"_a, "images"_a, "masks"_a, "trimaps"_a,
               "alphas"_a, "cuts"_a, "results"_a, "network"_a, "prior_weight"_a, "rtol"_a,
               "seconds"_a, "threads"_a,
               R"(The part of label_batch after matting.

Parameters
----------
begun : BegunLabels
images : float32 [N, H, W]
    As begin_labels staged them.
masks, trimaps : uint8 [N, H, W]
alphas : float32 [N, H, W]
    Of cuts and matting.
cuts : CUT_RESULT [N]
results : MATTING_RESULT [N]
    Of matting. A row that did not converge is labelled here.
network : EdgeNetwork
prior_weight, rtol : float
    Of matting.
seconds : (float, float)
    A label's share of the time that cuts and matting took.
threads : int
    At least 1.

Returns
-------
alpha, binary, trimap, states, values, scores
    As label_batch's.
again : int
    Rows that were labelled here from the start.

Raises
------
TypeError
    If an array is of another dtype or not contiguous.
ValueError
    If the shapes do not fit, or there are not as many rows as were begun.)");
}

}  // namespace dsnet

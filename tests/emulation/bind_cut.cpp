// Bindings of the GPU's cuts run on the CPU, for tests.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <utility>

#include "python/arguments.h"
#include "cut/border.h"
#include "cut.h"
#include "cut/plan.h"
#include "mark/recist.h"

namespace dsnet {
namespace {

py::tuple plan_cuts(const Array<double>& coordinates, py::ssize_t rows, py::ssize_t cols) {
    if (coordinates.ndim() != 2 || coordinates.shape(1) != 8)
        throw py::value_error("coordinates must have shape [N, 8], got " +
                              shape_text(coordinates));
    if (rows < 3 || cols < 3) throw py::value_error("rows and cols must be at least 3");
    const py::ssize_t count = coordinates.shape(0), words = (cols + 63) / 64;
    Array<std::uint8_t> plans({count, static_cast<py::ssize_t>(sizeof(CutPlan))});
    Array<std::uint64_t> seeds({count, rows, words});
    for (py::ssize_t i = 0; i < count; ++i) {
        const double* const mark = coordinates.data() + 8 * i;
        if (!are_usable(mark) || (mark_problems(mark_as_given(mark), rows, cols) & kOutside))
            throw py::value_error("coordinates: mark " + std::to_string(i) +
                                  " must be finite and touch the image");
        reinterpret_cast<CutPlan*>(plans.mutable_data())[i] =
            plan_cut(mark_as_given(mark), rows, cols, seeds.mutable_data() + i * rows * words);
    }
    return py::make_tuple(std::move(plans), std::move(seeds));
}

py::tuple cut_block(const py::object& images_value, const py::object& plans_value,
                    const py::object& seeds_value, const EdgeNetwork& network, bool backwards) {
    if (!py::isinstance<Array<float>>(images_value))
        throw py::type_error("images must be a contiguous float32 array [N, H, W]");
    const auto images = py::reinterpret_borrow<Array<float>>(images_value);
    if (images.ndim() != 3 || images.shape(1) < 1 || images.shape(2) < 1)
        throw py::value_error("images must be [N, H, W], H, W >= 1, got " + shape_text(images));
    const py::ssize_t count = images.shape(0), rows = images.shape(1), cols = images.shape(2);
    const auto plans =
        shaped_argument<std::uint8_t>(plans_value, "plans", "uint8",
                              {count, static_cast<py::ssize_t>(sizeof(CutPlan))});
    const auto seeds = shaped_argument<std::uint64_t>(seeds_value, "seeds", "uint64",
                                              {count, rows, (cols + 63) / 64});
    Array<std::uint8_t> masks({count, rows, cols}), trimaps({count, rows, cols});
    Array<float> priors({count, rows, cols});
    Array<CutResult> results(count);
    cuda::CutBatch batch = {};
    batch.images = images.data();
    batch.plans = reinterpret_cast<const CutPlan*>(plans.data());
    batch.seeds = seeds.data();
    batch.constants = cut_constants(network);
    batch.masks = masks.mutable_data();
    batch.trimaps = trimaps.mutable_data();
    batch.priors = priors.mutable_data();
    batch.results = results.mutable_data();
    batch.count = count;
    batch.rows = static_cast<std::int32_t>(rows);
    batch.cols = static_cast<std::int32_t>(cols);
    {
        py::gil_scoped_release release;
        cut_on_host(batch, backwards);
    }
    return py::make_tuple(std::move(masks), std::move(trimaps), std::move(priors),
                          std::move(results));
}

py::tuple border_cut_block(const py::object& log_odds_value, const py::object& seeds_value,
                           double border_cost, int small_nodes, bool backwards) {
    const auto log_odds = image_argument<float>(log_odds_value, "log_odds", "f", "float32");
    const auto seeds = image_argument<std::uint8_t>(seeds_value, "seeds", "bu", "bool or uint8");
    if (log_odds.shape(0) != seeds.shape(0) || log_odds.shape(1) != seeds.shape(1))
        throw py::value_error("seeds must have the shape of log_odds, " + shape_text(log_odds) +
                              ", got " + shape_text(seeds));
    if (!(border_cost >= 0 && border_cost < 7))
        throw py::value_error("border_cost must be within 0 and 7, got " +
                              std::to_string(border_cost));
    if (small_nodes < 0) throw py::value_error("small_nodes must not be negative");
    Array<bool> mask({log_odds.shape(0), log_odds.shape(1)});
    const Image<std::uint8_t> found(reinterpret_cast<std::uint8_t*>(mask.mutable_data()),
                                    mask.shape(0), mask.shape(1));
    const BorderCut::Costs costs = BorderCut::costs(border_cost);
    std::int64_t searched = 0;
    {
        py::gil_scoped_release release;
        searched = border_cut_on_host(view(log_odds), view(seeds), costs.side, costs.across,
                                      small_nodes, backwards, found);
    }
    return py::make_tuple(std::move(mask), searched);
}

}  // namespace

void bind_cut_block(py::module_& module) {
    using namespace pybind11::literals;
    PYBIND11_NUMPY_DTYPE(CutResult, value, fallback, unused);
    module.attr("CUT_RESULT") = py::dtype::of<CutResult>();
    module.attr("CUT_PLAN_BYTES") = sizeof(CutPlan);
    module.def("plan_cuts", &plan_cuts, "coordinates"_a, "rows"_a, "cols"_a,
               R"(What a GPU needs to know of RECIST marks to cut their lesions.

Parameters
----------
coordinates : float64 [N, 8]
    Marks that touch the image.
rows, cols : int
    Of the images, at least 3.

Returns
-------
plans : uint8 [N, CUT_PLAN_BYTES]
seeds : uint64 [N, rows, (cols + 63) // 64]
    Bits of the pixels that are lesion for certain, the lowest first.)");
    module.def(
        "cut_constants",
        [](const EdgeNetwork& network) {
            const CutConstants constants = cut_constants(network);
            return py::bytes(reinterpret_cast<const char*>(&constants), sizeof(constants));
        },
        "network"_a, "What is the same for all marks, as bytes; for tests.");
    module.def("cut_block", &cut_block, "images"_a, "plans"_a, "seeds"_a, "network"_a,
               "backwards"_a = false,
               R"(The GPU's cuts, run on the CPU a thread at a time; for tests.

Parameters
----------
images : float32 [N, H, W]
    Finite, within 0 and 1.
plans, seeds : arrays
    From plan_cuts.
network : EdgeNetwork
backwards : bool
    Run the threads from the last to the first, which gives the same bits.

Returns
-------
masks, trimaps : uint8 [N, H, W]
priors : float32 [N, H, W]
    The cut's probabilities where the trimap is unknown.
results : CUT_RESULT [N]
    `fallback` and `value` as cut_recist's; -1 where a plan without rows did not want a cut, the rest
    is 0 then.)");
    module.def("border_cut_block", &border_cut_block, "log_odds"_a, "seeds"_a, "border_cost"_a,
               "small_nodes"_a = 512, "backwards"_a = false,
               R"(The GPU's minimum cut, run on the CPU a thread at a time; for tests.

Parameters
----------
log_odds, seeds, border_cost
    As border_cut's; the cost below 7.
small_nodes : int
    Graphs of more nodes lie in other memory.
backwards : bool
    Run the threads from the last to the first, which gives the same bits.

Returns
-------
mask : bool [H, W]
searched : int)");
}

}  // namespace dsnet

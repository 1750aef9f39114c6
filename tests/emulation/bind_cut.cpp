// Bindings of the GPU's cuts run by the CPU.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "cut.h"
#include "cut/plan.h"
#include "python/arguments.h"

namespace dsnet {
namespace {

py::tuple cut_block(const py::object& images_value, const py::object& plans_value,
                    const py::object& seeds_value, const EdgeNetwork& network, bool backwards) {
    const auto images = batch_argument<float>(images_value, "images", "float32");
    const py::ssize_t count = images.shape(0), rows = images.shape(1), cols = images.shape(2);
    const auto plans = shaped_argument<std::uint8_t>(
        plans_value, "plans", "uint8", {count, static_cast<py::ssize_t>(sizeof(CutPlan))});
    const auto seeds = shaped_argument<std::uint64_t>(seeds_value, "seeds", "uint64",
                                                      {count, rows, (cols + 63) / 64});
    Array<std::uint8_t> masks({count, rows, cols}), trimaps({count, rows, cols});
    Array<float> priors({count, rows, cols});
    // Its dtype is registered once in a process, by dsnet._C.
    py::array results(py::dtype(py::module_::import("dsnet._C").attr("CUT_RESULT")),
                      std::vector<py::ssize_t>{count});
    cuda::CutBatch batch = {};
    batch.images = images.data();
    batch.plans = reinterpret_cast<const CutPlan*>(plans.data());
    batch.seeds = seeds.data();
    batch.network = &network;
    batch.masks = masks.mutable_data();
    batch.trimaps = trimaps.mutable_data();
    batch.priors = priors.mutable_data();
    batch.results = static_cast<CutResult*>(results.mutable_data());
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

py::tuple evidence_block(const py::object& image_value, const py::object& plan_value,
                         const EdgeNetwork& network, bool backwards) {
    const auto image = image_argument<float>(image_value, "image", "f", "float32");
    const auto given = shaped_argument<std::uint8_t>(plan_value, "plan", "uint8",
                                                     {static_cast<py::ssize_t>(sizeof(CutPlan))});
    CutPlan plan;
    std::memcpy(&plan, given.data(), sizeof(plan));
    Array<float> log_odds({plan.edge.rows, plan.edge.cols});
    std::fill_n(log_odds.mutable_data(), log_odds.size(), std::nanf(""));
    EdgeOutcome outcome = {};
    {
        py::gil_scoped_release release;
        outcome = evidence_on_host(view(image), plan, network, backwards, log_odds.mutable_data());
    }
    return py::make_tuple(std::move(log_odds), outcome.contrast, outcome.threshold.log_odds,
                          outcome.threshold.expected_dice);
}

}  // namespace

void bind_cut(py::module_& module) {
    using namespace pybind11::literals;
    module.def("cut_block", &cut_block, "images"_a, "plans"_a, "seeds"_a, "network"_a,
               "backwards"_a = false,
               R"(The GPU's cuts, run by the CPU a thread at a time.

Parameters
----------
images : float32 [N, H, W]
    Finite, within 0 and 1.
plans, seeds : arrays
    From dsnet._C.plan_cuts.
network : EdgeNetwork
backwards : bool
    Run the threads from the last to the first, which gives the same bits.

Returns
-------
masks, trimaps : uint8 [N, H, W]
priors : float32 [N, H, W]
    The cut's probabilities where the trimap is unknown.
results : CUT_RESULT [N]
    `fallback`, `value` and `expected_dice` as cut_recist's; -1 where a plan without rows did not want a cut, the
    rest is 0 then.)");
    module.def("evidence_block", &evidence_block, "image"_a, "plan"_a, "network"_a,
               "backwards"_a = false,
               R"(The GPU's edge model, run by the CPU a thread at a time.

Parameters
----------
image : float32 [H, W]
plan : uint8 [CUT_PLAN_BYTES]
    One of dsnet._C.plan_cuts.
network : EdgeNetwork
backwards : bool
    Run the threads from the last to the first, which gives the same bits.

Returns
-------
log_odds : float32 [h, w]
    Of the mark's window; not a number where the contrast is too small.
contrast : float
threshold : float
    From where on log-odds are lesion.
expected_dice : float
    What Dice that may have; 0 where the contrast is too small, as the threshold then is.)");
}

}  // namespace dsnet

// Bindings of RECIST marks' cuts: by the CPU, and what a GPU needs to know for its own.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <utility>

#include "base/kept.h"
#include "cut/cut.h"
#include "cut/plan.h"
#include "python/arguments.h"
#include "python/edge_network.h"

namespace dsnet {
namespace {

py::tuple cut_recist_binding(const py::object& image_value, const py::object& coordinates,
                             const EdgeNetwork& network) {
    const auto image = image_argument<float>(image_value, "image", "f", "float32");
    const RecistMark mark = mark_argument(coordinates, "coordinates");
    if (image.size() == 0 || (mark_problems(mark, image.shape(0), image.shape(1)) & kOutside))
        throw py::value_error("coordinates must touch the image of shape " + shape_text(image) +
                              ", got " + repr_text(coordinates));
    Array<bool> mask({image.shape(0), image.shape(1)});
    Array<float> log_odds({image.shape(0), image.shape(1)});
    const Image<std::uint8_t> found = writable(mask);
    const Image<float> evidence = writable(log_odds);
    CutOutcome outcome;
    {
        py::gil_scoped_release release;
        thread_local CutWorkspace workspace;
        const Lent lent(workspace, image.size());
        outcome = cut_recist(view(image), mark, network, *lent, found, evidence);
    }
    return py::make_tuple(std::move(mask), std::move(log_odds), static_cast<int>(outcome.fallback),
                          outcome.value, outcome.expected_dice);
}

py::tuple plan_cuts(const Array<double>& coordinates, py::ssize_t rows, py::ssize_t cols) {
    if (coordinates.ndim() != 2 || coordinates.shape(1) != 8)
        throw py::value_error("coordinates must have shape [N, 8], got " + shape_text(coordinates));
    if (rows < 3 || cols < 3)
        throw py::value_error("rows and cols must be at least 3, got " + std::to_string(rows) +
                              " and " + std::to_string(cols));
    const py::ssize_t count = coordinates.shape(0), words = (cols + 63) / 64;
    Array<std::uint8_t> plans({count, static_cast<py::ssize_t>(sizeof(CutPlan))});
    Array<std::uint64_t> seeds({count, rows, words});
    for (py::ssize_t i = 0; i < count; ++i) {
        const double* const mark = coordinates.data() + 8 * i;
        if (!are_usable(mark) || (mark_problems(mark_as_given(mark), rows, cols) & kOutside))
            throw py::value_error("coordinates of mark " + std::to_string(i) +
                                  " must be finite and touch the image, got " +
                                  repr_text(coordinates[py::int_(i)]));
        reinterpret_cast<CutPlan*>(plans.mutable_data())[i] =
            plan_cut(mark_as_given(mark), rows, cols, seeds.mutable_data() + i * rows * words);
    }
    return py::make_tuple(std::move(plans), std::move(seeds));
}

}  // namespace

void bind_cut(py::module_& module) {
    using namespace pybind11::literals;
    bind_edge_network(module);
    PYBIND11_NUMPY_DTYPE(CutResult, value, expected_dice, fallback, unused);
    module.attr("CUT_RESULT") = py::dtype::of<CutResult>();
    module.attr("CUT_PLAN_BYTES") = sizeof(CutPlan);
    module.attr("EDGE_NETWORK_BYTES") = sizeof(EdgeNetwork);
    module.def("cut_recist", &cut_recist_binding, "image"_a, "coordinates"_a, "network"_a,
               R"(Strategy 3's cut of an image; see dsnet.labeling.cut_recist.

Parameters
----------
image : float32 [H, W]
    Finite.
coordinates : 8 floats
    x1 y1 x2 y2 of the long axis, then of the short one; the mark touches the image.
network : EdgeNetwork

Returns
-------
mask : bool [H, W]
log_odds : float32 [H, W]
fallback : int
    0 where the cut worked; 1 no contrast, 2 no seed in the image, 3 an area gone astray.
value : float
    The contrast or the share of the ellipse's area that was not good enough.
expected_dice : float
    Of the cut, by the evidence alone; 0 without contrast.

Raises
------
TypeError
    If ``image`` is not an array of float32.
ValueError
    If it is not two-dimensional, or the coordinates are of no use for it.)");
    module.def("plan_cuts", &plan_cuts, "coordinates"_a, "rows"_a, "cols"_a,
               R"(What a GPU needs to know of RECIST marks to cut their lesions.

Parameters
----------
coordinates : float64 [N, 8]
    Marks that touch the image: x1 y1 x2 y2 of the long axis, then of the short one.
rows, cols : int
    Of the images, at least 3.

Returns
-------
plans : uint8 [N, CUT_PLAN_BYTES]
seeds : uint64 [N, rows, (cols + 63) // 64]
    Bits of the pixels that are lesion for certain, the lowest first.

Raises
------
ValueError
    If a mark is not finite or outside the image, or the images are smaller.)");
}

}  // namespace dsnet

// Bindings of RECIST marks and of strategy 3's cut.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <utility>

#include "python/arguments.h"
#include "cut/cut.h"

namespace dsnet {
namespace {

RecistMark mark_argument(const Array<double>& coordinates) {
    if (coordinates.size() != 8)
        throw py::value_error("coordinates must be 8 numbers, got shape " +
                              shape_text(coordinates));
    if (!are_usable(coordinates.data()))
        throw py::value_error("coordinates must be finite and within +-1e9 pixels");
    return mark_as_given(coordinates.data());
}

void copy_weights(const Array<float>& from, const char* name, float* to,
                  std::initializer_list<py::ssize_t> shape) {
    bool fits = from.ndim() == static_cast<py::ssize_t>(shape.size());
    py::ssize_t axis = 0;
    for (const py::ssize_t size : shape) fits = fits && from.shape(axis++) == size;
    if (!fits)
        throw py::value_error(std::string(name) + " has another shape than the network's, got " +
                              shape_text(from));
    std::copy_n(from.data(), from.size(), to);
}

EdgeNetwork make_network(const Array<float>& weight1, const Array<float>& bias1,
                         const Array<float>& weight2, const Array<float>& bias2,
                         const Array<float>& weight3, const Array<float>& bias3) {
    EdgeNetwork network;
    copy_weights(weight1, "weight1", &network.weight1[0][0], {kHidden, kFeatures});
    copy_weights(bias1, "bias1", network.bias1, {kHidden});
    copy_weights(weight2, "weight2", &network.weight2[0][0], {kHidden, kHidden});
    copy_weights(bias2, "bias2", network.bias2, {kHidden});
    copy_weights(weight3, "weight3", network.weight3, {1, kHidden});
    copy_weights(bias3, "bias3", &network.bias3, {1});
    return network;
}

py::tuple cut_recist_binding(const py::object& image_value, const Array<double>& coordinates,
                             const EdgeNetwork& network) {
    const auto image = image_argument<float>(image_value, "image", "f", "float32");
    const RecistMark mark = mark_argument(coordinates);
    if (image.size() == 0 || (mark_problems(mark, image.shape(0), image.shape(1)) & kOutside))
        throw py::value_error("the mark must touch the image of shape " + shape_text(image));
    Array<bool> mask({image.shape(0), image.shape(1)});
    Array<float> log_odds({image.shape(0), image.shape(1)});
    const Image<std::uint8_t> found(reinterpret_cast<std::uint8_t*>(mask.mutable_data()),
                                    mask.shape(0), mask.shape(1));
    const Image<float> evidence(log_odds.mutable_data(), mask.shape(0), mask.shape(1));
    CutOutcome outcome;
    {
        py::gil_scoped_release release;
        thread_local CutWorkspace workspace;
        outcome = cut_recist(view(image), mark, network, workspace, found, evidence);
    }
    return py::make_tuple(std::move(mask), std::move(log_odds),
                          static_cast<int>(outcome.fallback), outcome.value);
}

py::tuple border_cut(const py::object& log_odds_value, const py::object& seeds_value,
                     double border_cost) {
    const auto log_odds = image_argument<float>(log_odds_value, "log_odds", "f", "float32");
    const auto seeds = image_argument<std::uint8_t>(seeds_value, "seeds", "bu", "bool or uint8");
    if (log_odds.shape(0) != seeds.shape(0) || log_odds.shape(1) != seeds.shape(1))
        throw py::value_error("seeds must have the shape of log_odds, " + shape_text(log_odds) +
                              ", got " + shape_text(seeds));
    Array<bool> mask({log_odds.shape(0), log_odds.shape(1)});
    const Image<std::uint8_t> found(reinterpret_cast<std::uint8_t*>(mask.mutable_data()),
                                    mask.shape(0), mask.shape(1));
    std::ptrdiff_t searched = 0;
    {
        py::gil_scoped_release release;
        thread_local BorderCut cut;
        searched = cut.solve(view(log_odds), view(seeds), border_cost, found);
    }
    return py::make_tuple(std::move(mask), searched);
}

py::dict rasterise(const Array<double>& coordinates, py::ssize_t rows, py::ssize_t cols,
                   double scale) {
    const RecistMark mark = mark_argument(coordinates);
    const auto draw = [&](auto add) {
        Array<std::uint8_t> mask({rows, cols});
        std::fill_n(mask.mutable_data(), mask.size(), std::uint8_t{0});
        add(Image<std::uint8_t>(mask.mutable_data(), rows, cols));
        return mask.attr("view")("bool");
    };
    py::dict drawn;
    drawn["ellipse"] = draw([&](auto out) { add_ellipse(mark, scale, 0, 0, out); });
    drawn["quadrilateral"] = draw([&](auto out) { add_quadrilateral(mark, 0, 0, out); });
    drawn["axes"] = draw([&](auto out) { add_axes(mark, 0, 0, out); });
    drawn["problems"] = mark_problems(mark, rows, cols);
    return drawn;
}

}  // namespace

void bind_cut(py::module_& module) {
    using namespace pybind11::literals;
    py::class_<EdgeNetwork>(module, "EdgeNetwork",
                            "The edge model's weights, float32, on the features as they are.")
        .def(py::init(&make_network), "weight1"_a, "bias1"_a, "weight2"_a, "bias2"_a, "weight3"_a,
             "bias3"_a);
    module.def("cut_recist", &cut_recist_binding, "image"_a, "coordinates"_a, "network"_a,
               R"(Strategy 3's cut of a finite image; see dsnet.labeling.cut_recist.

Returns
-------
mask : bool [H, W]
log_odds : float32 [H, W]
fallback : int
    0 where the cut worked; 1 no contrast, 2 no seed in the image, 3 an area gone astray.
value : float
    The contrast or the share of the ellipse's area that was not good enough.)");
    module.def("border_cut", &border_cut, "log_odds"_a, "seeds"_a, "border_cost"_a,
               R"(Minimum cut of log-odds against the length of the border.

Parameters
----------
log_odds : float32 [H, W]
    Within +-1000.
seeds : bool or uint8 [H, W]
    Lesion for certain.
border_cost : float
    Of two neighbours side by side; those across cost 1 / sqrt(2) of it.

Returns
-------
mask : bool [H, W]
searched : int
    Pixels that had to be searched; the others were decided by their neighbours.)");
    module.def("rasterise_recist", &rasterise, "coordinates"_a, "rows"_a, "cols"_a,
               "scale"_a = 1.0, R"(A mark's masks: ellipse, quadrilateral, axes, and its problems as bits.)");
}

}  // namespace dsnet

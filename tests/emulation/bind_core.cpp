// Bindings of parts of dsnet_core that the product reaches inside other work alone.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/order_simd.h"
#include "mark/recist.h"
#include "masks/components.h"
#include "python/arguments.h"

namespace dsnet {
namespace {

ComponentsWorkspace& workspace() {
    thread_local ComponentsWorkspace kept;
    return kept;
}

// Copies a mask, 0 or 1 each, for functions that change it.
Array<bool> copied(const Array<std::uint8_t>& mask) {
    Array<bool> out({mask.shape(0), mask.shape(1)});
    const std::uint8_t* const from = mask.data();
    std::transform(from, from + mask.size(), out.mutable_data(),
                   [](std::uint8_t pixel) { return pixel != 0; });
    return out;
}

Array<bool> fill_holes_binding(const py::object& mask_value) {
    Array<bool> out = copied(mask_argument(mask_value));
    const Image<std::uint8_t> result = writable(out);
    py::gil_scoped_release release;
    fill_holes(result, workspace());
    return out;
}

Array<bool> keep_seeded_part_binding(const py::object& mask_value, const py::object& seeds_value) {
    Array<bool> out = copied(mask_argument(mask_value));
    const auto seeds = image_argument<std::uint8_t>(seeds_value, "seeds", "bu", "bool or uint8");
    check_shape(seeds, out, "seeds", "mask");
    const Image<std::uint8_t> result = writable(out);
    py::gil_scoped_release release;
    keep_seeded_part(result, view(seeds), workspace());
    return out;
}

py::dict rasterise_recist(const py::object& coordinates, py::ssize_t rows, py::ssize_t cols,
                          double scale) {
    const RecistMark mark = mark_argument(coordinates, "coordinates");
    const auto draw = [&](auto add) {
        Array<std::uint8_t> mask({rows, cols});
        std::fill_n(mask.mutable_data(), mask.size(), std::uint8_t{0});
        add(writable(mask));
        return mask.attr("view")("bool");
    };
    py::dict drawn;
    drawn["ellipse"] = draw([&](auto out) { add_ellipse(mark, scale, 0, 0, out); });
    drawn["quadrilateral"] = draw([&](auto out) { add_quadrilateral(mark, 0, 0, out); });
    drawn["axes"] = draw([&](auto out) { add_axes(mark, 0, 0, out); });
    drawn["problems"] = mark_problems(mark, rows, cols);
    return drawn;
}

py::tuple order_statistic(const py::object& values_value, const py::object& measured_value,
                          float above, float highest, py::ssize_t rank) {
    const auto values = image_argument<float>(values_value, "values", "f", "float32");
    const auto measured = image_argument<float>(measured_value, "measured", "f", "float32");
    check_shape(measured, values, "measured", "values");
    const std::ptrdiff_t rows = values.shape(0), cols = values.shape(1);
    const std::ptrdiff_t stride = (cols + kLanes - 1) / kLanes * kLanes;
    // Beyond the columns are values that would be chosen.
    const auto padded = [&](const float* from, float beyond) {
        std::vector<float> plane(static_cast<std::size_t>(rows * stride), beyond);
        for (std::ptrdiff_t y = 0; y < rows; ++y)
            std::copy_n(from + y * cols, cols, plane.data() + y * stride);
        return plane;
    };
    const std::vector<float> value = padded(values.data(), 0.0f);
    const std::vector<float> measure = padded(measured.data(), highest);
    std::vector<std::int32_t> keys(static_cast<std::size_t>(rows * cols + 4 * kLanes));
    const Planes planes = {value.data(), measure.data(), rows, cols, stride};
    const std::ptrdiff_t count = order_simd().collect(planes, above, highest, keys.data());
    if (rank < 0 || rank >= count) return py::make_tuple(count, py::none(), py::none());
    float found[2];
    order_simd().select(keys.data(), count, rank, found);
    return py::make_tuple(count, found[0], found[1]);
}

}  // namespace

void bind_core(py::module_& module) {
    using namespace pybind11::literals;
    module.def(
        "fill_holes", &fill_holes_binding, "mask"_a,
        R"(The mask, bool [H, W], with its holes: what is not 4-connected to the image's border.

Raises TypeError if ``mask`` is not an array of bool or uint8, ValueError if it is not
two-dimensional.)");
    module.def("keep_seeded_part", &keep_seeded_part_binding, "mask"_a, "seeds"_a,
               R"(The 4-connected part of a mask, bool [H, W], that holds the most seeds.

Of several the first in reading order; the largest part where none holds a seed. Raises TypeError
if an argument is not an array of bool or uint8, ValueError if it is not two-dimensional or the
shapes differ.)");
    module.def(
        "order_statistic", &order_statistic, "values"_a, "measured"_a, "above"_a, "highest"_a,
        "rank"_a,
        R"(How many pixels are measured above `above` and not above `highest`; of their values
the one that `rank` others precede and the one after it, None where there is none.)");
    module.def("rasterise_recist", &rasterise_recist, "coordinates"_a, "rows"_a, "cols"_a,
               "scale"_a = 1.0,
               R"(A mark's masks, bool [rows, cols]: ellipse (its diameters times `scale`),
quadrilateral and axes; and its problems as bits.)");
}

}  // namespace dsnet

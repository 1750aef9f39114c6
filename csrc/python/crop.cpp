// Binding of crops: where they lie, and their pixels.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "crop/pixels.h"
#include "crop/plan.h"
#include "crop/weights.h"
#include "python/arguments.h"

namespace dsnet {
namespace {

using Pair = std::pair<double, double>;
using Shape = std::pair<std::int64_t, std::int64_t>;

// Of both axes of all weights: 134 MB.
constexpr double kMostWeights = 1 << 27;
constexpr double kFar = 1e12;

// size, offset, scale, length, beyond
using AxisTuple = std::tuple<std::int64_t, double, double, std::int64_t, double>;

CropAxis axis_argument(const AxisTuple& axis) {
    const auto& [size, offset, scale, length, beyond] = axis;
    if (size < 1 || size > kMostPixels || length < 1 || length > kMostPixels)
        throw py::value_error("size and length must be at least 1, got " + std::to_string(size) +
                              " and " + std::to_string(length));
    if (!(std::abs(offset) <= kFar))
        throw py::value_error("offset must be within an image's reach, got " +
                              repr_text(py::float_(offset)));
    const auto pixels = static_cast<double>(size);
    if (!(scale > 0) || !std::isfinite(scale) || pixels * (pixels / scale) > kMostWeights)
        throw py::value_error("scale must be > 0 and not take more pixels than an image has, got " +
                              repr_text(py::float_(scale)));
    return {size, offset, scale, length, beyond};
}

// Python's own: rows and columns as slices.
py::object slice_of(std::ptrdiff_t first, std::ptrdiff_t last) {
    const py::int_ begin(first), end(last);
    auto made = py::reinterpret_steal<py::object>(PySlice_New(begin.ptr(), end.ptr(), nullptr));
    if (!made) throw py::error_already_set();
    return made;
}

py::tuple slices_of(const Box& box) {
    return py::make_tuple(slice_of(box.top, box.bottom), slice_of(box.left, box.right));
}

// Where a crop lies in an image of rows x cols.
struct PlannedCrop {
    CropPlan plan;
    std::int64_t size, rows, cols;
};

py::tuple mark_of(const CropPlan& plan) {
    const double* m = plan.mark;
    return py::make_tuple(m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7]);
}

py::tuple pair_of(Point point) { return py::make_tuple(point.x, point.y); }

py::tuple parts(const PlannedCrop& planned) {
    const CropPlan& plan = planned.plan;
    return py::make_tuple(pair_of(plan.offset), pair_of(plan.scale), slices_of(plan.box),
                          py::make_tuple(slices_of(plan.around_mark), slices_of(plan.at_mark)),
                          mark_of(plan));
}

bool plan_one(const py::handle& mark, Point scale, double ring, PlannedCrop& planned) {
    const auto coordinates = mark.attr("numbers").cast<std::array<double, 8>>();
    return plan_crop(coordinates.data(), planned.rows, planned.cols, planned.size, scale, ring,
                     planned.plan);
}

py::tuple planned_crops(const py::list& marks, const Shape& shape, std::int64_t size,
                        const std::optional<py::list>& scales, const py::list& looks, double ring) {
    if (!(ring >= 0 && ring <= kFar))
        throw py::value_error("ring must be within an image's reach, got " +
                              repr_text(py::float_(ring)));
    for (const py::list* list : {&looks, scales ? &*scales : &looks})
        if (list->size() != marks.size())
            throw py::value_error("scales and looks must be as many as the marks, " +
                                  std::to_string(marks.size()) + ", got " +
                                  std::to_string(list->size()));
    py::list plans(marks.size());
    std::ptrdiff_t bottom = 0, right = 0;
    for (std::size_t i = 0; i < marks.size(); ++i) {
        PlannedCrop planned{{}, size, shape.first, shape.second};
        const py::object scale = scales ? py::object((*scales)[i]) : py::object();
        Point resized{1.0, 1.0};
        if (scale && !scale.is_none()) std::tie(resized.x, resized.y) = scale.cast<Pair>();
        if (marks[i].is_none() || (scale && scale.is_none()) ||
            !plan_one(marks[i], resized, ring, planned)) {
            plans[i] = py::none();
            continue;
        }
        Box box = planned.plan.box;
        if (looks[i].cast<bool>()) {
            const Box& around = planned.plan.around_mark;
            box.bottom = std::max(box.bottom, std::min<std::ptrdiff_t>(around.bottom, shape.first));
            box.right = std::max(box.right, std::min<std::ptrdiff_t>(around.right, shape.second));
        }
        bottom = std::max(bottom, box.bottom);
        right = std::max(right, box.right);
        plans[i] = planned;
    }
    return py::make_tuple(std::move(plans), bottom, right);
}

py::object crop_source(const AxisTuple& axis) {
    const SourceSpan span = source_span(axis_argument(axis));
    return slice_of(span.first, span.last);
}

py::array resampled(const Array<double>& piece, const AxisTuple& rows, const AxisTuple& columns) {
    const CropAxis down = axis_argument(rows), along = axis_argument(columns);
    if (down.size > kMostPixels / along.size)
        throw py::value_error("rows and columns must be of fewer pixels");
    const SourceSpan height = source_span(down), width = source_span(along);
    if (piece.ndim() != 2 || !is_aligned(piece) || piece.shape(0) != height.last - height.first ||
        piece.shape(1) != width.last - width.first)
        throw py::value_error("piece must be the pixels of both axes' sources, " +
                              std::to_string(height.last - height.first) + "x" +
                              std::to_string(width.last - width.first) + ", got shape " +
                              shape_text(piece));
    Array<double> values({down.size, along.size});
    const Image<double> to = writable(values);
    const Image<const double> from = view(piece);
    {
        py::gil_scoped_release release;
        resample(from, Weights(down), Weights(along), to);
    }
    return std::move(values);
}

Image<const std::uint16_t> codes_of(const PlannedCrop& planned,
                                    const py::array_t<std::uint16_t>& codes, const Box& box) {
    const Image<const std::uint16_t> image = codes_argument(codes);
    if (std::min<std::ptrdiff_t>(box.bottom, planned.rows) > image.rows ||
        std::min<std::ptrdiff_t>(box.right, planned.cols) > image.cols)
        throw py::value_error("codes must be what is looked at, at least, got shape " +
                              shape_text(codes));
    return image;
}

Pair window_argument(const py::handle& value) {
    const auto window = value.cast<Pair>();
    if (!(window.first < window.second && std::isfinite(window.first) &&
          std::isfinite(window.second)))
        throw py::value_error("window must have low < high in HU, got " + repr_text(value));
    return window;
}

py::array shown(const PlannedCrop& planned, const py::array_t<std::uint16_t>& codes, double zero,
                const py::handle& window) {
    const CropPlan& plan = planned.plan;
    const Image<const std::uint16_t> image = codes_of(planned, codes, plan.box);
    const auto [low, high] = window_argument(window);
    Array<float> values({planned.size, planned.size});
    show_codes(image, {planned.size, plan.offset.y, plan.scale.y, planned.rows},
               {planned.size, plan.offset.x, plan.scale.x, planned.cols}, {zero, low, high},
               writable(values));
    return std::move(values);
}

// level, share, the window where more than that share of the ring is below the level, another one
using RingRule = std::tuple<std::int32_t, double, py::object, py::object>;

py::object window_by_ring(const PlannedCrop& planned, const py::array_t<std::uint16_t>& codes,
                          const RingRule& rule) {
    const auto& [level, share, if_below, otherwise] = rule;
    const Image<const std::uint16_t> image = codes_of(planned, codes, planned.plan.around_mark);
    const Counted outer = count_below(image, planned.plan.around_mark, level);
    const Counted inner = count_below(image, planned.plan.at_mark, level);
    const auto below = static_cast<double>(outer.below - inner.below);
    return below > share * static_cast<double>(outer.pixels - inner.pixels) ? if_below : otherwise;
}

py::tuple crop(const PlannedCrop& planned, const py::array_t<std::uint16_t>& codes, double zero,
               const py::object& window, const RingRule& rule) {
    const py::object chosen = window.is_none() ? window_by_ring(planned, codes, rule) : window;
    const CropPlan& plan = planned.plan;
    return py::make_tuple(shown(planned, codes, zero, chosen), chosen, pair_of(plan.offset),
                          pair_of(plan.scale), mark_of(plan));
}

}  // namespace

void bind_crop(py::module_& module) {
    using namespace pybind11::literals;
    py::class_<PlannedCrop>(module, "PlannedCrop", "Where a crop around a mark lies in its image.")
        .def_property_readonly("parts", &parts,
                               R"((offset, scale, box, rings, mark).

(x, y) each; rows and columns that the crop is made of; a pair of them, the mark's box with what is
around it, and the box alone; the mark's coordinates in the crop.)")
        .def("shown", &shown, "codes"_a.noconvert(), "zero"_a, "window"_a,
             R"(The crop of a CT slice in a window of HU.

Parameters
----------
codes : uint16 [h, w]
    HU + zero of the slice's upper left part, with the crop's source; columns are contiguous.
zero : float
    The code of 0 HU.
window : (low, high)

Returns
-------
float32 [size, size]
    (HU - low) / (high - low) in float64, within 0..1. HU that are resampled become float32 before.

Raises
------
ValueError
    If low is not below high, or the source is not in `codes`.)")
        .def("crop", &crop, "codes"_a.noconvert(), "zero"_a, "window"_a, "rule"_a,
             R"(The crop of a CT slice, and what a `Crop` has of its plan.

Parameters
----------
codes, zero
    As `shown` takes them; with what is around the mark where there is no window.
window : (low, high) or None
    None: by the rule.
rule : (level, share, window, window)
    The first window where more than this share of the pixels around the mark have a code below the
    level, the second elsewhere.

Returns
-------
image : float32 [size, size]
    As `shown` gives it.
window : (low, high)
    As it came.
offset, scale, mark
    As in `parts`.

Raises
------
ValueError
    As `shown` does.)");
    module.def("planned_crops", &planned_crops, "marks"_a, "shape"_a, "size"_a, "scales"_a,
               "looks"_a, "ring"_a,
               R"(Where crops around marks in one image lie.

Parameters
----------
marks : list of RecistMark, or None
shape : (H, W)
    Of the image.
size : int
    Of the crops.
scales : list of (x, y) or None, or None
    Of each, crop pixels per pixel of the image, where the mark need not be shrunk; 1 of all by None
    in place of the list.
looks : list of bool
    Of each, whether what is around the mark is looked at, too.
ring : float
    Pixels around a mark's box.

Returns
-------
plans : list of PlannedCrop, or None
    None where there is no mark or scale, or no crop can be cut.
rows, columns : int
    From the upper left corner, of what all of them are made of and look at.

Raises
------
ValueError
    If `ring` is below 0, or out of range, or the lists are of different lengths.)");
    module.def("crop_source", &crop_source, "axis"_a,
               R"(Which pixels of an image one axis of a crop is made of, a slice.

Parameters
----------
axis : (size, offset, scale, length, beyond)
    `size` pixels of 1 / `scale` from `offset` on, of `length` in the image; what its edge pixels
    count that go on beyond the border.

Raises
------
ValueError
    If a number is out of range.)");
    module.def("resampled", &resampled, "piece"_a.noconvert(), "rows"_a, "columns"_a,
               R"(A crop by the share of each of an image's pixels.

Sums go down the rows, then along the columns, in float64.

Parameters
----------
piece : float64 [h, w]
    The image's pixels in the `crop_source` of both axes; contiguous.
rows, columns : (size, offset, scale, length, beyond)
    As `crop_source` has them.

Returns
-------
float64 [rows, columns]

Raises
------
ValueError
    If `piece` has another shape, or a number is out of range.)");
}

}  // namespace dsnet

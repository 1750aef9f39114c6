// Binding of crops: where they lie, and their pixels.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cmath>
#include <cstdint>
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
using SlicePair = std::pair<py::object, py::object>;
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

SourceSpan span_of(const py::handle& value) {
    Py_ssize_t first = 0, last = 0, step = 0;
    if (PySlice_Check(value.ptr()) && PySlice_Unpack(value.ptr(), &first, &last, &step) != 0)
        throw py::error_already_set();
    if (step != 1 || first < 0)
        throw py::value_error("box must be of slices from 0 or more on, got " + repr_text(value));
    return {first, last};
}

Box box_argument(const SlicePair& box) {
    const SourceSpan rows = span_of(box.first), cols = span_of(box.second);
    return {rows.first, cols.first, rows.last, cols.last};
}

py::object planned_crop(const std::array<double, 8>& coordinates, const Shape& shape,
                        std::int64_t size, const Pair& scale, double ring) {
    if (!(ring >= 0 && ring <= kFar))
        throw py::value_error("ring must be within an image's reach, got " +
                              repr_text(py::float_(ring)));
    CropPlan plan;
    if (!plan_crop(coordinates.data(), shape.first, shape.second, size, {scale.first, scale.second},
                   ring, plan))
        return py::none();
    const double* m = plan.mark;
    return py::make_tuple(py::make_tuple(plan.offset.x, plan.offset.y),
                          py::make_tuple(plan.scale.x, plan.scale.y), slices_of(plan.box),
                          py::make_tuple(slices_of(plan.around_mark), slices_of(plan.at_mark)),
                          py::make_tuple(m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7]));
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

py::array shown_codes(const py::array_t<std::uint16_t>& codes, const Shape& shape,
                      std::int64_t size, const Pair& offset, const Pair& scale, double zero,
                      const Pair& window) {
    const Image<const std::uint16_t> image = codes_argument(codes);
    const CropAxis rows = axis_argument({size, offset.second, scale.second, shape.first, 1.0});
    const CropAxis columns = axis_argument({size, offset.first, scale.first, shape.second, 1.0});
    if (size > kMostPixels / size)
        throw py::value_error("size must be of fewer pixels, got " + std::to_string(size));
    if (source_span(rows).last > image.rows || source_span(columns).last > image.cols)
        throw py::value_error("codes must be the crop's source at least, got shape " +
                              shape_text(codes));
    if (!(window.first < window.second && std::isfinite(window.first) &&
          std::isfinite(window.second)))
        throw py::value_error("window must have low < high in HU, got " +
                              repr_text(py::make_tuple(window.first, window.second)));
    Array<float> values({size, size});
    show_codes(image, rows, columns, {zero, window.first, window.second}, writable(values));
    return std::move(values);
}

py::tuple ring_below(const py::array_t<std::uint16_t>& codes,
                     const std::pair<SlicePair, SlicePair>& rings, std::int32_t level) {
    const Image<const std::uint16_t> image = codes_argument(codes);
    const Counted outer = count_below(image, box_argument(rings.first), level);
    const Counted inner = count_below(image, box_argument(rings.second), level);
    return py::make_tuple(outer.below - inner.below, outer.pixels - inner.pixels);
}

}  // namespace

void bind_crop(py::module_& module) {
    using namespace pybind11::literals;
    module.def("planned_crop", &planned_crop, "coordinates"_a, "shape"_a, "size"_a, "scale"_a,
               "ring"_a,
               R"(Where a crop around a mark lies.

Parameters
----------
coordinates : tuple of 8 floats
    As `RecistMark.coordinates`.
shape : (H, W)
    Of the image.
size : int
    Of the crop.
scale : (x, y)
    Crop pixels per pixel of the image, where the mark need not be shrunk.
ring : float
    Pixels around the mark's box.

Returns
-------
(offset, scale, box, rings, mark) or None
    (x, y) each; rows and columns that the crop is made of; a pair of them, the mark's box with what
    is around it, and the box alone; the mark's coordinates in the crop. None where no crop can be
    cut.

Raises
------
ValueError
    If `ring` is below 0, or out of range.)");
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
    module.def("shown_codes", &shown_codes, "codes"_a.noconvert(), "shape"_a, "size"_a, "offset"_a,
               "scale"_a, "zero"_a, "window"_a,
               R"(A crop of a CT slice in a window of HU.

Parameters
----------
codes : uint16 [h, w]
    HU + zero of the slice's upper left part, with the crop's source; columns are contiguous.
shape : (H, W)
    Of the slice: its edge pixels go on beyond it.
size, offset, scale
    As `planned_crop` has them.
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
    If low is not below high, the source is not in `codes`, or a number is out of range.)");
    module.def("ring_below", &ring_below, "codes"_a.noconvert(), "rings"_a, "level"_a,
               R"(Around a mark how many codes are below a level, and how many there are.

Parameters
----------
codes : uint16 [H, W]
    Columns are contiguous.
rings : pair of (slice, slice)
    As `planned_crop` has them: what is in the first and not in the second counts, but for what is
    beyond the codes.
level : int

Raises
------
ValueError
    If a slice begins below 0, or has a step.)");
}

}  // namespace dsnet

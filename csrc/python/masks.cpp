// Bindings of distances and morphology.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <string>

#include "base/kept.h"
#include "masks/distance.h"
#include "masks/morphology.h"
#include "python/arguments.h"

namespace dsnet {
namespace {

// One of each for each thread that ever asks: a second call of the same size allocates
// nothing.
struct Workspaces {
    MorphologyWorkspace morphology;
    DistanceWorkspace distance;
};

Workspaces& workspaces() {
    thread_local Workspaces kept;
    return kept;
}

Array<double> distance_squared_binding(const py::object& mask_value, double row_spacing,
                                       double column_spacing) {
    const auto mask = mask_argument(mask_value);
    const Spacing spacing = spacing_argument(row_spacing, column_spacing);
    Array<double> out({mask.shape(0), mask.shape(1)});
    const Image<double> result = writable(out);
    {
        py::gil_scoped_release release;
        distance_squared(view(mask), true, spacing, result);
    }
    return out;
}

double inscribed_diameter_binding(const py::object& mask_value, double row_spacing,
                                  double column_spacing) {
    const auto mask = mask_argument(mask_value);
    const Spacing spacing = spacing_argument(row_spacing, column_spacing);
    py::gil_scoped_release release;
    const Lent kept(workspaces(), mask.size());
    const Box box = pack_mask(view(mask), kept->morphology);
    return inscribed_diameter(view(mask), box, spacing, kept->distance);
}

template <bool kErode>
Array<bool> erode_or_dilate(const py::object& mask_value, double radius, double row_spacing,
                            double column_spacing, const std::string& shape) {
    const auto mask = mask_argument(mask_value);
    check_margin(radius, "radius");
    const Spacing spacing = spacing_argument(row_spacing, column_spacing);
    const bool ellipse = shape == "opencv-ellipse";
    if (!ellipse && shape != "disc")
        throw py::value_error("shape must be disc or opencv-ellipse, got '" + shape + "'");
    Array<bool> out({mask.shape(0), mask.shape(1)});
    const Image<std::uint8_t> result = writable(out);
    {
        py::gil_scoped_release release;
        const Lent kept(workspaces(), mask.size());
        MorphologyWorkspace& workspace = kept->morphology;
        StructuringElement& element = kErode ? workspace.erosion : workspace.dilation;
        if (ellipse) {
            // Beyond 2**30 pixels no image tells elements apart.
            const auto pixels = [radius](double step) {
                return static_cast<std::ptrdiff_t>(std::min(radius / step, 1073741824.0));
            };
            make_opencv_ellipse(pixels(spacing.row), pixels(spacing.column), mask.shape(0),
                                mask.shape(1), element);
        } else {
            make_disc(radius, spacing, mask.shape(0), mask.shape(1), element);
        }
        if (kErode)
            erode(view(mask), element, workspace, result);
        else
            dilate(view(mask), element, workspace, result);
    }
    return out;
}

}  // namespace

void bind_masks(py::module_& module) {
    using namespace pybind11::literals;
    module.attr("MOST_PIXELS") = kMostPixels;
    module.attr("MOST_DEVICE_PIXELS") = kMostDevicePixels;
    module.def("distance_squared", &distance_squared_binding, "mask"_a, "row_spacing"_a = 1.0,
               "column_spacing"_a = 1.0,
               R"(Squared Euclidean distance to the nearest pixel outside the mask.

Parameters
----------
mask : bool or uint8 [H, W]
    Non-zero inside.
row_spacing, column_spacing : float
    Distance of neighbouring pixel centres along a column and along a row, in mm or pixels.

Returns
-------
float64 [H, W]
    From each pixel's centre to the nearest centre where ``mask == 0``, in squared units of the
    spacing: 0 outside the mask, ``inf`` everywhere when no pixel is outside.

Raises
------
TypeError
    If ``mask`` is not an array of bool or uint8.
ValueError
    If ``mask`` is not two-dimensional or a spacing is not positive and finite.

Notes
-----
Felzenszwalb and Huttenlocher, "Distance Transforms of Sampled Functions", 2012. Exact: with equal
spacings of 1 every value is a whole number.)");

    module.def("erode", &erode_or_dilate<true>, "mask"_a, "radius"_a, "row_spacing"_a = 1.0,
               "column_spacing"_a = 1.0, "shape"_a = "disc",
               R"(Erosion of a mask.

Parameters
----------
mask : bool or uint8 [H, W]
    Non-zero inside.
radius : float
    Of the structuring element, in units of the spacing.
row_spacing, column_spacing : float
    Distance of neighbouring pixel centres along a column and along a row.
shape : {"disc", "opencv-ellipse"}
    The pixels whose centres lie within ``radius``, or OpenCV's ``MORPH_ELLIPSE`` element of
    ``2 * floor(radius / spacing) + 1`` rows and columns.

Returns
-------
bool [H, W]
    True where the element holds no pixel outside the mask. What lies beyond the image's border
    does not count.

Raises
------
TypeError
    If ``mask`` is not an array of bool or uint8.
ValueError
    If ``mask`` is not two-dimensional, ``radius`` is negative or not finite, a spacing is not
    positive and finite, or ``shape`` is another.)");

    module.def(
        "dilate", &erode_or_dilate<false>, "mask"_a, "radius"_a, "row_spacing"_a = 1.0,
        "column_spacing"_a = 1.0, "shape"_a = "disc",
        R"(Dilation of a mask: True where the element around a pixel holds a pixel of the mask.

Parameters, Returns and Raises are those of ``erode``.)");

    module.def("inscribed_diameter", &inscribed_diameter_binding, "mask"_a, "row_spacing"_a = 1.0,
               "column_spacing"_a = 1.0,
               R"(Diameter of the largest disc inside a mask and the image.

Parameters
----------
mask : bool or uint8 [H, W]
    Non-zero inside.
row_spacing, column_spacing : float
    Distance of neighbouring pixel centres along a column and along a row.

Returns
-------
float
    Twice the largest distance from a pixel's centre to the nearest centre outside the mask or the
    image, less the mean spacing; 0 for an empty mask.

Raises
------
TypeError
    If ``mask`` is not an array of bool or uint8.
ValueError
    If ``mask`` is not two-dimensional or a spacing is not positive and finite.)");
}

}  // namespace dsnet

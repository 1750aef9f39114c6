// Binding of the quality scores.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cmath>
#include <cstdint>

#include "base/kept.h"
#include "python/arguments.h"
#include "quality/quality.h"

namespace dsnet {
namespace {

py::dict quality(const py::object& image_value, const py::object& alpha_value,
                 const py::object& trimap_value, const py::object& mark_value,
                 const py::object& reference_value, const py::object& rater_agreement,
                 const py::object& cut_worked, bool converged, double residual, double rtol) {
    const auto image = image_argument<float>(image_value, "image", "f", "float32");
    const auto alpha = image_argument<float>(alpha_value, "alpha", "f", "float32");
    const auto trimap = image_argument<std::uint8_t>(trimap_value, "trimap", "u", "uint8");
    check_shape(alpha, image, "alpha", "image");
    check_shape(trimap, image, "trimap", "image");
    if (image.shape(0) == 0 || image.shape(1) == 0)
        throw py::value_error("image must have H, W >= 1, got shape " + shape_text(image));
    QualityContext context;
    RecistMark mark;
    if (!mark_value.is_none()) {
        mark = mark_argument(mark_value, "mark");
        context.mark = &mark;
    }
    Array<std::uint8_t> reference;
    if (!reference_value.is_none()) {
        reference =
            image_argument<std::uint8_t>(reference_value, "reference", "bu", "bool or uint8");
        check_shape(reference, image, "reference", "image");
        context.reference = reference.data();
    }
    if (!rater_agreement.is_none()) context.rater_agreement = rater_agreement.cast<double>();
    if (!cut_worked.is_none())
        context.cut = cut_worked.cast<bool>() ? QualityContext::Cut::kWorked
                                              : QualityContext::Cut::kFellBack;
    context.converged = converged;
    context.residual = residual;
    context.rtol = rtol;
    QualityScores scores;
    {
        py::gil_scoped_release release;
        thread_local QualityWorkspace workspace;
        const Lent lent(workspace, image.size());
        scores = score(view(image), view(alpha), view(trimap), context, *lent);
    }
    py::dict found;
    const auto put = [&found](const char* name, double value) {
        if (!std::isnan(value)) found[name] = value;
    };
    put("axes_agreement", scores.axes_agreement);
    put("mark_inside", scores.mark_inside);
    put("mark_soundness", scores.mark_soundness);
    put("mask_agreement", scores.mask_agreement);
    put("rater_agreement", context.rater_agreement);
    put("known_fraction", scores.known_fraction);
    put("edge_contrast", scores.edge_contrast);
    put("in_one_piece", scores.in_one_piece);
    put("border_clearance", scores.border_clearance);
    put("cut", scores.cut);
    put("solver_convergence", scores.solver_convergence);
    put("overall", scores.overall);
    return found;
}

}  // namespace

void bind_quality(py::module_& module) {
    using namespace pybind11::literals;
    module.def("quality", &quality, "image"_a, "alpha"_a, "trimap"_a, py::kw_only(),
               "mark"_a = py::none(), "reference"_a = py::none(), "rater_agreement"_a = py::none(),
               "cut_worked"_a = py::none(), "converged"_a = true, "residual"_a = 0.0,
               "rtol"_a = 1e-6,
               R"(The scores of a label, by the names of ``dsnet.labeling.quality.QUALITY_SCORES``.

Parameters
----------
image, alpha : float32 [H, W]
trimap : uint8 [H, W]
mark : 8 floats, optional
    What the label was made from: x1 y1 x2 y2 of the long axis, then of the short one (NaN where
    that is unknown).
reference : bool or uint8 [H, W], optional
    The mask or consensus that it was made from.
rater_agreement : float, optional
    Joins the overall score.
cut_worked : bool, optional
converged, residual, rtol
    Of the matting solver.

Returns
-------
dict of str to float

Raises
------
TypeError
    If an array has another dtype.
ValueError
    If the shapes differ, an array is not two-dimensional or empty, or the mark cannot be
    used.)");
}

}  // namespace dsnet

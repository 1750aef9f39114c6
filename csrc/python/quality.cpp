// Bindings of strategy 3's trimap and of the quality scores.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cmath>
#include <cstdint>
#include <string>

#include "python/arguments.h"
#include "quality/quality.h"
#include "mark/recist.h"
#include "trimap/trimap.h"

namespace dsnet {
namespace {

template <typename T, typename Peer>
void check_shape(const Array<T>& array, const Peer& peer, const char* name, const char* of) {
    if (array.shape(0) != peer.shape(0) || array.shape(1) != peer.shape(1))
        throw py::value_error(std::string(name) + " must have the " + of + "'s shape " +
                              shape_text(peer) + ", got " + shape_text(array));
}

RecistMark mark_argument(const py::object& value) {
    const auto array = py::array_t<double, py::array::c_style | py::array::forcecast>::ensure(value);
    if (!array || array.size() != 8) throw py::value_error("mark must be 8 coordinates");
    if (!are_usable(array.data()))
        throw py::value_error("mark must be finite and within +-1e9 pixels");
    const double* c = array.data();
    // As given: the caller has chosen which axis is the long one.
    return {{{c[0], c[1]}, {c[2], c[3]}}, {{c[4], c[5]}, {c[6], c[7]}}};
}

Array<std::uint8_t> trimap_from_cut_binding(const py::object& mask_value,
                                            const py::object& log_odds_value,
                                            const py::object& mark_value) {
    const auto mask = mask_argument(mask_value);
    const RecistMark mark = mark_argument(mark_value);
    if (mask.shape(0) == 0 || mask.shape(1) == 0)
        throw py::value_error("mask must have H, W >= 1, got shape " + shape_text(mask));
    const auto log_odds = image_argument<float>(log_odds_value, "log_odds", "f", "float32");
    check_shape(log_odds, mask, "log_odds", "mask");
    Array<std::uint8_t> out({mask.shape(0), mask.shape(1)});
    const Image<std::uint8_t> result(out.mutable_data(), out.shape(0), out.shape(1));
    {
        py::gil_scoped_release release;
        // One for each thread that ever asks, kept: a second call of the same size allocates
        // nothing.
        thread_local TrimapWorkspace workspace;
        trimap_from_cut(view(mask), view(log_odds), mark, workspace, result);
    }
    return out;
}

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
        mark = mark_argument(mark_value);
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
        scores = score(view(image), view(alpha), view(trimap), context, workspace);
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
    module.def("trimap_from_cut", &trimap_from_cut_binding, "mask"_a, "log_odds"_a, "mark"_a,
               R"(Strategy 3's trimap of a cut, as ``dsnet.labeling.trimap`` tells it.

Parameters
----------
mask : bool or uint8 [H, W]
    The cut; non-zero inside.
log_odds : float32 [H, W]
    Of lesion against background.
mark : 8 floats
    x1 y1 x2 y2 of the long axis, then of the short one.

Returns
-------
uint8 [H, W]
    0, 128 (unknown) or 255.

Raises
------
TypeError
    If ``mask`` or ``log_odds`` is not an array of these dtypes.
ValueError
    If the shapes differ, an array is not two-dimensional or empty, or the mark is not eight
    finite numbers.)");

    module.def("quality", &quality, "image"_a, "alpha"_a, "trimap"_a, py::kw_only(),
               "mark"_a = py::none(), "reference"_a = py::none(),
               "rater_agreement"_a = py::none(), "cut_worked"_a = py::none(),
               "converged"_a = true, "residual"_a = 0.0, "rtol"_a = 1e-6,
               R"(The scores of a label, by the names of ``dsnet.labeling.quality.QUALITY_SCORES``.

Parameters
----------
image, alpha : float32 [H, W]
trimap : uint8 [H, W]
mark : 8 floats, optional
    What the label was made from: x1 y1 x2 y2 of the long axis, then of the short one.
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
    If the shapes differ, an array is not two-dimensional or empty, or the mark is not eight
    finite numbers.)");
}

}  // namespace dsnet

// Bindings of closed-form matting.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <utility>

#include "python/arguments.h"
#include "base/image_simd.h"
#include "matting/matting.h"

namespace dsnet {
namespace {

const char* solver_name(Preconditioner preconditioner) {
    if (preconditioner == Preconditioner::kAuto) return "none";
    return preconditioner == Preconditioner::kJacobi ? "jacobi" : "multigrid";
}

template <typename T>
void check_shape(const Array<T>& array, const Array<float>& image, const char* name) {
    if (array.shape(0) != image.shape(0) || array.shape(1) != image.shape(1))
        throw py::value_error(std::string(name) + " must have the image's shape " +
                              shape_text(image) + ", got " + shape_text(array));
}

// Beyond this, float32 and the one-pass variance lose too much.
constexpr float kLargestGrey = 16.0f;

bool is_usable(Image<const float> image) {
    bool usable = true;
    for (std::ptrdiff_t y = 0; y < image.rows; ++y) {
        const Range range = image_simd().range(image.row(y), image.cols);
        usable &= range.ordered && range.low >= -kLargestGrey && range.high <= kLargestGrey;
    }
    return usable;
}

py::object matting(const py::object& image_value, const py::object& trimap_value,
                  const py::object& prior_value, double prior_weight, const std::string& solver,
                  double epsilon, double rtol, int max_iterations) {
    const auto image = image_argument<float>(image_value, "image", "f", "float32");
    const auto trimap = image_argument<std::uint8_t>(trimap_value, "trimap", "u", "uint8");
    check_shape(trimap, image, "trimap");
    if (image.shape(0) < 3 || image.shape(1) < 3)
        throw py::value_error("image must be at least 3 x 3, got shape " + shape_text(image));
    MattingOptions options;
    if (solver == "jacobi")
        options.preconditioner = Preconditioner::kJacobi;
    else if (solver == "multigrid")
        options.preconditioner = Preconditioner::kMultigrid;
    else if (solver != "auto")
        throw py::value_error("solver must be auto, jacobi or multigrid, got '" + solver + "'");
    options.epsilon = epsilon;
    options.rtol = rtol;
    options.max_iterations = max_iterations;
    options.prior_weight = prior_weight;
    Array<float> prior;
    Image<const float> toward(nullptr, image.shape(0), image.shape(1));
    if (!prior_value.is_none()) {
        prior = image_argument<float>(prior_value, "prior", "f", "float32");
        check_shape(prior, image, "prior");
        toward = view(prior);
    }
    Array<float> alpha({image.shape(0), image.shape(1)});
    const Image<float> out(alpha.mutable_data(), alpha.shape(0), alpha.shape(1));
    MattingOutcome outcome;
    bool usable = false;
    {
        py::gil_scoped_release release;
        // One for each thread that ever asks, kept: a second call of the same size allocates nothing.
        thread_local MattingWorkspace workspace;
        usable = is_usable(view(image));
        if (usable) outcome = solve_matting(view(image), view(trimap), toward, options, workspace, out);
    }
    if (!usable || !outcome.valid) return py::none();
    return py::make_tuple(std::move(alpha), solver_name(outcome.preconditioner),
                          outcome.iterations, outcome.residual, outcome.converged,
                          outcome.unknowns);
}

}  // namespace

void bind_matting(py::module_& module) {
    using namespace pybind11::literals;
    module.def("matting", &matting, "image"_a, "trimap"_a, "prior"_a = py::none(),
               "prior_weight"_a = 0.0, "solver"_a = "auto", "epsilon"_a = 1e-7, "rtol"_a = 3e-6,
               "max_iterations"_a = 1000,
               R"(Closed-form matting of one channel.

Parameters
----------
image : float32 [H, W]
    H, W >= 3.
trimap : uint8 [H, W]
    0 background, 128 unknown, 255 foreground.
prior : float32 [H, W], optional
    Joins the quadratic form at unknown pixels with ``prior_weight``.
solver : {"auto", "jacobi", "multigrid"}
    What preconditions the conjugate gradients.
epsilon : float
    Of the matting Laplacian.
rtol, max_iterations
    Stop at ``||b - A x|| <= rtol ||b||``, or after so many iterations.

Returns
-------
None
    For an image with values that are not finite or beyond +-16, or a trimap with values other
    than 0, 128 and 255. Otherwise the tuple of:
alpha : float32 [H, W]
solver : str
    What ran, "none" without a system to solve.
iterations : int
residual : float
    ``||b - A x|| / ||b||``, computed anew from the solution.
converged : bool
unknowns : int)");
}

}  // namespace dsnet

// Bindings of closed-form matting.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "base/image_simd.h"
#include "base/kept.h"
#include "label/label.h"
#include "matting/gpu.h"
#include "matting/matting.h"
#include "matting/numbers.h"
#include "python/arguments.h"

namespace dsnet {
namespace {

const char* solver_name(Preconditioner preconditioner) {
    if (preconditioner == Preconditioner::kAuto) return "none";
    return preconditioner == Preconditioner::kJacobi ? "jacobi" : "multigrid";
}

bool is_solvable(Image<const float> image) {
    bool solvable = true;
    for (std::ptrdiff_t y = 0; y < image.rows; ++y) {
        const Range range = image_simd().range(image.row(y), image.cols);
        solvable &= range.ordered && range.low >= -kLargestGrey && range.high <= kLargestGrey;
    }
    return solvable;
}

py::object matting(const py::object& image_value, const py::object& trimap_value,
                   const py::object& prior_value, double prior_weight, const std::string& solver,
                   double epsilon, double rtol, int max_iterations) {
    const auto image = image_argument<float>(image_value, "image", "f", "float32");
    const auto trimap = image_argument<std::uint8_t>(trimap_value, "trimap", "u", "uint8");
    check_shape(trimap, image, "trimap", "image");
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
        check_shape(prior, image, "prior", "image");
        toward = view(prior);
    }
    Array<float> alpha({image.shape(0), image.shape(1)});
    const Image<float> out = writable(alpha);
    MattingOutcome outcome;
    bool usable = false;
    {
        py::gil_scoped_release release;
        // One for each thread that ever asks: a second call of the same size allocates nothing.
        thread_local MattingWorkspace workspace;
        const Lent lent(workspace, image.size());
        usable = is_solvable(view(image));
        if (usable) outcome = solve_matting(view(image), view(trimap), toward, options, *lent, out);
    }
    if (!usable || !outcome.valid) return py::none();
    return py::make_tuple(std::move(alpha), solver_name(outcome.preconditioner), outcome.iterations,
                          outcome.residual, outcome.converged, outcome.unknowns);
}

py::tuple matting_batch(const py::object& images_value, const py::object& trimaps_value,
                        double rtol, int threads, const py::object& priors_value,
                        double prior_weight) {
    const auto images = batch_argument<float>(images_value, "images", "float32");
    const auto trimaps = batch_argument<std::uint8_t>(trimaps_value, "trimaps", "uint8", &images);
    const py::ssize_t count = images.shape(0), rows = images.shape(1), cols = images.shape(2);
    if (rows < 3 || cols < 3)
        throw py::value_error("images must be at least 3 x 3, got shape " + shape_text(images));
    MattingOptions options;
    options.rtol = rtol;
    options.prior_weight = prior_weight;
    Array<float> priors;
    if (!priors_value.is_none())
        priors = batch_argument<float>(priors_value, "priors", "float32", &images);
    const float* const toward = priors_value.is_none() ? nullptr : priors.data();
    Array<float> alphas({count, rows, cols});
    Array<bool> converged(count);
    const float* const from = images.data();
    const std::uint8_t* const split = trimaps.data();
    float* const to = alphas.mutable_data();
    bool* const done = converged.mutable_data();
    {
        py::gil_scoped_release release;
        run_label_batch(
            count, threads, rows * cols, [&](std::ptrdiff_t i, LabelWorkspace& workspace) {
                const std::ptrdiff_t size = rows * cols, at = i * size;
                const Image<const float> image(from + at, rows, cols);
                MattingOutcome outcome;
                outcome.valid = is_solvable(image);
                if (outcome.valid)
                    outcome = solve_matting(image, {split + at, rows, cols},
                                            {toward == nullptr ? nullptr : toward + at, rows, cols},
                                            options, workspace.matting, {to + at, rows, cols});
                done[i] = outcome.converged;
                if (!outcome.valid)
                    std::fill_n(to + at, size, std::numeric_limits<float>::quiet_NaN());
            });
    }
    return py::make_tuple(std::move(alphas), std::move(converged));
}

}  // namespace

void bind_matting(py::module_& module) {
    using namespace pybind11::literals;
    PYBIND11_NUMPY_DTYPE(cuda::MattingResult, residual, status, iterations, unknowns, converged,
                         solved, reserved);
    module.attr("MOST_MATTING_PIXELS") = cuda::kMostMattingPixels;
    // A row of what a GPU tells of matting.
    module.attr("MATTING_RESULT") = py::dtype::of<cuda::MattingResult>();
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
unknowns : int

Raises
------
TypeError
    If an array has another dtype.
ValueError
    If the shapes differ, the image is smaller, or ``solver`` is another.)");
    module.def("matting_batch", &matting_batch, "images"_a, "trimaps"_a, "rtol"_a, "threads"_a,
               "priors"_a = py::none(), "prior_weight"_a = 0.0,
               R"(Closed-form matting of a batch, each image to the bit as by ``matting``.

Parameters
----------
images : float32 [N, H, W]
    H, W >= 3; contiguous.
trimaps : uint8 [N, H, W]
    Contiguous.
rtol : float
threads : int
    At least 1.
priors : float32 [N, H, W], optional
    Finite; contiguous.
prior_weight : float
    As in ``matting``.

Returns
-------
alphas : float32 [N, H, W]
    NaN all over an image with values that are not finite or beyond +-16, or with a trimap of
    values other than 0, 128 and 255.
converged : bool [N]
    True also for those.

Raises
------
TypeError
    If an argument is not a contiguous array of its dtype.
ValueError
    If the shapes differ or the images are smaller.)");
}

}  // namespace dsnet

// Binding of the GPU's matting run by the CPU.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <utility>
#include <vector>

#include "matting.h"
#include "matting/gpu_store.h"
#include "python/arguments.h"

namespace dsnet {
namespace {

py::tuple matting_block(const py::object& images_value, const py::object& trimaps_value,
                        const py::object& priors_value, double prior_weight, double epsilon,
                        double rtol, int max_iterations, const std::string& path_name,
                        bool backwards) {
    if (path_name != "any" && path_name != "bands" && path_name != "memory")
        throw py::value_error("path must be any, bands or memory, got '" + path_name + "'");
    const MattingPath path = path_name == "any"     ? MattingPath::kAny
                             : path_name == "bands" ? MattingPath::kBands
                                                    : MattingPath::kMemory;
    const auto images = batch_argument<float>(images_value, "images", "float32");
    const auto trimaps = batch_argument<std::uint8_t>(trimaps_value, "trimaps", "uint8", &images);
    Array<float> priors;
    if (!priors_value.is_none())
        priors = batch_argument<float>(priors_value, "priors", "float32", &images);
    const py::ssize_t count = images.shape(0);
    Array<float> alphas({count, images.shape(1), images.shape(2)});
    std::vector<cuda::MattingResult> results(static_cast<std::size_t>(count));
    cuda::MattingBatch batch = {};
    batch.images = images.data();
    batch.trimaps = trimaps.data();
    batch.priors = priors_value.is_none() ? nullptr : priors.data();
    batch.alphas = alphas.mutable_data();
    batch.results = results.data();
    batch.count = count;
    batch.rows = static_cast<std::int32_t>(images.shape(1));
    batch.cols = static_cast<std::int32_t>(images.shape(2));
    batch.epsilon = epsilon;
    batch.rtol = rtol;
    batch.prior_weight = prior_weight;
    batch.max_iterations = max_iterations;
    std::vector<const char*> paths;
    {
        py::gil_scoped_release release;
        paths = matting_on_host(batch, path, backwards);
    }
    py::list infos;
    for (std::size_t i = 0; i < results.size(); ++i) {
        const cuda::MattingResult& result = results[i];
        py::dict info;
        info["path"] = paths[i];
        info["status"] = result.status;
        info["solved"] = result.solved != 0;
        info["iterations"] = result.iterations;
        info["residual"] = result.residual;
        info["converged"] = result.converged != 0;
        info["unknowns"] = result.unknowns;
        infos.append(std::move(info));
    }
    return py::make_tuple(std::move(alphas), std::move(infos));
}

// Threads and dynamic shared memory of the kernels in matting/gpu.cu, by name.
py::dict matting_kernels() {
    using namespace matting_device;
    const auto figures = [](int threads, std::size_t shared) {
        py::dict of;
        of["threads"] = threads;
        of["shared_bytes"] = shared;
        return of;
    };
    py::dict kernels;
    kernels["solve_small"] = figures(SmallStore::kThreads, SmallStore::kSharedBytes);
    kernels["solve_bands"] = figures(kBandThreads, kBandSharedBytes);
    kernels["solve_large"] = figures(kLargeThreads, 0);
    return kernels;
}

}  // namespace

void bind_matting(py::module_& module) {
    using namespace pybind11::literals;
    module.def("matting_block", &matting_block, "images"_a, "trimaps"_a, "priors"_a = py::none(),
               "prior_weight"_a = 0.0, "epsilon"_a = 1e-7, "rtol"_a = 3e-6,
               "max_iterations"_a = 1000, "path"_a = "any", "backwards"_a = false,
               R"(The GPU's closed-form matting, run by the CPU a thread at a time.

Parameters
----------
images : float32 [N, H, W]
trimaps : uint8 [N, H, W]
priors : float32 [N, H, W], optional
prior_weight, epsilon, rtol, max_iterations
    See ``matting``.
path : {"any", "bands", "memory"}
    As on a GPU what the image fits; a cluster of blocks, where it fits; or the path of images that
    no shared memory can hold.
backwards : bool
    Run the threads from the last to the first, which gives the same bits.

Returns
-------
alphas : float32 [N, H, W]
infos : list of dict
    path (small, narrow, wide or memory: what solved it), status (0 done, 2, 3, 4 for an unusable
    image, trimap or prior, then alpha is NaN), solved (False without a system to solve), iterations,
    residual, converged, unknowns.)");
    module.def("matting_block_kernels", &matting_kernels,
               "threads and shared_bytes (dynamic) of the matting kernels.");
}

}  // namespace dsnet

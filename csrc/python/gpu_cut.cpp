// Bindings of the GPU's cuts. Arrays come as addresses: dsnet/labeling/_device.py has made them.
#include <pybind11/pybind11.h>

#include <cstdint>

#include "python/arguments.h"
#include "gpu/device.h"
#include "cut/gpu.h"
#include "cut/plan.h"

namespace dsnet {

#if DSNET_WITH_CUDA

namespace {

template <typename T>
T* pointer(std::uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

std::size_t cut_workspace(std::int64_t count, std::int32_t rows, std::int32_t cols, int device) {
    const cuda::DeviceScope scope(device);
    return cuda::cut_workspace_bytes(count, rows, cols);
}

void cut(std::uintptr_t images, std::uintptr_t plans, std::uintptr_t seeds,
         const EdgeNetwork& network, std::uintptr_t masks, std::uintptr_t trimaps,
         std::uintptr_t priors, std::uintptr_t results, std::int64_t count, std::int32_t rows,
         std::int32_t cols, std::uintptr_t workspace, std::size_t workspace_bytes, int device,
         std::uintptr_t stream) {
    cuda::CutBatch batch = {};
    batch.images = pointer<const float>(images);
    batch.plans = pointer<const CutPlan>(plans);
    batch.seeds = pointer<const std::uint64_t>(seeds);
    batch.constants = cut_constants(network);
    batch.masks = pointer<std::uint8_t>(masks);
    batch.trimaps = pointer<std::uint8_t>(trimaps);
    batch.priors = pointer<float>(priors);
    batch.results = pointer<CutResult>(results);
    batch.count = count;
    batch.rows = rows;
    batch.cols = cols;
    batch.workspace = pointer<void>(workspace);
    batch.workspace_bytes = workspace_bytes;
    py::gil_scoped_release release;
    const cuda::DeviceScope scope(device);
    cuda::cut_cuda(batch, pointer<void>(stream));
}

}  // namespace

void bind_cuda_cut(py::module_& module) {
    using namespace pybind11::literals;
    module.def("cuda_cut_workspace_bytes", &cut_workspace, "count"_a, "rows"_a, "cols"_a,
               "device"_a);
    module.def("cuda_cut", &cut, "images"_a, "plans"_a, "seeds"_a, "network"_a, "masks"_a,
               "trimaps"_a, "priors"_a, "results"_a, "count"_a, "rows"_a, "cols"_a, "workspace"_a,
               "workspace_bytes"_a, "device"_a, "stream"_a,
               "Start cutting a batch in device memory, see csrc/cut_cuda.h.");
}

#else

void bind_cuda_cut(py::module_&) {}

#endif

}  // namespace dsnet

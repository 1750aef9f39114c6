// Bindings of the GPU: memory, streams, events, and what runs there. Arrays come as addresses:
// dsnet/labeling/_device.py has read and checked them.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "python/arguments.h"
#include "gpu/device.h"
#include "gpu/error.h"
#include "matting/gpu.h"
#if DSNET_WITH_CUDA
#include "bench/speed/ceilings.h"
#include "masks/gpu.h"
#include "trimap/gpu.h"
#endif

namespace dsnet {
namespace {

#if DSNET_WITH_CUDA

void* pointer(std::uintptr_t address) { return reinterpret_cast<void*>(address); }
std::uintptr_t address(const void* pointer) {
    return reinterpret_cast<std::uintptr_t>(pointer);
}

// What owns something of a device.
template <void* (*kMake)(), void (*kFree)(void*) noexcept>
struct Handle {
    explicit Handle(int device_) : device(device_) {
        const cuda::DeviceScope scope(device);
        handle = kMake();
    }
    ~Handle() { kFree(handle); }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;

    int device;
    void* handle = nullptr;
};
using Stream = Handle<cuda::create_stream, cuda::destroy_stream>;
using Event = Handle<cuda::create_event, cuda::destroy_event>;

struct DeviceMemory {
    DeviceMemory(std::size_t bytes_, int device_) : bytes(bytes_), device(device_) {
        const cuda::DeviceScope scope(device);
        memory = cuda::allocate(bytes);
    }
    ~DeviceMemory() { cuda::release(memory); }
    DeviceMemory(const DeviceMemory&) = delete;
    DeviceMemory& operator=(const DeviceMemory&) = delete;

    std::size_t bytes;
    int device;
    void* memory = nullptr;
};

py::array pinned_memory(std::size_t bytes, int device) {
    const cuda::DeviceScope scope(device);
    void* const memory = cuda::allocate_pinned(bytes);
    const py::capsule owner(memory, [](void* kept) { cuda::release_pinned(kept); });
    return py::array_t<std::uint8_t>(static_cast<py::ssize_t>(bytes),
                                     static_cast<std::uint8_t*>(memory), owner);
}

py::dict device_info(int device) {
    const cuda::DeviceInfo told = cuda::device_info(device);
    py::dict info;
    info["name"] = told.name;
    info["capability"] = py::make_tuple(told.major, told.minor);
    info["processors"] = told.processors;
    info["shared_bytes"] = told.shared_bytes;
    info["total_bytes"] = told.total_bytes;
    info["free_bytes"] = told.free_bytes;
    return info;
}

py::dict device_ceilings(int device) {
    const cuda::Ceilings found = cuda::measure_ceilings(device);
    py::dict ceilings;
    ceilings["shared_bytes_per_second"] = found.shared_bytes_per_second;
    ceilings["multiply_adds_per_second"] = found.multiply_adds_per_second;
    return ceilings;
}

// At most so many bytes; an array in pageable memory makes the copy wait.
std::size_t copied_bytes(const py::array& array, std::size_t room) {
    if (!(array.flags() & py::array::c_style))
        throw py::value_error("a copy's array must be C-contiguous");
    const auto bytes = static_cast<std::size_t>(array.nbytes());
    if (bytes > room)
        throw py::value_error("a copy of " + std::to_string(bytes) +
                              " bytes does not fit into " + std::to_string(room));
    return bytes;
}

void copy_to_device(DeviceMemory& target, const py::array& source, std::uintptr_t stream) {
    const std::size_t bytes = copied_bytes(source, target.bytes);
    const void* const from = source.data();
    py::gil_scoped_release release;
    const cuda::DeviceScope scope(target.device);
    cuda::copy(target.memory, from, bytes, pointer(stream));
}

void copy_to_host(py::array& target, const DeviceMemory& source, std::uintptr_t stream) {
    const std::size_t bytes = copied_bytes(target, source.bytes);
    void* const to = target.mutable_data();
    py::gil_scoped_release release;
    const cuda::DeviceScope scope(source.device);
    cuda::copy(to, source.memory, bytes, pointer(stream));
}

// Copies from any device memory, and waits.
void read_device(py::array& target, std::uintptr_t source, int device, std::uintptr_t stream) {
    const std::size_t bytes = copied_bytes(target, SIZE_MAX);
    void* const to = target.mutable_data();
    py::gil_scoped_release release;
    const cuda::DeviceScope scope(device);
    cuda::copy(to, pointer(source), bytes, pointer(stream));
    cuda::wait_for_stream(pointer(stream));
}

std::size_t matting_workspace(std::int64_t count, std::int32_t rows, std::int32_t cols,
                              int device) {
    const cuda::DeviceScope scope(device);
    return cuda::matting_workspace_bytes(count, rows, cols);
}

void matting(std::uintptr_t images, std::uintptr_t trimaps, std::uintptr_t priors,
             std::uintptr_t alphas, std::uintptr_t results, std::int64_t count, std::int32_t rows,
             std::int32_t cols, double prior_weight, double epsilon, double rtol,
             int max_iterations, std::uintptr_t workspace, std::size_t workspace_bytes, int device,
             std::uintptr_t stream) {
    cuda::MattingBatch batch = {};
    batch.images = static_cast<const float*>(pointer(images));
    batch.trimaps = static_cast<const std::uint8_t*>(pointer(trimaps));
    batch.priors = static_cast<const float*>(pointer(priors));
    batch.alphas = static_cast<float*>(pointer(alphas));
    batch.results = static_cast<cuda::MattingResult*>(pointer(results));
    batch.count = count;
    batch.rows = rows;
    batch.cols = cols;
    batch.epsilon = epsilon;
    batch.rtol = rtol;
    batch.prior_weight = prior_weight;
    batch.max_iterations = max_iterations;
    batch.workspace = pointer(workspace);
    batch.workspace_bytes = workspace_bytes;
    py::gil_scoped_release release;
    const cuda::DeviceScope scope(device);
    cuda::matting_cuda(batch, pointer(stream));
}

// Any work of morphology_cuda.h; 0 for what it does not read.
template <void (*kWork)(const cuda::MorphologyBatch&, void*)>
void morphology(std::uintptr_t masks, std::uintptr_t cores, std::uintptr_t erosion,
                std::uintptr_t dilation, std::uintptr_t spacing, std::uintptr_t out,
                std::uintptr_t statuses, std::int64_t count, std::int32_t rows, std::int32_t cols,
                std::uintptr_t workspace, std::size_t workspace_bytes, int device,
                std::uintptr_t stream, bool packed) {
    cuda::MorphologyBatch batch = {};
    batch.masks = pointer(masks);
    batch.packed = packed;
    batch.cores = static_cast<const std::uint8_t*>(pointer(cores));
    batch.erosion = static_cast<const double*>(pointer(erosion));
    batch.dilation = static_cast<const double*>(pointer(dilation));
    batch.spacing = static_cast<const double*>(pointer(spacing));
    batch.out = static_cast<std::uint8_t*>(pointer(out));
    batch.statuses = static_cast<std::int32_t*>(pointer(statuses));
    batch.count = count;
    batch.rows = rows;
    batch.cols = cols;
    batch.workspace = pointer(workspace);
    batch.workspace_bytes = workspace_bytes;
    py::gil_scoped_release release;
    const cuda::DeviceScope scope(device);
    kWork(batch, pointer(stream));
}

void trimap_from_raters(std::uintptr_t masks, double erosion, double dilation,
                        const std::pair<double, double>& spacing, std::uintptr_t out,
                        std::int64_t count, std::int32_t raters, std::int32_t rows,
                        std::int32_t cols, std::uintptr_t workspace, std::size_t workspace_bytes,
                        int device, std::uintptr_t stream) {
    cuda::RatersBatch batch = {};
    batch.masks = static_cast<const std::uint8_t*>(pointer(masks));
    batch.erosion = erosion;
    batch.dilation = dilation;
    batch.row_spacing = spacing.first;
    batch.col_spacing = spacing.second;
    batch.out = static_cast<std::uint8_t*>(pointer(out));
    batch.count = count;
    batch.raters = raters;
    batch.rows = rows;
    batch.cols = cols;
    batch.workspace = pointer(workspace);
    batch.workspace_bytes = workspace_bytes;
    py::gil_scoped_release release;
    const cuda::DeviceScope scope(device);
    cuda::trimap_from_raters_cuda(batch, pointer(stream));
}

template <void (*kWork)(const cuda::MorphologyBatch&, void*),
          std::size_t (*kBytes)(std::int32_t, std::int32_t)>
void bind_morphology_of(py::module_& module, const std::string& name) {
    using namespace pybind11::literals;
    module.def(("cuda_" + name).c_str(), &morphology<kWork>, "masks"_a, "cores"_a, "erosion"_a,
               "dilation"_a, "spacing"_a, "out"_a, "statuses"_a, "count"_a, "rows"_a, "cols"_a,
               "workspace"_a, "workspace_bytes"_a, "device"_a, "stream"_a, "packed"_a = false,
               "Start work on a batch in device memory, see csrc/morphology_cuda.h.");
    module.def(
        ("cuda_" + name + "_workspace_bytes").c_str(),
        [](std::int32_t rows, std::int32_t cols, int device) {
            const cuda::DeviceScope scope(device);
            return kBytes(rows, cols);
        },
        "rows"_a, "cols"_a, "device"_a);
}

void bind_device(py::module_& module) {
    using namespace pybind11::literals;
    module.def("cuda_device_count", &cuda::device_count,
               "How many CUDA devices there are; RuntimeError says why there is none.");
    module.def("cuda_device_info", &device_info, "device"_a,
               "A device's name, capability, processors, shared_bytes, total_bytes, free_bytes.");
    module.def("cuda_device_ceilings", &device_ceilings, "device"_a,
               "What a device does at best: shared_bytes_per_second that it reads from shared "
               "memory, multiply_adds_per_second in float64.");
    module.def(
        "cuda_device_of", [](std::uintptr_t at) { return cuda::device_of(pointer(at)); },
        "address"_a, "The device whose memory an address is in, -1 for other memory.");
    module.def("cuda_pinned_memory", &pinned_memory, "nbytes"_a, "device"_a,
               "uint8 [nbytes], page-locked.");
    py::class_<DeviceMemory>(module, "CudaMemory", "Memory of a device.")
        .def(py::init<std::size_t, int>(), "nbytes"_a, "device"_a)
        .def_readonly("nbytes", &DeviceMemory::bytes)
        .def_readonly("device", &DeviceMemory::device)
        .def_property_readonly("address",
                               [](const DeviceMemory& self) { return address(self.memory); });
    py::class_<Stream>(module, "CudaStream", "A stream that does not wait for the default one.")
        .def(py::init<int>(), "device"_a)
        .def_readonly("device", &Stream::device)
        .def_property_readonly("address",
                               [](const Stream& self) { return address(self.handle); });
    py::class_<Event>(module, "CudaEvent", "A point in a stream's work.")
        .def(py::init<int>(), "device"_a)
        .def("record",
             [](const Event& self, std::uintptr_t stream) {
                 const cuda::DeviceScope scope(self.device);
                 cuda::record(self.handle, pointer(stream));
             },
             "stream"_a)
        .def("wait",
             [](const Event& self) {
                 py::gil_scoped_release release;
                 cuda::wait_for_event(self.handle);
             })
        .def(
            "seconds_until",
            [](const Event& self, const Event& end) {
                return 1e-3 * cuda::milliseconds_between(self.handle, end.handle);
            },
            "end"_a, "Once the work before both is done.");
    module.def("cuda_copy_to_device", &copy_to_device, "target"_a, "source"_a, "stream"_a,
               "Start copying an array to CudaMemory.");
    module.def("cuda_copy_to_host", &copy_to_host, "target"_a, "source"_a, "stream"_a,
               "Start copying CudaMemory to an array.");
    module.def("cuda_read", &read_device, "target"_a, "address"_a, "device"_a, "stream"_a,
               "Copy device memory to an array, after the stream's work.");
    module.def("cuda_matting_workspace_bytes", &matting_workspace, "count"_a, "rows"_a, "cols"_a,
               "device"_a);
    module.def("cuda_matting", &matting, "images"_a, "trimaps"_a, "priors"_a, "alphas"_a,
               "results"_a, "count"_a, "rows"_a, "cols"_a, "prior_weight"_a, "epsilon"_a,
               "rtol"_a, "max_iterations"_a, "workspace"_a, "workspace_bytes"_a, "device"_a,
               "stream"_a,
               "Start closed-form matting of a batch in device memory, see csrc/matting_cuda.h.");
    bind_morphology_of<cuda::trimap_from_mask_cuda, cuda::trimap_workspace_bytes>(
        module, "trimap_from_mask");
    bind_morphology_of<cuda::split_trimap_cuda, cuda::split_workspace_bytes>(module,
                                                                            "split_trimap");
    bind_morphology_of<cuda::erode_cuda, cuda::split_workspace_bytes>(module, "erode");
    bind_morphology_of<cuda::dilate_cuda, cuda::split_workspace_bytes>(module, "dilate");
    module.def(
        "cuda_raters_workspace_bytes",
        [](std::int64_t count, std::int32_t rows, std::int32_t cols, std::int64_t at_a_time,
           int device) {
            const cuda::DeviceScope scope(device);
            return cuda::raters_workspace_bytes(count, rows, cols, at_a_time);
        },
        "count"_a, "rows"_a, "cols"_a, "at_a_time"_a, "device"_a);
    module.def("cuda_trimap_from_raters", &trimap_from_raters, "masks"_a, "erosion"_a,
               "dilation"_a, "spacing"_a, "out"_a, "count"_a, "raters"_a, "rows"_a, "cols"_a,
               "workspace"_a, "workspace_bytes"_a, "device"_a, "stream"_a,
               "Start work on a batch in device memory, see csrc/raters_cuda.h.");
}

#else

int device_count() {
    throw cuda::CudaError(0,
                          "this dsnet was built without CUDA: install a CUDA toolkit, build again "
                          "with DSNET_CUDA=ON, or use device='cpu'");
}

void bind_device(py::module_& module) {
    module.def("cuda_device_count", &device_count,
               "How many CUDA devices there are; RuntimeError says why there is none.");
}

#endif

}  // namespace

void bind_cuda(py::module_& module) {
    static py::handle out_of_memory =
        py::exception<cuda::CudaError>(module, "OutOfDeviceMemory", PyExc_MemoryError).release();
    out_of_memory.attr("__doc__") = "A GPU, or page-locked memory for it, has no room.";
    py::register_exception_translator([](std::exception_ptr failure) {
        try {
            if (failure) std::rethrow_exception(failure);
        } catch (const cuda::CudaError& error) {
            PyErr_SetString(error.code == cuda::kOutOfMemory ? out_of_memory.ptr()
                                                             : PyExc_RuntimeError,
                            error.what());
        }
    });
    bind_device(module);
}

}  // namespace dsnet

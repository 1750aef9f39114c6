// Bindings of the GPU: memory, streams, events, and what starts there.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "gpu/device.h"
#include "gpu/error.h"
#include "python/arguments.h"
#include "python/gpu_batches.h"

namespace dsnet {
namespace {

#if DSNET_WITH_CUDA

void* pointer(std::uintptr_t address) { return reinterpret_cast<void*>(address); }
std::uintptr_t address(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

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

// At most so many bytes; an array in pageable memory makes the copy wait.
std::size_t copied_bytes(const py::array& array, std::size_t room) {
    if (!(array.flags() & py::array::c_style))
        throw py::value_error("a copy's array must be C-contiguous");
    const auto bytes = static_cast<std::size_t>(array.nbytes());
    if (bytes > room)
        throw py::value_error("a copy of " + std::to_string(bytes) + " bytes does not fit into " +
                              std::to_string(room));
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

// Starts the work on a device's stream.
template <typename Batch, void (*kWork)(const Batch&, void*)>
void start(const Held<Batch>& held, int device, std::uintptr_t stream) {
    py::gil_scoped_release release;
    const cuda::DeviceScope scope(device);
    kWork(held.batch, reinterpret_cast<void*>(stream));
}

template <std::size_t (*kBytes)(std::int64_t, std::int32_t, std::int32_t)>
std::size_t workspace_of(std::int64_t count, std::int32_t rows, std::int32_t cols, int device) {
    const cuda::DeviceScope scope(device);
    return kBytes(count, rows, cols);
}

struct Morphology {
    const char* name;
    void (*start)(const MorphologyHeld&, int, std::uintptr_t);
    std::size_t (*workspace_bytes)(std::int32_t, std::int32_t);
};

const Morphology& morphology_named(const std::string& name) {
    using cuda::MorphologyBatch;
    static constexpr Morphology kAll[] = {
        {"split_trimap", &start<MorphologyBatch, cuda::split_trimap_cuda>,
         &cuda::split_workspace_bytes},
        {"erode", &start<MorphologyBatch, cuda::erode_cuda>, &cuda::split_workspace_bytes},
        {"dilate", &start<MorphologyBatch, cuda::dilate_cuda>, &cuda::split_workspace_bytes},
        {"trimap_from_mask", &start<MorphologyBatch, cuda::trimap_from_mask_cuda>,
         &cuda::trimap_workspace_bytes},
    };
    for (const Morphology& work : kAll)
        if (name == work.name) return work;
    throw py::value_error("work must be split_trimap, erode, dilate or trimap_from_mask, got '" +
                          name + "'");
}

void bind_device(py::module_& module) {
    using namespace pybind11::literals;
    module.def("cuda_device_count", &cuda::device_count,
               "How many CUDA devices there are, int >= 1; RuntimeError says why there is none.");
    module.def(
        "cuda_device_of", [](std::uintptr_t at) { return cuda::device_of(pointer(at)); },
        "address"_a, "The device, int, whose memory an address is in; -1 for other memory.");
    module.def("cuda_pinned_memory", &pinned_memory, "nbytes"_a, "device"_a,
               "Page-locked memory, uint8 [nbytes]; OutOfDeviceMemory where there is no room.");
    py::class_<DeviceMemory>(
        module, "CudaMemory",
        "So many bytes of a device's memory; OutOfDeviceMemory where there is no room.")
        .def(py::init<std::size_t, int>(), "nbytes"_a, "device"_a)
        .def_readonly("nbytes", &DeviceMemory::bytes)
        .def_readonly("device", &DeviceMemory::device)
        .def_property_readonly("address",
                               [](const DeviceMemory& self) { return address(self.memory); });
    py::class_<Stream>(module, "CudaStream", "A stream that does not wait for the default one.")
        .def(py::init<int>(), "device"_a)
        .def_readonly("device", &Stream::device)
        .def_property_readonly("address", [](const Stream& self) { return address(self.handle); });
    py::class_<Event>(module, "CudaEvent", "A point in a stream's work.")
        .def(py::init<int>(), "device"_a)
        .def(
            "record",
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
            "end"_a, "Seconds of the device to another event, once the work before both is done.");
    module.def("cuda_copy_to_device", &copy_to_device, "target"_a, "source"_a, "stream"_a,
               "Start copying a contiguous array to CudaMemory; ValueError where it does not fit.");
    module.def(
        "cuda_copy_to_host", &copy_to_host, "target"_a, "source"_a, "stream"_a,
        "Start copying CudaMemory to a contiguous array; ValueError where that is too large.");
    module.def("cuda_read", &read_device, "target"_a, "address"_a, "device"_a, "stream"_a,
               "Copy device memory to a contiguous array, after the stream's work.");
}

void bind_work(py::module_& module) {
    using namespace pybind11::literals;
    module.def("cuda_matting_workspace_bytes", &workspace_of<cuda::matting_workspace_bytes>,
               "count"_a, "rows"_a, "cols"_a, "device"_a,
               "Bytes for all images that a device works on at a time; int.");
    module.def("cuda_matting", &start<cuda::MattingBatch, cuda::matting_cuda>, "batch"_a,
               "device"_a, "stream"_a,
               R"(Start closed-form matting of a batch on a device's stream, and return.

Parameters
----------
batch : MattingBatch
device : int
stream : int
    A cudaStream_t.

Raises
------
ValueError
    If the batch is of no use: images too large, too little workspace, an odd epsilon.
RuntimeError, OutOfDeviceMemory
    If the device refuses.)");
    module.def("cuda_cut_workspace_bytes", &workspace_of<cuda::cut_workspace_bytes>, "count"_a,
               "rows"_a, "cols"_a, "device"_a,
               "Bytes for all images that a device works on at a time; int.");
    module.def("cuda_cut", &start<cuda::CutBatch, cuda::cut_cuda>, "batch"_a, "device"_a,
               "stream"_a, "Start the cuts of a CutBatch; the rest as in ``cuda_matting``.");
    module.def(
        "cuda_morphology_workspace_bytes",
        [](const std::string& work, std::int32_t rows, std::int32_t cols, int device) {
            const cuda::DeviceScope scope(device);
            return morphology_named(work).workspace_bytes(rows, cols);
        },
        "work"_a, "rows"_a, "cols"_a, "device"_a,
        "Bytes for one image, 0 where shared memory holds it; int. `work` as in "
        "``cuda_morphology``.");
    module.def(
        "cuda_morphology",
        [](const std::string& work, const MorphologyHeld& batch, int device,
           std::uintptr_t stream) { morphology_named(work).start(batch, device, stream); },
        "work"_a, "batch"_a, "device"_a, "stream"_a,
        R"(Start work on a MorphologyBatch; the rest as in ``cuda_matting``.

`work` is "split_trimap" (out is 255, 128, 0), "erode", "dilate" (1 or 0) or "trimap_from_mask"
(strategy 1).)");
    module.def(
        "cuda_raters_workspace_bytes",
        [](std::int64_t count, std::int32_t rows, std::int32_t cols, std::int64_t at_a_time,
           int device) {
            const cuda::DeviceScope scope(device);
            return cuda::raters_workspace_bytes(count, rows, cols, at_a_time);
        },
        "count"_a, "rows"_a, "cols"_a, "at_a_time"_a, "device"_a,
        "Bytes for a batch of which so many share what shared memory cannot hold; int.");
    module.def("cuda_trimap_from_raters", &start<cuda::RatersBatch, cuda::trimap_from_raters_cuda>,
               "batch"_a, "device"_a, "stream"_a,
               "Start strategy 2's trimaps of a RatersBatch; the rest as in ``cuda_matting``.");
}

#else

int device_count() {
    throw cuda::CudaError(0,
                          "this dsnet was built without CUDA: install a CUDA toolkit, build again "
                          "with DSNET_CUDA=ON, or use device='cpu'");
}

void bind_device(py::module_& module) {
    module.def("cuda_device_count", &device_count,
               "How many CUDA devices there are, int >= 1; RuntimeError says why there is none.");
}

void bind_work(py::module_&) {}

#endif

}  // namespace

void bind_gpu(py::module_& module) {
    static py::handle out_of_memory =
        py::exception<cuda::CudaError>(module, "OutOfDeviceMemory", PyExc_MemoryError).release();
    out_of_memory.attr("__doc__") = "A GPU, or page-locked memory for it, has no room.";
    py::register_exception_translator([](std::exception_ptr failure) {
        try {
            if (failure) std::rethrow_exception(failure);
        } catch (const cuda::CudaError& error) {
            PyErr_SetString(
                error.code == cuda::kOutOfMemory ? out_of_memory.ptr() : PyExc_RuntimeError,
                error.what());
        }
    });
    bind_device(module);
    bind_work(module);
}

}  // namespace dsnet

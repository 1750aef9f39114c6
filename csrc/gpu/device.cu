#include "gpu/device.h"

#include <cuda_runtime.h>

#include <string>

#include "gpu/error.h"

namespace dsnet::cuda {
namespace {

static_assert(kOutOfMemory == static_cast<int>(cudaErrorMemoryAllocation), "another CUDA");

std::string version_text(int version) {
    return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

void check_allocation(cudaError_t status, std::size_t bytes, const char* what) {
    if (status == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        throw CudaError(kOutOfMemory, std::string(what) + " has no room for " +
                                          std::to_string(bytes) +
                                          " bytes: free some, or give fewer images at a time");
    }
    check(status, what);
}

cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t event_of(void* event) { return static_cast<cudaEvent_t>(event); }

}  // namespace

int device_count() {
    int driver = 0, runtime = 0, count = 0;
    check(cudaRuntimeGetVersion(&runtime), "asking for the CUDA version");
    // 0 without a driver.
    const cudaError_t asked = cudaDriverGetVersion(&driver);
    if (asked != cudaSuccess || driver == 0) {
        cudaGetLastError();
        throw CudaError(static_cast<int>(cudaErrorInsufficientDriver),
                        "no NVIDIA driver was found: install one, or use device='cpu'");
    }
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status == cudaErrorInsufficientDriver) {
        cudaGetLastError();
        throw CudaError(static_cast<int>(status),
                        "the NVIDIA driver is for CUDA " + version_text(driver) +
                            ", dsnet was built with CUDA " + version_text(runtime) +
                            ": update the driver, or use device='cpu'");
    }
    if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) {
        cudaGetLastError();
        throw CudaError(static_cast<int>(cudaErrorNoDevice),
                        "no CUDA device was found: see nvidia-smi and CUDA_VISIBLE_DEVICES, or "
                        "use device='cpu'");
    }
    check(status, "counting CUDA devices");
    return count;
}

DeviceScope::DeviceScope(int device) {
    check(cudaGetDevice(&before_), "asking for the current device");
    if (device != before_) check(cudaSetDevice(device), "choosing the device");
}

DeviceScope::~DeviceScope() { cudaSetDevice(before_); }

int device_of(const void* pointer) {
    cudaPointerAttributes attributes;
    const cudaError_t status = cudaPointerGetAttributes(&attributes, pointer);
    if (status == cudaErrorInvalidValue) {
        cudaGetLastError();
        return -1;
    }
    check(status, "asking whose memory an array is");
    const bool device = attributes.type == cudaMemoryTypeDevice ||
                        attributes.type == cudaMemoryTypeManaged;
    return device ? attributes.device : -1;
}

void* allocate(std::size_t bytes) {
    void* memory = nullptr;
    check_allocation(cudaMalloc(&memory, bytes), bytes, "the GPU");
    return memory;
}

void release(void* memory) noexcept { cudaFree(memory); }

void* allocate_pinned(std::size_t bytes) {
    void* memory = nullptr;
    check_allocation(cudaHostAlloc(&memory, bytes, cudaHostAllocPortable), bytes,
                     "page-locked host memory");
    return memory;
}

void release_pinned(void* memory) noexcept { cudaFreeHost(memory); }

void* create_stream() {
    cudaStream_t stream = nullptr;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
    return stream;
}

void destroy_stream(void* stream) noexcept { cudaStreamDestroy(stream_of(stream)); }

void* create_event() {
    cudaEvent_t event = nullptr;
    check(cudaEventCreateWithFlags(&event, cudaEventBlockingSync), "making an event");
    return event;
}

void destroy_event(void* event) noexcept { cudaEventDestroy(event_of(event)); }

void record(void* event, void* stream) {
    check(cudaEventRecord(event_of(event), stream_of(stream)), "marking a stream");
}

void wait_for_event(void* event) {
    check(cudaEventSynchronize(event_of(event)), "waiting for the GPU");
}

float milliseconds_between(void* start, void* end) {
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, event_of(start), event_of(end)),
          "reading the GPU's clock");
    return milliseconds;
}

void wait_for_stream(void* stream) {
    check(cudaStreamSynchronize(stream_of(stream)), "waiting for the GPU");
}

void copy(void* to, const void* from, std::size_t bytes, void* stream) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_of(stream)),
          "copying between host and GPU");
}

}  // namespace dsnet::cuda

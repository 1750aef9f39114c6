// A GPU's memory, streams and events, for callers without CUDA headers. A stream is a cudaStream_t,
// an event a cudaEvent_t. What fails throws CudaError, in words that say what to do where it can.
#pragma once

#include <cstddef>

namespace dsnet::cuda {

// cudaErrorMemoryAllocation: CudaError's code where a device, or the host for page-locked memory,
// has no room.
inline constexpr int kOutOfMemory = 2;

// How many devices there are, at least 1: without a driver or a device it throws.
int device_count();

// Makes a device the thread's current one, and the one before again at its end.
class DeviceScope {
  public:
    explicit DeviceScope(int device);
    ~DeviceScope();
    DeviceScope(const DeviceScope&) = delete;
    DeviceScope& operator=(const DeviceScope&) = delete;

  private:
    int before_;
};

// The device whose memory this is, -1 for other memory.
int device_of(const void* pointer);

// On the current device. What releases never throws: at exit the driver may be gone already.
void* allocate(std::size_t bytes);
void release(void* memory) noexcept;
void* allocate_pinned(std::size_t bytes);
void release_pinned(void* memory) noexcept;

// Does not wait for the default stream.
void* create_stream();
void destroy_stream(void* stream) noexcept;
void* create_event();
void destroy_event(void* event) noexcept;
void record(void* event, void* stream);
void wait_for_event(void* event);
float milliseconds_between(void* start, void* end);
void wait_for_stream(void* stream);

// From and to device or page-locked memory without waiting.
void copy(void* to, const void* from, std::size_t bytes, void* stream);

}  // namespace dsnet::cuda

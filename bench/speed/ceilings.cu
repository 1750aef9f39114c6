// What a device can do at best, measured: benches compare kernels with it.
#include "bench/speed/ceilings.h"

#include <cuda_runtime.h>

#include <algorithm>

#include "gpu/device.h"
#include "gpu/error.h"

namespace dsnet::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kRounds = 1 << 12;
constexpr int kChains = 8;  // enough to hide what one operation takes
constexpr int kTries = 5;

// Sixteen bytes at a time, a warp's beside each other.
__global__ void __launch_bounds__(kThreads) read_shared(float* out) {
    __shared__ float4 values[2 * kThreads];
    for (int i = threadIdx.x; i < 2 * kThreads; i += kThreads)
        values[i] = make_float4(float(i), 1.0f, 2.0f, 3.0f);
    __syncthreads();
    float4 sum = values[threadIdx.x];
    int at = threadIdx.x;
#pragma unroll 8
    for (int round = 0; round < kRounds; ++round) {
        at = (at + 32) & (2 * kThreads - 1);
        const float4 value = values[at];
        sum.x += value.x;
        sum.y += value.y;
        sum.z += value.z;
        sum.w += value.w;
    }
    if (sum.x + sum.y + sum.z + sum.w == -1.0f) *out = sum.x;  // never
}

__global__ void __launch_bounds__(kThreads) multiply_add(double* out, double factor) {
    double chain[kChains];
    for (int k = 0; k < kChains; ++k) chain[k] = double(threadIdx.x + k);
#pragma unroll 8
    for (int round = 0; round < kRounds; ++round)
#pragma unroll
        for (int k = 0; k < kChains; ++k) chain[k] = fma(chain[k], factor, 1.0);
    double sum = 0.0;
    for (int k = 0; k < kChains; ++k) sum += chain[k];
    if (sum == -1.0) *out = sum;  // never
}

// The least of some tries, in seconds.
template <class Launch>
double least_seconds(Launch launch) {
    void* const stream = create_stream();
    void* const start = create_event();
    void* const end = create_event();
    double least = 1e9;
    for (int round = 0; round <= kTries; ++round) {
        record(start, stream);
        launch(static_cast<cudaStream_t>(stream));
        check(cudaGetLastError(), "measuring the device");
        record(end, stream);
        wait_for_event(end);
        // The first warms up.
        if (round > 0) least = std::min(least, 1e-3 * milliseconds_between(start, end));
    }
    destroy_event(end);
    destroy_event(start);
    destroy_stream(stream);
    return least;
}

}  // namespace

Ceilings measure_ceilings(int device) {
    const DeviceScope scope(device);
    // Four blocks of 512 threads fill a multiprocessor; each has work for several turns.
    const int blocks = 16 * device_info(device).processors;
    void* const out = allocate(sizeof(double));
    const double steps = double(blocks) * kThreads * kRounds;
    Ceilings found;
    found.shared_bytes_per_second =
        steps * sizeof(float4) / least_seconds([&](cudaStream_t stream) {
            read_shared<<<blocks, kThreads, 0, stream>>>(static_cast<float*>(out));
        });
    found.multiply_adds_per_second =
        steps * kChains / least_seconds([&](cudaStream_t stream) {
            multiply_add<<<blocks, kThreads, 0, stream>>>(static_cast<double*>(out), 0.5);
        });
    release(out);
    return found;
}

}  // namespace dsnet::cuda

// What a GPU can do at best, measured; bench/speed/ceilings.py compiles and runs this.
//
//     ceilings DEVICE   prints JSON: bytes a second that are read from shared memory, and
//                       multiply-adds a second in float64
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace {

constexpr int kThreads = 512;
constexpr int kRounds = 1 << 12;
constexpr int kChains = 8;  // enough to hide what one operation takes
constexpr int kTries = 5;

void check(cudaError_t status) {
    if (status == cudaSuccess) return;
    std::fprintf(stderr, "%s\n", cudaGetErrorString(status));
    std::exit(1);
}

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

// The least of some tries.
template <class Launch>
double least_seconds(Launch launch) {
    cudaEvent_t start, end;
    check(cudaEventCreate(&start));
    check(cudaEventCreate(&end));
    float least = 1e12f;
    for (int round = 0; round <= kTries; ++round) {
        check(cudaEventRecord(start));
        launch();
        check(cudaGetLastError());
        check(cudaEventRecord(end));
        check(cudaEventSynchronize(end));
        float milliseconds = 0.0f;
        check(cudaEventElapsedTime(&milliseconds, start, end));
        if (round > 0) least = std::min(least, milliseconds);  // the first warms up
    }
    return 1e-3 * least;
}

}  // namespace

int main(int count, char** arguments) {
    const int device = count > 1 ? std::atoi(arguments[1]) : 0;
    check(cudaSetDevice(device));
    int processors = 0;
    check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device));
    void* out = nullptr;
    check(cudaMalloc(&out, sizeof(double)));
    // Four blocks of 512 threads fill a multiprocessor; each has work for several turns.
    const int blocks = 16 * processors;
    const double steps = double(blocks) * kThreads * kRounds;
    const double reading =
        least_seconds([&] { read_shared<<<blocks, kThreads>>>(static_cast<float*>(out)); });
    const double computing =
        least_seconds([&] { multiply_add<<<blocks, kThreads>>>(static_cast<double*>(out), 0.5); });
    std::printf("{\"shared_bytes_per_second\": %.6e, \"multiply_adds_per_second\": %.6e}\n",
                steps * sizeof(float4) / reading, steps * kChains / computing);
    return 0;
}

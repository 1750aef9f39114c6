// What a device can do at best, for callers without CUDA headers.
#pragma once

namespace dsnet::cuda {

struct Ceilings {
    double shared_bytes_per_second;   // read from shared memory
    double multiply_adds_per_second;  // in float64
};

// Takes some milliseconds. Throws CudaError.
Ceilings measure_ceilings(int device);

}  // namespace dsnet::cuda

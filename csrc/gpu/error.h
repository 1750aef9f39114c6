// What failed in a CUDA call, told to callers without CUDA headers.
#pragma once

#include <stdexcept>
#include <string>

namespace dsnet::cuda {

struct CudaError : std::runtime_error {
    CudaError(int code_, const std::string& message) : std::runtime_error(message), code(code_) {}
    int code;  // a cudaError_t
};

#if defined(__CUDACC__)
// Throws where a CUDA call failed. `what` is what was tried: "launching the matting kernel".
inline void check(cudaError_t status, const char* what) {
    if (status == cudaSuccess) return;
    cudaGetLastError();  // else the next call would report this failure as its own
    throw CudaError(static_cast<int>(status), std::string(what) + ": " +
                                                  cudaGetErrorString(status) + " (" +
                                                  cudaGetErrorName(status) + ")");
}

// Of what a caller gave.
inline void require(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
}
#endif

}  // namespace dsnet::cuda

// What gpu_threads.cuh asks of CUDA, on fibers. Stands in for the header of that name.
#pragma once

#include "cuda_threads.h"

namespace cooperative_groups {

struct Cluster {
    void sync() const { wait_at(emulation::launch.cluster_barrier); }
    unsigned num_blocks() const { return unsigned(emulation::launch.blocks); }
    unsigned block_rank() const { return unsigned(emulation::launch.current->rank); }
    template <class T>
    T* map_shared_rank(T* own, int rank) const {
        char* const mine = emulation::launch.shared_of(emulation::launch.current->rank);
        const auto offset = reinterpret_cast<char*>(own) - mine;
        if (rank < 0 || rank >= emulation::launch.blocks || offset < 0 ||
            offset >= std::ptrdiff_t(emulation::launch.shared_bytes))
            std::abort();
        return reinterpret_cast<T*>(emulation::launch.shared_of(rank) + offset);
    }
};

inline Cluster this_cluster() { return {}; }

}  // namespace cooperative_groups

// An index range over threads.
#pragma once

#include <cstddef>
#include <functional>

namespace dsnet {

// Threads that `run_batch` uses of those that were asked for: no more than there are indices, or
// cores that this process may run on. At least 1.
int batch_threads(std::ptrdiff_t count, int threads);

// Calls work(index, worker) for every index below `count`, on `batch_threads` of them, the caller's
// being one; `worker` counts them from 0. Threads take indices one by one as they get free. The
// first exception stops the others and is thrown again here.
void run_batch(std::ptrdiff_t count, int threads,
               const std::function<void(std::ptrdiff_t, int)>& work);

}  // namespace dsnet

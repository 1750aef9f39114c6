#include "base/threads.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#ifdef __linux__
#include <sched.h>
#endif

namespace dsnet {
namespace {

// Of a container or a batch job often fewer than the machine has.
std::ptrdiff_t usable_cores() {
#ifdef __linux__
    // The system has a mask of its own size, and refuses a smaller one.
    for (std::size_t size = 1024; size <= (1U << 20); size *= 4) {
        cpu_set_t* const cores = CPU_ALLOC(size);
        if (cores == nullptr) break;
        const std::size_t bytes = CPU_ALLOC_SIZE(size);
        const int count = sched_getaffinity(0, bytes, cores) == 0 ? CPU_COUNT_S(bytes, cores) : 0;
        CPU_FREE(cores);
        if (count > 0) return count;
    }
#endif
    return std::max(std::thread::hardware_concurrency(), 1U);
}

}  // namespace

int batch_threads(std::ptrdiff_t count, int threads) {
    const std::ptrdiff_t most = std::min<std::ptrdiff_t>(count, threads);
    if (most <= 1) return 1;
    return static_cast<int>(std::min(most, usable_cores()));
}

void run_batch(std::ptrdiff_t count, int threads,
               const std::function<void(std::ptrdiff_t, int)>& work) {
    std::atomic<std::ptrdiff_t> next{0};
    std::exception_ptr failure;
    std::mutex failing;
    const auto serve = [&](int worker) {
        try {
            for (std::ptrdiff_t index; (index = next.fetch_add(1)) < count;) work(index, worker);
        } catch (...) {
            const std::lock_guard<std::mutex> lock(failing);
            if (!failure) failure = std::current_exception();
            next.store(count);
        }
    };
    std::vector<std::thread> others;
    const int helpers = batch_threads(count, threads) - 1;
    for (int k = 0; k < helpers; ++k) {
        try {
            others.emplace_back(serve, k + 1);
        } catch (const std::system_error&) {
            break;  // the system gives no more threads: those that run do the work
        }
    }
    serve(0);
    for (std::thread& other : others) other.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace dsnet

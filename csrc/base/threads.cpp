#include "base/threads.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace dsnet {

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
    const auto helpers = std::min<std::ptrdiff_t>(threads, count) - 1;
    for (std::ptrdiff_t k = 0; k < helpers; ++k) {
        try {
            others.emplace_back(serve, static_cast<int>(k + 1));
        } catch (const std::system_error&) {
            break;  // the system gives no more threads: those that run do the work
        }
    }
    serve(0);
    for (std::thread& other : others) other.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace dsnet

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "base/kept.h"
#include "base/threads.h"
#include "label/label.h"

namespace dsnet {
namespace {

// Workspaces that no thread holds: the next batch finds their memory in place. Without a lock,
// which a process that was forked meanwhile would find held for ever by a thread that it does not
// have.
class WorkspaceShelf {
  public:
    std::unique_ptr<LabelWorkspace> take() {
        for (auto& place : places_) {
            std::unique_ptr<LabelWorkspace> workspace(place.exchange(nullptr));
            if (workspace) {
                pixels_.fetch_sub(workspace->pixels);
                return workspace;
            }
        }
        return std::make_unique<LabelWorkspace>();
    }
    // Frees it where the shelf is full.
    void put_back(std::unique_ptr<LabelWorkspace> workspace) {
        if (workspace->pixels > kMostKeptPixels) return;
        if (pixels_.fetch_add(workspace->pixels) + workspace->pixels <= kMostShelvedPixels) {
            for (auto& place : places_) {
                LabelWorkspace* none = nullptr;
                if (place.compare_exchange_strong(none, workspace.get())) {
                    workspace.release();
                    return;
                }
            }
        }
        pixels_.fetch_sub(workspace->pixels);
    }

  private:
    // About 400 MB.
    static constexpr std::ptrdiff_t kMostShelvedPixels = 8 * kMostKeptPixels;
    std::atomic<LabelWorkspace*> places_[256] = {};
    std::atomic<std::ptrdiff_t> pixels_{0};
};

// Constant at its start: a static in a function is guarded by a lock.
WorkspaceShelf shelf;

}  // namespace

void run_label_batch(std::ptrdiff_t count, int threads, std::ptrdiff_t pixels,
                     const std::function<void(std::ptrdiff_t, LabelWorkspace&)>& work) {
    std::vector<std::unique_ptr<LabelWorkspace>> workspaces(
        static_cast<std::size_t>(batch_threads(count, threads)));
    const auto put_back = [&] {
        for (auto& workspace : workspaces)
            if (workspace) shelf.put_back(std::move(workspace));
    };
    try {
        run_batch(count, threads, [&](std::ptrdiff_t index, int worker) {
            auto& workspace = workspaces[static_cast<std::size_t>(worker)];
            if (!workspace) {
                workspace = shelf.take();
                workspace->pixels = std::max(workspace->pixels, pixels);
            }
            work(index, *workspace);
        });
    } catch (...) {
        put_back();
        throw;
    }
    put_back();
}

void label_batch(std::vector<LabelTask>& tasks, const LabelOptions& options, int threads) {
    std::ptrdiff_t pixels = 0;
    for (const LabelTask& task : tasks)
        pixels = std::max(pixels, task.image.rows * task.image.cols);
    run_label_batch(static_cast<std::ptrdiff_t>(tasks.size()), threads, pixels,
                    [&](std::ptrdiff_t index, LabelWorkspace& workspace) {
                        LabelTask& task = tasks[static_cast<std::size_t>(index)];
                        task.outcome = label_recist(task.image, task.coordinates, options,
                                                    workspace, task.alpha, task.binary,
                                                    task.trimap);
                    });
}

}  // namespace dsnet

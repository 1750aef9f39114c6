#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/threads.h"
#include "label/label.h"

namespace dsnet {
namespace {

// Workspaces that no thread holds. Kept for good: the next batch finds its memory in place.
class WorkspaceShelf {
  public:
    std::unique_ptr<LabelWorkspace> take() {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (shelf_.empty()) return std::make_unique<LabelWorkspace>();
        std::unique_ptr<LabelWorkspace> workspace = std::move(shelf_.back());
        shelf_.pop_back();
        return workspace;
    }
    void put_back(std::unique_ptr<LabelWorkspace> workspace) {
        const std::lock_guard<std::mutex> lock(mutex_);
        shelf_.push_back(std::move(workspace));
    }

  private:
    std::mutex mutex_;
    std::vector<std::unique_ptr<LabelWorkspace>> shelf_;
};

WorkspaceShelf& shelf() {
    static WorkspaceShelf only;
    return only;
}

}  // namespace

void run_label_batch(std::ptrdiff_t count, int threads,
                     const std::function<void(std::ptrdiff_t, LabelWorkspace&)>& work) {
    std::vector<std::unique_ptr<LabelWorkspace>> workspaces(
        static_cast<std::size_t>(std::max(threads, 1)));
    for (auto& workspace : workspaces) workspace = shelf().take();
    const auto put_back = [&] {
        for (auto& workspace : workspaces) shelf().put_back(std::move(workspace));
    };
    try {
        run_batch(count, threads, [&](std::ptrdiff_t index, int worker) {
            work(index, *workspaces[static_cast<std::size_t>(worker)]);
        });
    } catch (...) {
        put_back();
        throw;
    }
    put_back();
}

void label_batch(std::vector<LabelTask>& tasks, const LabelOptions& options, int threads) {
    run_label_batch(static_cast<std::ptrdiff_t>(tasks.size()), threads,
                    [&](std::ptrdiff_t index, LabelWorkspace& workspace) {
                        LabelTask& task = tasks[static_cast<std::size_t>(index)];
                        task.outcome = label_recist(task.image, task.coordinates, options,
                                                    workspace, task.alpha, task.binary,
                                                    task.trimap);
                    });
}

}  // namespace dsnet

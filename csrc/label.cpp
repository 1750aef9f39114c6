#include "label.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "label_kernels.h"

namespace dsnet {
namespace {

// As much may an image lie outside 0..1.
constexpr float kSlack = 1e-3f;

class Stopwatch {
  public:
    double lap() {
        const auto now = std::chrono::steady_clock::now();
        const double seconds = std::chrono::duration<double>(now - last_).count();
        last_ = now;
        return seconds;
    }

  private:
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

bool is_valid(Image<const float> image, bool& constant) {
    Range whole = {image.row(0)[0], image.row(0)[0], true};
    for (std::ptrdiff_t y = 0; y < image.rows; ++y) {
        const Range row = label_kernels().range(image.row(y), image.cols);
        whole.low = std::min(whole.low, row.low);
        whole.high = std::max(whole.high, row.high);
        whole.ordered &= row.ordered;
    }
    constant = whole.low == whole.high;
    return whole.ordered && whole.low >= -kSlack && whole.high <= 1 + kSlack;
}

}  // namespace

LabelOutcome label_recist(Image<const float> image, const double coordinates[8],
                          const LabelOptions& options, LabelWorkspace& workspace,
                          Image<float> alpha, Image<std::uint8_t> binary,
                          Image<std::uint8_t> trimap) {
    LabelOutcome outcome;
    if (!is_valid(image, outcome.constant)) {
        outcome.error = LabelError::kImage;
        return outcome;
    }
    if (!are_usable(coordinates)) {
        outcome.error = LabelError::kMark;
        return outcome;
    }
    if (image.rows < 3 || image.cols < 3) {
        outcome.error = LabelError::kSmall;
        return outcome;
    }
    const RecistMark mark = mark_as_given(coordinates);
    outcome.problems = mark_problems(mark, image.rows, image.cols);
    if (outcome.problems & kOutside) {
        outcome.error = LabelError::kMark;
        return outcome;
    }

    const auto size = static_cast<std::size_t>(image.size());
    workspace.mask.resize(size);
    workspace.log_odds.resize(size);
    workspace.prior.resize(size);
    const Image<std::uint8_t> mask(workspace.mask.data(), image.rows, image.cols);
    const Image<const std::uint8_t> cut(mask.data, image.rows, image.cols);
    const Image<float> log_odds(workspace.log_odds.data(), image.rows, image.cols);
    const Image<const float> evidence(log_odds.data, image.rows, image.cols);
    const Image<const std::uint8_t> split(trimap.data, trimap.rows, trimap.cols,
                                          trimap.row_stride);
    Stopwatch watch;
    outcome.cut = cut_recist(image, mark, *options.network, workspace.cut, mask, log_odds);
    outcome.seconds[0] = watch.lap();
    trimap_from_cut(cut, evidence, mark, workspace.trimap, trimap);
    outcome.seconds[1] = watch.lap();

    // The cut's probabilities, where matting asks for them.
    for (std::ptrdiff_t y = 0; y < image.rows; ++y) {
        float* toward = workspace.prior.data() + y * image.cols;
        const std::uint8_t* row = trimap.row(y);
        for (std::ptrdiff_t x = 0; x < image.cols; ++x) {
            const void* next = std::memchr(row + x, kUnknown, static_cast<std::size_t>(image.cols - x));
            if (next == nullptr) break;
            x = static_cast<const std::uint8_t*>(next) - row;
            toward[x] = static_cast<float>(1.0 / (1.0 + std::exp(-double{log_odds.row(y)[x]})));
        }
    }
    MattingOptions matting = options.matting;
    matting.prior_weight = options.prior_weight;
    outcome.matting =
        solve_matting(image, split, {workspace.prior.data(), image.rows, image.cols}, matting,
                      workspace.matting, alpha);
    // Each pixel keeps the cut's side of one half.
    for (std::ptrdiff_t y = 0; y < image.rows; ++y)
        label_kernels().take_sides(mask.row(y), image.cols, alpha.row(y), binary.row(y));
    outcome.seconds[2] = watch.lap();

    QualityContext context;
    context.mark = &mark;
    context.cut = outcome.cut.fallback == CutFallback::kNone ? QualityContext::Cut::kWorked
                                                             : QualityContext::Cut::kFellBack;
    context.converged = outcome.matting.converged;
    context.residual = outcome.matting.residual;
    context.rtol = options.matting.rtol;
    outcome.quality = score(image, {alpha.data, alpha.rows, alpha.cols, alpha.row_stride}, split,
                            context, workspace.quality);
    return outcome;
}

}  // namespace dsnet

#include "label.h"

#include <chrono>
#include <cmath>

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

struct Range {
    float low, high;
    bool valid;
};

Range range_of(Image<const float> image) {
    constexpr std::ptrdiff_t kBlock = 16;
    float low[kBlock], high[kBlock];
    const float first = image.row(0)[0];
    for (std::ptrdiff_t k = 0; k < kBlock; ++k) low[k] = high[k] = first;
    std::int32_t odd = 0;
    for (std::ptrdiff_t y = 0; y < image.rows; ++y) {
        const float* row = image.row(y);
        std::ptrdiff_t x = 0;
        for (; x + kBlock <= image.cols; x += kBlock) {
            for (std::ptrdiff_t k = 0; k < kBlock; ++k) {
                const float value = row[x + k];
                low[k] = value < low[k] ? value : low[k];
                high[k] = value > high[k] ? value : high[k];
                odd |= !(value >= -kSlack);  // true for NaN, too
            }
        }
        for (; x < image.cols; ++x) {
            low[0] = row[x] < low[0] ? row[x] : low[0];
            high[0] = row[x] > high[0] ? row[x] : high[0];
            odd |= !(row[x] >= -kSlack);
        }
    }
    for (std::ptrdiff_t k = 1; k < kBlock; ++k) {
        low[0] = low[k] < low[0] ? low[k] : low[0];
        high[0] = high[k] > high[0] ? high[k] : high[0];
    }
    return {low[0], high[0], !odd && high[0] <= 1 + kSlack};
}

}  // namespace

LabelOutcome label_recist(Image<const float> image, const double coordinates[8],
                          const LabelOptions& options, LabelWorkspace& workspace,
                          Image<float> alpha, Image<std::uint8_t> binary,
                          Image<std::uint8_t> trimap) {
    LabelOutcome outcome;
    const Range range = range_of(image);
    if (!range.valid) {
        outcome.error = LabelError::kImage;
        return outcome;
    }
    outcome.constant = range.low == range.high;
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
        for (std::ptrdiff_t x = 0; x < image.cols; ++x)
            if (trimap.row(y)[x] == kUnknown)
                toward[x] = static_cast<float>(1.0 / (1.0 + std::exp(-double{log_odds.row(y)[x]})));
    }
    MattingOptions matting = options.matting;
    matting.prior_weight = options.prior_weight;
    outcome.matting =
        solve_matting(image, split, {workspace.prior.data(), image.rows, image.cols}, matting,
                      workspace.matting, alpha);
    // Each pixel keeps the cut's side of one half.
    const float below_half = std::nextafter(0.5f, 0.0f);
    for (std::ptrdiff_t y = 0; y < image.rows; ++y) {
        float* share = alpha.row(y);
        const std::uint8_t* inside = mask.row(y);
        std::uint8_t* lesion = binary.row(y);
        for (std::ptrdiff_t x = 0; x < image.cols; ++x) {
            const float value = share[x];
            const float at_least = value > 0.5f ? value : 0.5f;
            const float at_most = value < below_half ? value : below_half;
            share[x] = inside[x] ? at_least : at_most;
            lesion[x] = inside[x];
        }
    }
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

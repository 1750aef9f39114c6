#include "label/label.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/image_simd.h"
#include "base/stopwatch.h"
#include "trimap/numbers.h"

namespace dsnet {
namespace {

// As much may an image lie outside 0..1.
constexpr float kSlack = 1e-3f;
// What the axes' ellipse reaches under marks that people draw, in one of twenty and of a hundred.
constexpr double kEllipseDice = 0.64, kEllipseDiceLow = 0.45;

bool is_valid(Image<const float> image, bool& constant) {
    // Rows without a gap are one.
    const bool whole_rows = image.row_stride == image.cols;
    const std::ptrdiff_t rows = whole_rows ? 1 : image.rows;
    const std::ptrdiff_t cols = whole_rows ? image.size() : image.cols;
    Range whole = {image.row(0)[0], image.row(0)[0], true};
    for (std::ptrdiff_t y = 0; y < rows; ++y) {
        const Range row = image_simd().range(image.row(y), cols);
        whole.low = std::min(whole.low, row.low);
        whole.high = std::max(whole.high, row.high);
        whole.ordered &= row.ordered;
    }
    constant = whole.low == whole.high;
    return whole.ordered && whole.low >= -kSlack && whole.high <= 1 + kSlack;
}

void probabilities(Image<const float> log_odds, Image<const std::uint8_t> trimap,
                   Image<float> prior) {
    for (std::ptrdiff_t y = 0; y < trimap.rows; ++y) {
        float* toward = prior.row(y);
        const std::uint8_t* row = trimap.row(y);
        std::fill_n(toward, trimap.cols, 0.0f);
        for (std::ptrdiff_t x = 0; x < trimap.cols; ++x) {
            const void* next =
                std::memchr(row + x, kUnknown, static_cast<std::size_t>(trimap.cols - x));
            if (next == nullptr) break;
            x = static_cast<const std::uint8_t*>(next) - row;
            toward[x] = static_cast<float>(1.0 / (1.0 + std::exp(-double{log_odds.row(y)[x]})));
        }
    }
}

}  // namespace

namespace {

// What Dice the label may have with what careful readers agree on.
void expect_dice(const EdgeNetwork& network, const MarkFrame& frame, std::ptrdiff_t pixels,
                 LabelOutcome& outcome) {
    QualityScores& scores = outcome.quality;
    if (pixels == 0) {
        scores.expected_dice = scores.expected_dice_low = 0.0;
        return;
    }
    if (outcome.cut.fallback != CutFallback::kNone) {
        scores.expected_dice = kEllipseDice;
        scores.expected_dice_low = kEllipseDiceLow;
        return;
    }
    const auto logit = [](double share) {
        const double kept = std::clamp(share, 0.01, 0.999);
        return std::log(kept / (1.0 - kept));
    };
    const double long_axis = std::max(frame.long_diameter, 1.0);
    const double known[] = {1.0, logit(outcome.cut.expected_dice),
                            std::log(std::clamp(long_axis, 2.0, 80.0)),
                            std::max(frame.short_diameter, 1.0) / long_axis,
                            std::log(static_cast<double>(std::max<std::ptrdiff_t>(pixels, 1)))};
    double sum = 0.0;
    for (int k = 0; k < 5; ++k) sum += network.expected_dice[k] * known[k];
    scores.expected_dice = 1.0 / (1.0 + std::exp(-sum));
    const int size = long_axis < 10.0 ? 0 : long_axis < 20.0 ? 1 : 2;
    scores.expected_dice_low =
        std::max(scores.expected_dice - network.expected_dice_margin[size], 0.0);
}

}  // namespace

bool check_label(Image<const float> image, const double coordinates[8], LabelOutcome& outcome) {
    if (!is_valid(image, outcome.constant)) {
        outcome.error = LabelError::kImage;
    } else if (!are_usable(coordinates)) {
        outcome.error = LabelError::kMark;
    } else if (image.rows < 3 || image.cols < 3) {
        outcome.error = LabelError::kSmall;
    } else {
        outcome.problems = mark_problems(mark_as_given(coordinates), image.rows, image.cols);
        if (outcome.problems & kOutside) outcome.error = LabelError::kMark;
    }
    return outcome.error == LabelError::kNone;
}

LabelOutcome begin_label(Image<const float> image, const double coordinates[8],
                         const EdgeNetwork& network, LabelWorkspace& workspace,
                         Image<std::uint8_t> mask, Image<std::uint8_t> trimap, Image<float> prior) {
    LabelOutcome outcome;
    if (!check_label(image, coordinates, outcome)) return outcome;
    const RecistMark mark = mark_as_given(coordinates);
    workspace.log_odds.resize(static_cast<std::size_t>(image.size()));
    const Image<float> log_odds(workspace.log_odds.data(), image.rows, image.cols);
    const Image<const float> evidence(log_odds.data, image.rows, image.cols);
    Stopwatch watch;
    outcome.cut = cut_recist(image, mark, network, workspace.cut, mask, log_odds);
    outcome.seconds[0] = watch.lap();
    trimap_from_cut({mask.data, mask.rows, mask.cols, mask.row_stride}, evidence, mark,
                    workspace.trimap, trimap);
    outcome.seconds[1] = watch.lap();
    probabilities(evidence, {trimap.data, trimap.rows, trimap.cols, trimap.row_stride}, prior);
    outcome.seconds[2] = watch.lap();
    return outcome;
}

void finish_label(Image<const float> image, const double coordinates[8], const EdgeNetwork& network,
                  double rtol, Image<const std::uint8_t> mask, Image<const std::uint8_t> trimap,
                  QualityWorkspace& workspace, Image<float> alpha, Image<std::uint8_t> binary,
                  LabelOutcome& outcome) {
    Stopwatch watch;
    // Each pixel keeps the cut's side of one half.
    std::ptrdiff_t pixels = 0;
    for (std::ptrdiff_t y = 0; y < image.rows; ++y) {
        image_simd().take_sides(mask.row(y), image.cols, alpha.row(y), binary.row(y));
        std::int32_t row = 0;
        for (std::ptrdiff_t x = 0; x < image.cols; ++x) row += mask.row(y)[x] != 0;
        pixels += row;
    }
    outcome.seconds[2] += watch.lap();

    const RecistMark mark = mark_as_given(coordinates);
    QualityContext context;
    context.mark = &mark;
    context.cut = outcome.cut.fallback == CutFallback::kNone ? QualityContext::Cut::kWorked
                                                             : QualityContext::Cut::kFellBack;
    context.converged = outcome.matting.converged;
    context.residual = outcome.matting.residual;
    context.rtol = rtol;
    outcome.quality = score(image, {alpha.data, alpha.rows, alpha.cols, alpha.row_stride}, trimap,
                            context, workspace);
    expect_dice(network, MarkFrame(mark), pixels, outcome);
}

LabelOutcome label_recist(Image<const float> image, const double coordinates[8],
                          const LabelOptions& options, LabelWorkspace& workspace,
                          Image<float> alpha, Image<std::uint8_t> binary,
                          Image<std::uint8_t> trimap) {
    const auto size = static_cast<std::size_t>(image.size());
    workspace.mask.resize(size);
    workspace.prior.resize(size);
    const Image<std::uint8_t> mask(workspace.mask.data(), image.rows, image.cols);
    LabelOutcome outcome = begin_label(image, coordinates, *options.network, workspace, mask,
                                       trimap, {workspace.prior.data(), image.rows, image.cols});
    if (outcome.error != LabelError::kNone) return outcome;

    const Image<const std::uint8_t> split(trimap.data, trimap.rows, trimap.cols, trimap.row_stride);
    MattingOptions matting = options.matting;
    matting.prior_weight = options.prior_weight;
    Stopwatch watch;
    outcome.matting = solve_matting(image, split, {workspace.prior.data(), image.rows, image.cols},
                                    matting, workspace.matting, alpha);
    outcome.seconds[2] += watch.lap();
    finish_label(image, coordinates, *options.network, options.matting.rtol,
                 {mask.data, mask.rows, mask.cols}, split, workspace.quality, alpha, binary,
                 outcome);
    return outcome;
}

}  // namespace dsnet

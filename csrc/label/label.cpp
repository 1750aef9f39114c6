#include "label/label.h"

#include "label/stages.h"
#include "base/stopwatch.h"

namespace dsnet {

LabelOutcome label_recist(Image<const float> image, const double coordinates[8],
                          const LabelOptions& options, LabelWorkspace& workspace,
                          Image<float> alpha, Image<std::uint8_t> binary,
                          Image<std::uint8_t> trimap) {
    const auto size = static_cast<std::size_t>(image.size());
    workspace.mask.resize(size);
    workspace.prior.resize(size);
    const Image<std::uint8_t> mask(workspace.mask.data(), image.rows, image.cols);
    LabelOutcome outcome =
        begin_label(image, coordinates, *options.network, workspace, mask, trimap,
                    {workspace.prior.data(), image.rows, image.cols});
    if (outcome.error != LabelError::kNone) return outcome;

    const Image<const std::uint8_t> split(trimap.data, trimap.rows, trimap.cols,
                                          trimap.row_stride);
    MattingOptions matting = options.matting;
    matting.prior_weight = options.prior_weight;
    Stopwatch watch;
    outcome.matting =
        solve_matting(image, split, {workspace.prior.data(), image.rows, image.cols}, matting,
                      workspace.matting, alpha);
    outcome.seconds[2] += watch.lap();
    finish_label(image, coordinates, options.matting.rtol, {mask.data, mask.rows, mask.cols},
                 split, workspace.quality, alpha, binary, outcome);
    return outcome;
}

}  // namespace dsnet

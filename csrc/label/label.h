// Strategy 3 from an image and a RECIST mark to a soft mask; dsnet/labeling/soft_mask.py says more.
#pragma once

#include <cstdint>
#include <vector>

#include "cut/cut.h"
#include "base/image.h"
#include "matting/matting.h"
#include "quality/quality.h"
#include "mark/recist.h"
#include "trimap/trimap.h"

namespace dsnet {

// Memory that is reused from label to label; one for each thread.
struct LabelWorkspace {
    CutWorkspace cut;
    TrimapWorkspace trimap;
    MattingWorkspace matting;
    QualityWorkspace quality;
    std::vector<std::uint8_t> mask;
    std::vector<float> log_odds, prior;
};

struct LabelOptions {
    const EdgeNetwork* network = nullptr;
    double prior_weight = 3.0;  // of the cut's probabilities in matting
    MattingOptions matting;
};

enum class LabelError : int {
    kNone,
    kImage,  // not finite, or outside 0..1
    kMark,   // not usable, or outside the image
    kSmall,  // matting needs windows of 3 x 3
};

struct LabelOutcome {
    LabelError error = LabelError::kNone;
    unsigned problems = 0;  // of the mark, see MarkProblem
    bool constant = false;  // one grey value all over
    CutOutcome cut;
    MattingOutcome matting;
    QualityScores quality;
    double seconds[3] = {};  // cut, trimap, matting
};

// All images have the shape of `image`. Where there is an error, the other outputs are untouched.
LabelOutcome label_recist(Image<const float> image, const double coordinates[8],
                          const LabelOptions& options, LabelWorkspace& workspace,
                          Image<float> alpha, Image<std::uint8_t> binary,
                          Image<std::uint8_t> trimap);

struct LabelTask {
    Image<const float> image;
    const double* coordinates;
    Image<float> alpha;
    Image<std::uint8_t> binary, trimap;
    LabelOutcome outcome;
};

// Labels all tasks on so many threads, which share them out one by one; what a task's label is
// does not depend on the others. Workspaces are kept for the next batch.
void label_batch(std::vector<LabelTask>& tasks, const LabelOptions& options, int threads);

}  // namespace dsnet

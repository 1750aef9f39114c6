// A label: strategy 3 from an image and a RECIST mark to a soft mask, whole or by stages, one or
// many; dsnet/labeling/soft_mask.py says more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "base/image.h"
#include "cut/cut.h"
#include "mark/recist.h"
#include "matting/matting.h"
#include "quality/quality.h"
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
    std::ptrdiff_t pixels = 0;  // of the largest image that it served
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
    kSmall,  // below 3 x 3, which is a window of matting
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

// The same in parts, so that the cut, its trimap and matting can run elsewhere than the rest: the
// checks come before them, the cut's side of one half and the scores after them.

// Whether an image and a mark can be labelled, or else why not.
bool check_label(Image<const float> image, const double coordinates[8], LabelOutcome& outcome);

// The stages before matting. All images have the shape of `image`; those written are contiguous.
// The prior holds the cut's probabilities where the trimap is unknown, else 0. Where there is an
// error, they are untouched.
LabelOutcome begin_label(Image<const float> image, const double coordinates[8],
                         const EdgeNetwork& network, LabelWorkspace& workspace,
                         Image<std::uint8_t> mask, Image<std::uint8_t> trimap, Image<float> prior);

// `outcome` is what the stages before told, with matting; alpha is matting's and becomes the
// label's.
void finish_label(Image<const float> image, const double coordinates[8], const EdgeNetwork& network,
                  double rtol, Image<const std::uint8_t> mask, Image<const std::uint8_t> trimap,
                  QualityWorkspace& workspace, Image<float> alpha, Image<std::uint8_t> binary,
                  LabelOutcome& outcome);

struct LabelTask {
    Image<const float> image;
    const double* coordinates;
    Image<float> alpha;
    Image<std::uint8_t> binary, trimap;
    LabelOutcome outcome;
};

// Labels all tasks on so many threads, which share them out one by one; what a task's label is
// does not depend on the others.
void label_batch(std::vector<LabelTask>& tasks, const LabelOptions& options, int threads);

// Calls work(index, workspace) for every index below `count` as run_batch does, with workspaces
// that are kept for the next batch, unless they are many or an image of more than kMostKeptPixels
// used them; `pixels` are those of the largest image.
void run_label_batch(std::ptrdiff_t count, int threads, std::ptrdiff_t pixels,
                     const std::function<void(std::ptrdiff_t, LabelWorkspace&)>& work);

}  // namespace dsnet

// A label in parts, so that the cut, its trimap and matting can run elsewhere than the rest: the checks
// come before them, the cut's side of one half and the scores after them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "label/label.h"

namespace dsnet {

// The first stage: whether an image and a mark can be labelled, or else why not.
bool check_label(Image<const float> image, const double coordinates[8], LabelOutcome& outcome);

// The stages before matting.
// All images have the shape of `image`; those written are contiguous. The prior holds the cut's
// probabilities where the trimap is unknown, else 0. Where there is an error, they are untouched.
LabelOutcome begin_label(Image<const float> image, const double coordinates[8],
                         const EdgeNetwork& network, LabelWorkspace& workspace,
                         Image<std::uint8_t> mask, Image<std::uint8_t> trimap,
                         Image<float> prior);

// `outcome` is what the stages before told, with matting; alpha is matting's and becomes the label's.
void finish_label(Image<const float> image, const double coordinates[8], double rtol,
                  Image<const std::uint8_t> mask, Image<const std::uint8_t> trimap,
                  QualityWorkspace& workspace, Image<float> alpha, Image<std::uint8_t> binary,
                  LabelOutcome& outcome);

// Calls work(index, workspace) for every index below `count` as run_batch does, with workspaces
// that are kept for the next batch.
void run_label_batch(std::ptrdiff_t count, int threads,
                     const std::function<void(std::ptrdiff_t, LabelWorkspace&)>& work);

}  // namespace dsnet

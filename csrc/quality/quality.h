// The scores of a label; dsnet/labeling/quality.py tells what each means.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "base/image.h"
#include "masks/components.h"
#include "masks/morphology.h"

namespace dsnet {

struct RecistMark;

// NaN where a score does not apply.
struct QualityScores {
    static constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

    double axes_agreement = kNone;
    double mark_inside = kNone;
    double mark_soundness = kNone;
    double mask_agreement = kNone;
    double known_fraction = kNone;
    double edge_contrast = kNone;
    double in_one_piece = kNone;
    double border_clearance = kNone;
    double cut = kNone;
    double solver_convergence = kNone;
    double overall = kNone;
    double expected_dice = kNone, expected_dice_low = kNone;  // of labels from a mark
};

struct QualityContext {
    const RecistMark* mark = nullptr;               // what the label was made from (strategy 3)
    const std::uint8_t* reference = nullptr;        // or the mask, contiguous (strategies 1 and 2)
    double rater_agreement = QualityScores::kNone;  // joins the overall score
    enum class Cut { kNone, kFellBack, kWorked } cut = Cut::kNone;
    bool converged = true;  // of the matting solver
    double residual = 0.0;
    double rtol = 1e-6;
};

// Buffers that are reused from call to call and only grow; one for each thread.
struct QualityWorkspace {
    MorphologyWorkspace morphology;
    ComponentsWorkspace components;
    std::vector<std::uint8_t> core;
};

QualityScores score(Image<const float> image, Image<const float> alpha,
                    Image<const std::uint8_t> trimap, const QualityContext& context,
                    QualityWorkspace& workspace);

}  // namespace dsnet

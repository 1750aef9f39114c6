// What matting is told besides grey values where a trimap is unknown: strategy 1's prior of a
// mask's edge, strategy 2's of votes. For CPU and GPU; included below base/gpu_block.h for the
// latter.
#pragma once

#include <cmath>
#include <cstdint>

#include "trimap/numbers.h"

#ifdef DSNET_HOST_DEVICE
#define DSNET_PRIOR DSNET_HOST_DEVICE
#else
#define DSNET_PRIOR inline
#endif

namespace dsnet {

// How likely a pixel is lesion whose centre is so far from the nearest centre on the other side of
// the mask's edge, in pixels. The error of a drawn edge is taken as Student's with two degrees of
// freedom: near a normal one, with heavier tails, and its distribution function takes a square root
// alone, which all machines round alike.
DSNET_PRIOR float edge_prior(bool inside, double distance) {
    // Edges lie half-way between the centres.
    const double within = inside ? distance - 0.5 : 0.5 - distance;
    const double t = (within + kEdgeBias) / kEdgeError;
    return static_cast<float>(0.5 + t / (2.0 * std::sqrt(2.0 + t * t)));
}

// How likely a pixel is lesion that so many of the raters marked, who all marked something.
DSNET_PRIOR float votes_prior(int votes, int raters) {
    if (votes == 0) return 0.0f;
    const double added = 2 * votes == raters ? kVotesAddedAtHalf : kVotesAdded;
    return static_cast<float>((votes + added) / (raters + added));
}

// Length of a step between pixels, in units of the smaller spacing; beyond kEdgeReach as that.
DSNET_PRIOR double step_length(int down, int right, double row_spacing, double column_spacing) {
    const double unit = row_spacing < column_spacing ? row_spacing : column_spacing;
    const double along = down * (row_spacing / unit), across = right * (column_spacing / unit);
    const double length = std::sqrt(along * along + across * across);
    return length < kEdgeReach ? length : kEdgeReach;
}

}  // namespace dsnet

// How many pixels of a row of an image are in each pixel of a row of a crop: few, and neighbours.
//
// Sums go along the image's pixels, one by one, in float64: the same bits on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace dsnet {

// One axis of a crop: pixels of 1 / scale from `offset` on, in an image of so many.
struct CropAxis {
    std::ptrdiff_t size;
    double offset;
    double scale;
    std::ptrdiff_t length;
    double beyond = 1.0;  // what an edge pixel counts that goes on beyond the border
};

// Pixels `first` to `last` of the image, the latter excluded, are all that the axis is made of.
struct SourceSpan {
    std::ptrdiff_t first, last;

    std::ptrdiff_t count() const { return last - first; }
};
SourceSpan source_span(const CropAxis& axis);

// Shrinking takes the mean over the area covered, enlarging interpolates linearly.
struct Weights {
    explicit Weights(const CropAxis& axis);

    SourceSpan span;
    // Of each pixel of the crop the first of the span's pixels in it, and how many.
    std::vector<std::int32_t> first, count;
    std::ptrdiff_t most = 0;  // of the counts
    // Of pixel i those from i * most on; the rest is 0.
    std::vector<double> values;
};

}  // namespace dsnet

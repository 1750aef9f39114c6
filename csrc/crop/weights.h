// How many pixels of a row of an image are in each pixel of a row of a crop: few, and neighbours.
//
// Sums go along the image's pixels, one by one, in float64: the same bits on every machine.
#pragma once

#include <cstddef>
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
};
SourceSpan source_span(const CropAxis& axis);

// Shrinking takes the mean over the area covered, enlarging interpolates linearly.
class Weights {
  public:
    explicit Weights(const CropAxis& axis);

    struct Pixel {
        std::ptrdiff_t first, count;  // of the span's pixels
        const double* weights;
    };
    std::ptrdiff_t size() const { return static_cast<std::ptrdiff_t>(bands_.size()); }
    SourceSpan span() const { return span_; }
    Pixel operator[](std::ptrdiff_t i) const {
        const Band& band = bands_[static_cast<std::size_t>(i)];
        return {band.first, band.count, values_.data() + band.begin};
    }

  private:
    struct Band {
        std::ptrdiff_t first, count, begin;
    };
    SourceSpan span_;
    std::vector<Band> bands_;
    std::vector<double> values_;
};

}  // namespace dsnet

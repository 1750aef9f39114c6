// What one image's matting is asked, and the part of the image that it works on.
#pragma once

#include "matting/gpu.h"
#include "matting/gpu_windows.h"

namespace dsnet::matting_device {

template <int K>
struct Values {
    double of[K];
};

struct Sum {
    DSNET_HOST_DEVICE double operator()(double a, double b) const { return a + b; }
};

struct Largest {
    DSNET_HOST_DEVICE double operator()(double a, double b) const { return most(a, b); }
};

struct Problem {
    const float* image;
    const std::uint8_t* trimap;
    const float* prior;  // or null
    float* alpha;
    int rows, cols;
    double epsilon, rtol, weight;
    int max_iterations;
};

DSNET_HOST_DEVICE Problem problem_of(const cuda::MattingBatch& batch, std::int64_t index) {
    const std::int64_t at = index * batch.rows * batch.cols;
    return {batch.images + at,
            batch.trimaps + at,
            batch.priors == nullptr ? nullptr : batch.priors + at,
            batch.alphas + at,
            batch.rows,
            batch.cols,
            batch.epsilon,
            batch.rtol,
            batch.priors == nullptr ? 0.0 : batch.prior_weight,
            batch.max_iterations};
}

// The part of the image that the unknown pixels' windows cover.
struct Region {
    int top, left, rows, cols;

    DSNET_HOST_DEVICE static Region around(int first_row, int last_row, int first_col, int last_col,
                                           int height, int width) {
        const int top = most(first_row - 2, 0), left = most(first_col - 2, 0);
        return {top, left, least(last_row + 3, height) - top, least(last_col + 3, width) - left};
    }
};

// The rows of a region that one block of threads owns, and their planes. Cells are counted from the
// first pixel on; a row's right halo is the next one's left. The rows above and below show what
// the blocks there own.
struct Band {
    int top, left, rows, cols, strips, stride;
    int above, below;  // 1: another block owns the row there
    int height;        // rows of a band, but for the last

    // `least_stride`: 0, or what rows take where they fit in it.
    DSNET_HOST_DEVICE static Band of(const Region& region, int rank, int blocks, int least_stride) {
        const int strips = (region.rows + kStrip - 1) / kStrip;
        const int height = (strips + blocks - 1) / blocks * kStrip;
        const int rows = most(least(region.rows - rank * height, height), 0);
        return {region.top + rank * height,
                region.left,
                rows,
                region.cols,
                (rows + kStrip - 1) / kStrip,
                most(region.cols + 1, least_stride),
                rank > 0 && rows > 0,
                region.rows > (rank + 1) * height,
                height};
    }
    DSNET_HOST_DEVICE int origin() const { return stride + 1; }
    DSNET_HOST_DEVICE int plane() const { return (most(height, strips * kStrip) + 2) * stride + 1; }
    DSNET_HOST_DEVICE int strip_count() const { return strips * cols; }
};

// The planes of the blocks that own the bands above and below, or null.
struct Neighbours {
    double *above, *below;
    int band;  // its cells
};

// What all threads of a block share, in shared memory on a GPU.
struct Frame {
    std::int64_t index;  // of the image in the batch
    Problem problem;
    Band band;
    Neighbours neighbours;
    int windows, pixels;  // strips that hold such
    double share;         // 1 / pixels of a window
    double norm;          // of the right hand side
    double rtol;          // to stop at
    double residual;      // that the last descent began with
    cuda::MattingResult result;
};

}  // namespace dsnet::matting_device

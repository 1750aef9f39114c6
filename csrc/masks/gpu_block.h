// A block of threads erodes or dilates one image, or does both at once.
#pragma once

#include "masks/gpu.h"
#include "masks/gpu_bits.h"

namespace dsnet::morphology_device {

enum class Operation { kSplit, kErode, kDilate };

// What is written where the erosion is set, and where the dilation alone; 0 for one that is not
// made.
struct Levels {
    std::uint32_t inside, between;
};

struct Radii {
    double erosion, dilation, row_spacing, col_spacing;
    std::int32_t status;
};

DSNET_HOST_DEVICE bool is_finite(double value) { return value - value == 0; }

DSNET_HOST_DEVICE bool is_radius(double value) { return is_finite(value) && value >= 0; }

// `nan`: whether a radius may be left to the default margin.
DSNET_HOST_DEVICE Radii radii_of(const cuda::MorphologyBatch& batch, std::int64_t index, bool nan,
                                 Operation operation) {
    Radii radii = {0.0, 0.0, 1.0, 1.0, cuda::kMorphologyDone};
    if (operation != Operation::kDilate) radii.erosion = batch.erosion[index];
    if (operation != Operation::kErode) radii.dilation = batch.dilation[index];
    if (batch.spacing != nullptr) {
        radii.row_spacing = batch.spacing[2 * index];
        radii.col_spacing = batch.spacing[2 * index + 1];
    }
    const bool erosion_is_open = nan && radii.erosion != radii.erosion;
    const bool dilation_is_open = nan && radii.dilation != radii.dilation;
    if (!is_radius(radii.erosion) && !erosion_is_open)
        radii.status = cuda::kMorphologyBadErosion;
    else if (!is_radius(radii.dilation) && !dilation_is_open)
        radii.status = cuda::kMorphologyBadDilation;
    else if (!(is_finite(radii.row_spacing) && radii.row_spacing > 0 &&
               is_finite(radii.col_spacing) && radii.col_spacing > 0))
        radii.status = cuda::kMorphologyBadSpacing;
    return radii;
}

// An image's bits, and the chords of its two discs: rows entries each.
struct BitImage {
    Word* bits;
    int *inward, *outward;
    int rows, cols, stride;

    DSNET_HOST_DEVICE BitRows lesion(bool inverted = false) const {
        return {bits, rows, cols, stride, inverted};
    }
    DSNET_HOST_DEVICE static std::size_t bytes(int rows, int cols) {
        const std::size_t all =
            sizeof(Word) * rows * std::size_t(words_of(cols)) + 2 * sizeof(int) * std::size_t(rows);
        return aligned(all);
    }
    DSNET_HOST_DEVICE BitImage(void* memory, int rows_, int cols_)
        : bits(static_cast<Word*>(memory)),
          inward(reinterpret_cast<int*>(bits + rows_ * std::int64_t(words_of(cols_)))),
          outward(inward + rows_),
          rows(rows_),
          cols(cols_),
          stride(words_of(cols_)) {}
};

// Words of a band of rows in each of the two planes of a result.
struct Band {
    Word *inner, *outer;
    int first, last;  // rows
};

template <class Block>
DSNET_DEVICE void fill_chords(Block& block, int* chords, double radius, const Radii& radii,
                              const BitImage& image) {
    block.each([&](int t) {
        for (int k = t; k < image.rows; k += Block::kThreads)
            chords[k] = half_chord(k, radius, radii.row_spacing, radii.col_spacing, image.cols);
    });
}

// Rows of an image of the batch, as bits.
template <class Block>
DSNET_DEVICE void load_bits(Block& block, const cuda::MorphologyBatch& batch, std::int64_t index,
                            const BitImage& image, int first, int last) {
    const std::int64_t size = batch.rows * std::int64_t(batch.cols);
    block.each([&](int t) {
        const auto* const pixels = static_cast<const std::uint8_t*>(batch.masks) + index * size;
        const auto* const words =
            static_cast<const Word*>(batch.masks) + index * batch.rows * std::int64_t(image.stride);
        const bool sixteens = !batch.packed && in_sixteens(pixels, image.cols);
        const BitRows rows = image.lesion();
        for (int item = first * image.stride + t; item < last * image.stride;
             item += Block::kThreads) {
            const int y = item / image.stride, w = item - y * image.stride;
            image.bits[item] = batch.packed ? words[item] & rows.valid(w)
                                            : packed_word(pixels + std::int64_t(y) * image.cols,
                                                          image.cols, w, sixteens);
        }
    });
}

// Erosion and dilation of a band of rows; what an operation does not need is left as it is.
template <class Block>
DSNET_DEVICE void work_on_band(Block& block, const BitImage& image, Operation operation,
                               const Band& band) {
    const int words = (band.last - band.first) * image.stride;
    const bool both = operation == Operation::kSplit;
    block.each([&](int t) {
        // Twice as many threads find work in a small image.
        for (int item = t; item < (both ? 2 * words : words); item += Block::kThreads) {
            const bool outward = both ? item >= words : operation == Operation::kDilate;
            const int at = item - (both && outward ? words : 0);
            const int y = band.first + at / image.stride, w = at % image.stride;
            if (outward)
                band.outer[at] = dilated(image.lesion(), y, w, image.outward);
            else
                band.inner[at] = image.lesion().at(y, w) &
                                 ~dilated(image.lesion(true), y, w, image.inward);
        }
    });
    block.sync();
}

// Writes a band: `inside` where inner is set, `between` where outer is, 0 elsewhere.
template <class Block>
DSNET_DEVICE void write_band(Block& block, std::uint8_t* out, int cols, const Band& band,
                             const Levels& levels) {
    const std::uint32_t high = levels.inside, low = levels.between;
    const int stride = words_of(cols);
    const std::int64_t begin = std::int64_t(band.first) * cols;
    const std::int64_t count = std::int64_t(band.last - band.first) * cols;
    block.each([&](int t) {
        if (in_sixteens(out, cols)) {
            for (std::int64_t i = t; i < count / 16; i += Block::kThreads) {
                const int y = int(i * 16 / cols), x = int(i * 16 - std::int64_t(y) * cols);
                const int at = y * stride + x / kWordBits, bit = x % kWordBits;
                const Word inner = high ? band.inner[at] >> bit : 0;
                const Word outer = low ? band.outer[at] >> bit : 0;
                Sixteen pixels;
                for (int j = 0; j < 4; ++j)
                    pixels.of[j] = bytes_of_four(inner >> (4 * j)) * high |
                                   bytes_of_four(outer >> (4 * j)) * low;
                *reinterpret_cast<Sixteen*>(out + begin + i * 16) = pixels;
            }
            return;
        }
        for (std::int64_t i = t; i < count; i += Block::kThreads) {
            const int y = int(i / cols), x = int(i - std::int64_t(y) * cols);
            const int at = y * stride + x / kWordBits, bit = x % kWordBits;
            std::uint32_t value = high && band.inner[at] >> bit & 1 ? high : 0;
            value |= low && band.outer[at] >> bit & 1 ? low : 0;
            out[begin + i] = std::uint8_t(value);
        }
    });
    block.sync();
}

template <class Block>
DSNET_DEVICE void clear_rows(Block& block, std::uint8_t* out, std::int64_t begin,
                             std::int64_t end) {
    block.each([&](int t) {
        for (std::int64_t i = begin + t; i < end; i += Block::kThreads) out[i] = 0;
    });
    block.sync();
}

// Memory for `split_image`.
DSNET_HOST_DEVICE std::size_t split_bytes(int rows, int cols) {
    return BitImage::bytes(rows, cols) + 2 * sizeof(Word) * rows * std::size_t(words_of(cols));
}

// One image, all of whose bits lie in `memory`, which all threads of the block see.
template <class Block>
DSNET_DEVICE void split_image(Block& block, const cuda::MorphologyBatch& batch, std::int64_t index,
                              Operation operation, const Levels& levels, void* memory) {
    const BitImage image(memory, batch.rows, batch.cols);
    auto* const planes = reinterpret_cast<Word*>(static_cast<char*>(memory) +
                                                 BitImage::bytes(batch.rows, batch.cols));
    const Band band = {planes, planes + std::int64_t(image.rows) * image.stride, 0, image.rows};
    const Radii radii = radii_of(batch, index, false, operation);
    const std::int64_t size = batch.rows * std::int64_t(batch.cols);
    std::uint8_t* const out = batch.out + index * size;
    block.each([&](int t) {
        if (t == 0) batch.statuses[index] = radii.status;
    });
    if (radii.status != cuda::kMorphologyDone) {
        clear_rows(block, out, 0, size);
        return;
    }
    load_bits(block, batch, index, image, 0, image.rows);
    fill_chords(block, image.inward, radii.erosion, radii, image);
    fill_chords(block, image.outward, radii.dilation, radii, image);
    block.sync();
    work_on_band(block, image, operation, band);
    write_band(block, out, image.cols, band, levels);
}

// Large images: their bits in device memory, by bands of rows.

// First step: a band's bits, and with the first band the chords.
template <class Block>
DSNET_DEVICE void load_band(Block& block, const cuda::MorphologyBatch& batch, std::int64_t index,
                            Operation operation, void* memory, int first, int last) {
    const BitImage image(memory, batch.rows, batch.cols);
    const Radii radii = radii_of(batch, index, false, operation);
    load_bits(block, batch, index, image, first, last);
    if (first > 0) return;
    block.each([&](int t) {
        if (t == 0) batch.statuses[index] = radii.status;
    });
    if (radii.status != cuda::kMorphologyDone) return;
    fill_chords(block, image.inward, radii.erosion, radii, image);
    fill_chords(block, image.outward, radii.dilation, radii, image);
}

// Second step, when the first is done for all bands. `planes`: two of the band's words.
template <class Block>
DSNET_DEVICE void split_band(Block& block, const cuda::MorphologyBatch& batch, std::int64_t index,
                             Operation operation, const Levels& levels, void* memory, Word* planes,
                             int first, int last) {
    const BitImage image(memory, batch.rows, batch.cols);
    std::uint8_t* const out = batch.out + index * (batch.rows * std::int64_t(batch.cols));
    if (radii_of(batch, index, false, operation).status != cuda::kMorphologyDone) {
        clear_rows(block, out, first * std::int64_t(image.cols), last * std::int64_t(image.cols));
        return;
    }
    const Band band = {planes, planes + (last - first) * std::int64_t(image.stride), first, last};
    work_on_band(block, image, operation, band);
    write_band(block, out, image.cols, band, levels);
}

// Rows of a band.
DSNET_HOST_DEVICE int band_rows(int rows, int cols) {
    return lesser(rows, greater(1, 512 / words_of(cols)));
}

constexpr int kThreads = 128;

}  // namespace dsnet::morphology_device

// Bits of masks, compiled for the GPU and for the CPU alike: rows packed 64 pixels to a word, bit i
// of word w being column 64 w + i. What is computed here equals morphology.cpp to the bit.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/gpu_block.h"

namespace dsnet::morphology_device {

using Word = std::uint64_t;

constexpr int kWordBits = 64;

DSNET_HOST_DEVICE int lesser(int a, int b) { return a < b ? a : b; }
DSNET_HOST_DEVICE int greater(int a, int b) { return a > b ? a : b; }

// Of a word that is not 0.
DSNET_HOST_DEVICE int lowest_bit(Word word) {
#if defined(__CUDA_ARCH__)
    return __ffsll(static_cast<long long>(word)) - 1;
#else
    return __builtin_ctzll(word);
#endif
}

DSNET_HOST_DEVICE int highest_bit(Word word) {
#if defined(__CUDA_ARCH__)
    return 63 - __clzll(static_cast<long long>(word));
#else
    return 63 - __builtin_clzll(word);
#endif
}

DSNET_HOST_DEVICE int count_bits(Word word) {
#if defined(__CUDA_ARCH__)
    return __popcll(word);
#else
    return __builtin_popcountll(word);
#endif
}

// The lowest `count` bits, of any count.
DSNET_HOST_DEVICE Word low_bits(int count) {
    return count <= 0 ? 0 : count >= kWordBits ? ~Word(0) : (Word(1) << count) - 1;
}

// Two products and their sum, each rounded, as on the CPU: a fused multiply-add would move the
// border of a disc.
DSNET_HOST_DEVICE double squared_length(double along, double across) {
#if defined(__CUDA_ARCH__)
    return __dadd_rn(__dmul_rn(along, along), __dmul_rn(across, across));
#else
    return along * along + across * across;
#endif
}

// A mask's rows, or their complement.
struct BitRows {
    const Word* words;
    int rows, cols, stride;  // words of a row
    bool inverted;

    DSNET_HOST_DEVICE Word valid(int w) const { return low_bits(cols - w * kWordBits); }
    DSNET_HOST_DEVICE Word at(int y, int w) const {
        const Word word = words[y * std::int64_t(stride) + w];
        return inverted ? ~word & valid(w) : word;
    }
};

DSNET_HOST_DEVICE int words_of(int cols) { return (cols + kWordBits - 1) / kWordBits; }

// Half the chord, in whole pixels, of the disc's row so many pixels from its centre; -1 where the
// disc does not reach.
DSNET_HOST_DEVICE int half_chord(int down, double radius, double row_spacing, double col_spacing,
                                 int cols) {
    const double most = radius * radius;
    const double along = double(down) * row_spacing;
    if (!(squared_length(along, 0.0) <= most)) return -1;
    const double left = most - along * along;
    const double chord = sqrt(left > 0 ? left : 0.0) / col_spacing;
    const int widest = greater(cols - 1, 0);
    int width = int(chord < widest ? chord : double(widest));
    while (width < widest && squared_length(along, double(width + 1) * col_spacing) <= most)
        ++width;
    while (width > 0 && !(squared_length(along, double(width) * col_spacing) <= most)) --width;
    return width;
}

// Which pixels of a word have a set one within `reach` columns of their own row.
DSNET_HOST_DEVICE Word spread(const BitRows& bits, int y, int w, int reach) {
    const Word word = bits.at(y, w);
    Word up = word, down = word;
    for (int done = 0; done < reach && done < kWordBits - 1;) {
        const int step = lesser(done + 1, lesser(reach, kWordBits - 1) - done);
        up |= up << step;
        down |= down >> step;
        done += step;
    }
    Word all = up | down;
    // Of the words beside it the nearest set pixel counts alone.
    const int first = w * kWordBits;
    for (int k = w - 1; k >= 0 && first - (k * kWordBits + kWordBits - 1) <= reach; --k) {
        const Word left = bits.at(y, k);
        if (left == 0) continue;
        const int column = k * kWordBits + highest_bit(left);
        all |= low_bits(reach - (first - column) + 1);
        break;
    }
    const int last = first + kWordBits - 1;
    for (int k = w + 1; k < bits.stride && k * kWordBits - last <= reach; ++k) {
        const Word right = bits.at(y, k);
        if (right == 0) continue;
        const int column = k * kWordBits + lowest_bit(right);
        all |= ~low_bits(kWordBits - 1 - (reach - (column - last)));
        break;
    }
    return all;
}

// A word of the dilation; chords[k] are of the rows k above and below the centre, -1 ends them.
DSNET_HOST_DEVICE Word dilated(const BitRows& bits, int y, int w, const int* chords) {
    Word all = 0;
    for (int k = 0; k < bits.rows && chords[k] >= 0; ++k) {
        if (y - k >= 0) all |= spread(bits, y - k, w, chords[k]);
        if (k > 0 && y + k < bits.rows) all |= spread(bits, y + k, w, chords[k]);
        if (y - k < 0 && y + k >= bits.rows) break;
    }
    return all & bits.valid(w);
}

// Squared distance of a pixel to the nearest set one, at most `most`. `edge`: what lies outside the
// image counts as set.
DSNET_HOST_DEVICE double nearest_squared(const BitRows& bits, int y, int x, double row_spacing,
                                         double col_spacing, bool edge, double most) {
    double best = most;
    const int w = x / kWordBits, bit = x % kWordBits;
    for (int k = 0;; ++k) {
        const double along = double(k) * row_spacing;
        if (!(squared_length(along, 0.0) < best)) return best;
        const bool above = y - k >= 0, below = y + k < bits.rows;
        if (!above && !below) {
            if (edge && k > 0) best = squared_length(along, 0.0);
            return best;
        }
        for (int side = 0; side < (k == 0 ? 1 : 2); ++side) {
            const int row = side == 0 ? y - k : y + k;
            int away;
            if (row < 0 || row >= bits.rows) {
                if (!edge) continue;
                away = 0;
            } else {
                away = edge ? lesser(x + 1, bits.cols - x) : bits.cols;
                const Word here = bits.at(row, w);
                Word left = here & low_bits(bit + 1), right = here & ~low_bits(bit);
                int from = w, to = w;
                while (left == 0 && from > 0 && x - (from * kWordBits - 1) < away)
                    left = bits.at(row, --from);
                if (left != 0) away = lesser(away, x - (from * kWordBits + highest_bit(left)));
                while (right == 0 && to + 1 < bits.stride && (to + 1) * kWordBits - x < away)
                    right = bits.at(row, ++to);
                if (right != 0) away = lesser(away, to * kWordBits + lowest_bit(right) - x);
                if (!edge && away == bits.cols) continue;
            }
            const double found = squared_length(along, double(away) * col_spacing);
            best = found < best ? found : best;
        }
    }
}

// The bits of those runs of a word that hold one of `some`, which lie in it.
DSNET_HOST_DEVICE Word filled_runs(Word some, Word runs) {
    Word all = some, up = runs, down = runs;
    for (int step = 1; step < kWordBits; step *= 2) {
        all |= (up & (all << step)) | (down & (all >> step));
        up &= up << step;
        down &= down >> step;
    }
    return all;
}

// Bytes as a whole number of sixteens: what follows is aligned for any type.
DSNET_HOST_DEVICE std::size_t aligned(std::size_t bytes) { return (bytes + 15) / 16 * 16; }

struct alignas(16) Sixteen {
    std::uint32_t of[4];
};

// Four pixels, the first in the lowest byte, as four bits.
DSNET_HOST_DEVICE Word bits_of_four(std::uint32_t pixels) {
    const std::uint32_t set = (((pixels & 0x7f7f7f7fu) + 0x7f7f7f7fu) | pixels) >> 7 & 0x01010101u;
    return set * 0x01020408u >> 24 & 0xfu;
}

// 1 in the byte of each of four bits that is set.
DSNET_HOST_DEVICE std::uint32_t bytes_of_four(Word bits) {
    return (std::uint32_t(bits) & 0xfu) * 0x00204081u & 0x01010101u;
}

// Whether a row of pixels can be read and written 16 at a time.
DSNET_HOST_DEVICE bool in_sixteens(const void* pixels, int cols) {
    return cols % 16 == 0 && reinterpret_cast<std::uintptr_t>(pixels) % 16 == 0;
}

// A word of a row of pixels.
DSNET_HOST_DEVICE Word packed_word(const std::uint8_t* row, int cols, int w, bool sixteens) {
    const int first = w * kWordBits, count = lesser(cols - first, kWordBits);
    Word word = 0;
    if (sixteens) {
        for (int i = 0; i < count; i += 16) {
            const Sixteen pixels = *reinterpret_cast<const Sixteen*>(row + first + i);
            for (int j = 0; j < 4; ++j) word |= bits_of_four(pixels.of[j]) << (i + 4 * j);
        }
        return word;
    }
    for (int i = 0; i < count; ++i) word |= Word(row[first + i] != 0) << i;
    return word;
}

}  // namespace dsnet::morphology_device

#include "masks/simd.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "base/lanes.h"
// Below them, whose unit it takes.
#include "base/byte_bits.h"

namespace dsnet::DSNET_UNIT {
namespace {

using Word = std::uint64_t;
constexpr std::ptrdiff_t kWordBits = 64;

DSNET_INLINE std::ptrdiff_t least(std::ptrdiff_t a, std::ptrdiff_t b) { return a < b ? a : b; }

// The first `count` bits; all where there are more.
DSNET_INLINE Word bits_below(std::ptrdiff_t count) {
    return count >= kWordBits ? ~Word(0) : (Word(1) << count) - 1;
}

// Bit i is set where byte i is not zero.
DSNET_INLINE Word bits_of_bytes(const std::uint8_t* bytes) { return ~bits_where_equal(bytes, 0); }

// Byte i is 0xff where bit i is set, else 0.
DSNET_INLINE void bytes_of_bits(Word bits, std::uint8_t* bytes) {
#if defined(__AVX512BW__)
    _mm512_storeu_si512(bytes, _mm512_movm_epi8(bits));
#elif defined(__AVX2__)
    const __m256i spread =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i select = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ull));
    for (int part = 0; part < 2; ++part) {
        const __m256i v = _mm256_set1_epi32(static_cast<int>(bits >> (32 * part)));
        const __m256i chosen = _mm256_and_si256(_mm256_shuffle_epi8(v, spread), select);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(bytes + 32 * part),
                            _mm256_cmpeq_epi8(chosen, select));
    }
#elif defined(__SSE2__)
    const __m128i select = _mm_set1_epi64x(static_cast<long long>(0x8040201008040201ull));
    for (int part = 0; part < 4; ++part) {
        __m128i v = _mm_cvtsi32_si128(static_cast<int>((bits >> (16 * part)) & 0xffff));
        v = _mm_unpacklo_epi8(v, v);
        v = _mm_unpacklo_epi16(v, v);
        v = _mm_unpacklo_epi32(v, v);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes + 16 * part),
                         _mm_cmpeq_epi8(_mm_and_si128(v, select), select));
    }
#else
    for (std::ptrdiff_t i = 0; i < kWordBits; ++i)
        bytes[i] = static_cast<std::uint8_t>(0 - ((bits >> i) & 1));
#endif
}

// Calls word(pixels, count) for each stretch of 64 pixels of the image, the last one of a row
// shorter, and stores its bits.
template <typename T, typename Bits>
DSNET_INLINE void pack_words(const T* image, std::ptrdiff_t stride, const BitPlane& plane,
                             Bits bits) {
    const std::ptrdiff_t whole = plane.cols / kWordBits, rest = plane.cols % kWordBits;
    for (std::ptrdiff_t y = 0; y < plane.rows; ++y) {
        const T* row = image + y * stride;
        for (std::ptrdiff_t c = 0; c < whole; ++c)
            plane.words[c * plane.stride + y] = bits(row + c * kWordBits);
        if (rest == 0) continue;
        T held[kWordBits] = {};
        for (std::ptrdiff_t i = 0; i < rest; ++i) held[i] = row[whole * kWordBits + i];
        plane.words[whole * plane.stride + y] = bits(held) & bits_below(rest);
    }
}

template <typename T, typename Test>
DSNET_INLINE Word bits_where(const T* pixels, Test test) {
    std::uint8_t bytes[kWordBits];
    for (std::ptrdiff_t i = 0; i < kWordBits; ++i) bytes[i] = test(pixels[i]) ? 1 : 0;
    return bits_of_bytes(bytes);
}

void pack(const std::uint8_t* image, std::ptrdiff_t stride, const BitPlane& plane) {
    pack_words(image, stride, plane, [](const std::uint8_t* p) { return bits_of_bytes(p); });
}

void pack_at_least(const float* image, std::ptrdiff_t stride, float level, const BitPlane& plane) {
    pack_words(image, stride, plane, [level](const float* p) {
        return bits_where(p, [level](float value) { return value >= level; });
    });
}

void pack_near_zero(const float* image, std::ptrdiff_t stride, float level, const BitPlane& plane) {
    pack_words(image, stride, plane, [level](const float* p) {
        return bits_where(p, [level](float v) { return bool((v < level) & (v > -level)); });
    });
}

void unpack(const BitPlane& inner, const BitPlane& outer, std::uint8_t inside, std::uint8_t outside,
            std::uint8_t* image, std::ptrdiff_t stride) {
    for (std::ptrdiff_t y = 0; y < inner.rows; ++y) {
        for (std::ptrdiff_t c = 0; c * kWordBits < inner.cols; ++c) {
            std::uint8_t in[kWordBits], out[kWordBits];
            bytes_of_bits(inner.words[c * inner.stride + y], in);
            bytes_of_bits(outer.words[c * outer.stride + y], out);
            for (std::ptrdiff_t i = 0; i < kWordBits; ++i)
                out[i] = (in[i] & inside) | (static_cast<std::uint8_t>(~in[i]) & out[i] & outside);
            std::uint8_t* to = image + y * stride + c * kWordBits;
            const std::ptrdiff_t left = inner.cols - c * kWordBits;
            if (left >= kWordBits)
                __builtin_memcpy(to, out, kWordBits);
            else
                __builtin_memcpy(to, out, static_cast<std::size_t>(left));
        }
    }
}

Box bounds(const BitPlane& plane) {
    const std::ptrdiff_t columns = plane.columns();
    Box box;
    box.top = plane.rows;
    box.left = plane.cols;
    for (std::ptrdiff_t c = 0; c < columns; ++c) {
        const Word* words = plane.words + c * plane.stride;
        Word any = 0;
        for (std::ptrdiff_t y = 0; y < plane.rows; ++y) any |= words[y];
        if (any == 0) continue;
        if (box.left == plane.cols) box.left = c * kWordBits + __builtin_ctzll(any);
        box.right = (c + 1) * kWordBits - __builtin_clzll(any);
        std::ptrdiff_t y = 0;
        while (words[y] == 0) ++y;
        box.top = least(box.top, y);
        y = plane.rows;
        while (words[y - 1] == 0) --y;
        if (y > box.bottom) box.bottom = y;
    }
    return box.right == 0 ? Box{} : box;
}

void crop(const BitPlane& plane, std::ptrdiff_t top, std::ptrdiff_t left, const BitPlane& part) {
    const std::ptrdiff_t shift = left % kWordBits, columns = plane.columns();
    for (std::ptrdiff_t c = 0; c * kWordBits < part.cols; ++c) {
        const std::ptrdiff_t from = left / kWordBits + c;
        const Word* low = plane.words + from * plane.stride + top;
        // Where no further column of words is read, the shift leaves nothing of it.
        const bool two = shift > 0 && from + 1 < columns;
        const Word* high = two ? low + plane.stride : low;
        const Word high_mask = two ? ~Word(0) : 0;
        const Word kept = bits_below(part.cols - c * kWordBits);
        const std::ptrdiff_t up = (kWordBits - shift) % kWordBits;
        Word* out = part.words + c * part.stride;
        DSNET_INDEPENDENT
        for (std::ptrdiff_t y = 0; y < part.rows; ++y)
            out[y] = ((low[y] >> shift) | ((high[y] & high_mask) << up)) & kept;
    }
}

void place(const BitPlane& part, std::ptrdiff_t top, std::ptrdiff_t left, const BitPlane& plane) {
    const std::ptrdiff_t shift = left % kWordBits;
    for (std::ptrdiff_t c = 0; c * kWordBits < part.cols; ++c) {
        const Word* from = part.words + c * part.stride;
        Word* low = plane.words + (left / kWordBits + c) * plane.stride + top;
        DSNET_INDEPENDENT
        for (std::ptrdiff_t y = 0; y < part.rows; ++y) low[y] |= from[y] << shift;
        if (shift == 0 || left + c * kWordBits + kWordBits - shift >= plane.cols) continue;
        Word* high = low + plane.stride;
        DSNET_INDEPENDENT
        for (std::ptrdiff_t y = 0; y < part.rows; ++y) high[y] |= from[y] >> (kWordBits - shift);
    }
}

std::int64_t count(const BitPlane& plane) {
    std::int64_t total = 0;
    for (std::ptrdiff_t c = 0; c * kWordBits < plane.cols; ++c) {
        const Word* words = plane.words + c * plane.stride;
        const Word kept = bits_below(plane.cols - c * kWordBits);
        for (std::ptrdiff_t y = 0; y < plane.rows; ++y)
            total += __builtin_popcountll(words[y] & kept);
    }
    return total;
}

std::int64_t count_outline(const BitPlane& plane) {
    const std::ptrdiff_t stride = plane.stride;
    std::int64_t total = 0;
    for (std::ptrdiff_t c = 0; c * kWordBits < plane.cols; ++c) {
        const Word* words = plane.words + c * stride;
        for (std::ptrdiff_t y = 0; y < plane.rows; ++y) {
            const Word left = (words[y] << 1) | (words[y - stride] >> 63);
            const Word right = (words[y] >> 1) | (words[y + stride] << 63);
            const Word inner = words[y - 1] & words[y + 1] & left & right;
            total += __builtin_popcountll(words[y] & ~inner);
        }
    }
    return total;
}

std::int64_t count_equal(const std::uint8_t* image, std::ptrdiff_t stride, std::ptrdiff_t rows,
                         std::ptrdiff_t cols, std::uint8_t value) {
    constexpr std::ptrdiff_t kBytes = 64, kMost = 255;
    const std::ptrdiff_t whole = cols / kBytes * kBytes;
    std::int64_t total = 0;
    for (std::ptrdiff_t top = 0; top < rows; top += kMost) {
        const std::ptrdiff_t bottom = least(rows, top + kMost);
        for (std::ptrdiff_t x = 0; x < whole; x += kBytes) {
            // Counts of a byte each, emptied before they overflow.
            Reduction<std::uint8_t> counts;
            for (std::ptrdiff_t y = top; y < bottom; ++y) {
                counts.each([&](ByteVector& part, std::ptrdiff_t lane) {
                    const ByteVector pixels =
                        Lanes<std::uint8_t>::at(image + y * stride + x + lane);
                    part -= ByteVector(pixels == value);
                });
            }
            std::int32_t part = 0;
            for (std::ptrdiff_t i = 0; i < kBytes; ++i) part += counts[i];
            total += part;
        }
    }
    for (std::ptrdiff_t y = 0; whole < cols && y < rows; ++y)
        for (std::ptrdiff_t x = whole; x < cols; ++x) total += image[y * stride + x] == value;
    return total;
}

// Adds the terms of the pixels whose bits are set, of kLanes side by side, to the lanes.
template <typename Term>
DSNET_INLINE void add_terms(const float* pixels, Word bits, Reduction<double, kLanes>& lanes,
                            Term term) {
    typedef std::int64_t Bits __attribute__((vector_size(kVectorBytes)));
    Bits bit;
    for (std::ptrdiff_t lane = 0; lane < Lanes<double>::kCount; ++lane) bit[lane] = 1 << lane;
    lanes.each([&](DoubleVector& sum, std::ptrdiff_t lane) {
        const DoubleVector value = term(Lanes<double>::at(pixels + lane));
        const Bits chosen = (Bits{} + static_cast<std::int64_t>(bits >> lane)) & bit;
        sum += chosen != 0 ? value : DoubleVector{};
    });
}

template <typename Term>
DSNET_INLINE double sum_terms(const float* image, std::ptrdiff_t stride, const BitPlane& plane,
                              Term term) {
    static_assert(kWordBits % kLanes == 0);
    Reduction<double, kLanes> lanes;
    for (std::ptrdiff_t y = 0; y < plane.rows; ++y) {
        for (std::ptrdiff_t x = 0; x < plane.cols; x += kLanes) {
            const std::ptrdiff_t width = least(plane.cols - x, kLanes);
            const Word word = plane.words[x / kWordBits * plane.stride + y] >> (x % kWordBits);
            const Word bits = word & bits_below(width);
            if (bits == 0) continue;
            const float* pixels = image + y * stride + x;
            if (width == kLanes) {
                add_terms(pixels, bits, lanes, term);
                continue;
            }
            float held[kLanes] = {};
            for (std::ptrdiff_t i = 0; i < width; ++i) held[i] = pixels[i];
            add_terms(held, bits, lanes, term);
        }
    }
    return sum_of_lanes(lanes);
}

double sum(const float* image, std::ptrdiff_t stride, const BitPlane& plane, double center,
           int power) {
    if (power == 1)
        return sum_terms(image, stride, plane,
                         [center](DoubleVector grey) { return grey - center; });
    return sum_terms(image, stride, plane,
                     [center](DoubleVector grey) { return (grey - center) * (grey - center); });
}

void complement(const BitPlane& plane, const BitPlane& out) {
    for (std::ptrdiff_t c = 0; c * kWordBits < plane.cols; ++c) {
        const Word kept = bits_below(plane.cols - c * kWordBits);
        const Word* from = plane.words + c * plane.stride;
        Word* to = out.words + c * out.stride;
        DSNET_INDEPENDENT
        for (std::ptrdiff_t y = 0; y < plane.rows; ++y) to[y] = ~from[y] & kept;
    }
}

void without(const BitPlane& a, const BitPlane& b, const BitPlane& out) {
    for (std::ptrdiff_t c = 0; c * kWordBits < a.cols; ++c) {
        const Word* from = a.words + c * a.stride;
        const Word* taken = b.words + c * b.stride;
        Word* to = out.words + c * out.stride;
        DSNET_INDEPENDENT
        for (std::ptrdiff_t y = 0; y < a.rows; ++y) to[y] = from[y] & ~taken[y];
    }
}

// to = from and from shifted by `steps` (1 to 63) pixels to either side.
DSNET_INLINE void widen(const Word* __restrict from, std::ptrdiff_t stride, std::ptrdiff_t words,
                        int steps, Word* __restrict to) {
    const int rest = int(kWordBits) - steps;
    each_lane(0, words, [=](std::ptrdiff_t i, std::ptrdiff_t) {
        to[i] = from[i] | (from[i] << steps) | (from[i] >> steps) | (from[i - stride] >> rest) |
                (from[i + stride] << rest);
    });
}

void dilate(const BitPlane& source, const std::int32_t* half_width, std::ptrdiff_t reach,
            std::uint64_t* const scratch[2], std::uint64_t* out) {
    const std::ptrdiff_t stride = source.stride, words = source.columns() * stride;
    const Word* row = source.words;
    std::int32_t width = 0;
    int next = 0;
    for (int i = 0; i < 2; ++i) {
        each_lane(0, stride, [=](std::ptrdiff_t k, std::ptrdiff_t) {
            scratch[i][k - stride] = 0;
            scratch[i][k + words] = 0;
        });
    }
    for (std::ptrdiff_t k = reach; k >= 0; --k) {
        while (width < half_width[k]) {
            // Longer steps would leave gaps where the plane's border cut a run short.
            std::int32_t steps = width + 1;
            if (steps > half_width[k] - width) steps = half_width[k] - width;
            if (steps > 63) steps = 63;
            widen(row, stride, words, steps, scratch[next]);
            row = scratch[next];
            next = 1 - next;
            width += steps;
        }
        const Word* __restrict above = row - k;
        const Word* __restrict below = row + k;
        Word* __restrict to = out;
        if (k == reach)
            each_lane(0, words,
                      [=](std::ptrdiff_t i, std::ptrdiff_t) { to[i] = above[i] | below[i]; });
        else
            each_lane(0, words,
                      [=](std::ptrdiff_t i, std::ptrdiff_t) { to[i] |= above[i] | below[i]; });
    }
}

void column_steps(const std::uint8_t* image, std::ptrdiff_t stride, std::ptrdiff_t rows,
                  std::ptrdiff_t cols, std::int32_t* steps, std::int32_t* row_largest) {
    for (std::ptrdiff_t y = 0; y < rows; ++y) {
        const std::uint8_t* pixels = image + y * stride;
        std::int32_t* here = steps + y * cols;
        const std::int32_t* above = y > 0 ? here - cols : here;
        const std::int32_t kept = y > 0 ? -1 : 0;
        DSNET_INDEPENDENT
        for (std::ptrdiff_t x = 0; x < cols; ++x)
            here[x] = pixels[x] != 0 ? (above[x] & kept) + 1 : 0;
    }
    for (std::ptrdiff_t y = rows - 1; y >= 0; --y) {
        std::int32_t* here = steps + y * cols;
        const std::int32_t* below = y + 1 < rows ? here + cols : here;
        const std::int32_t kept = y + 1 < rows ? -1 : 0;
        std::int32_t largest = 0;
        DSNET_INDEPENDENT
        for (std::ptrdiff_t x = 0; x < cols; ++x) {
            const std::int32_t up = (below[x] & kept) + 1;
            const std::int32_t nearer = here[x] < up ? here[x] : up;
            here[x] = nearer;
            largest = largest > nearer ? largest : nearer;
        }
        row_largest[y] = largest;
    }
}

}  // namespace

extern const MasksSimd masks_simd;
const MasksSimd masks_simd = {&pack,   &pack_at_least, &pack_near_zero, &unpack,     &bounds,
                              &crop,   &place,         &count,          &complement, &without,
                              &dilate, &count_outline, &count_equal,    &sum,        &column_steps};

}  // namespace dsnet::DSNET_UNIT

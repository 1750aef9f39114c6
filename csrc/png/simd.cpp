#include "png/simd.h"

#include "base/lanes.h"

namespace dsnet::DSNET_UNIT {
namespace {

using Index = std::ptrdiff_t;

// A pixel's bytes are filtered each on its own; a file has the high one first.
DSNET_INLINE std::uint8_t stored(const std::uint8_t* from, std::uint8_t) { return *from; }
DSNET_INLINE std::uint16_t stored(const std::uint8_t* from, std::uint16_t) {
    return static_cast<std::uint16_t>(from[0] << 8 | from[1]);
}

// Sums of bytes, modulo 256.
DSNET_INLINE std::uint8_t added(std::uint8_t a, std::uint8_t b) {
    return static_cast<std::uint8_t>(a + b);
}
DSNET_INLINE std::uint16_t added(std::uint16_t a, std::uint16_t b) {
    return static_cast<std::uint16_t>(((a & 0x7f7f) + (b & 0x7f7f)) ^ ((a ^ b) & 0x8080));
}

DSNET_INLINE int absolute(int value) { return value < 0 ? -value : value; }

DSNET_INLINE int paeth(int left, int above, int corner) {
    const int to_left = absolute(above - corner), to_above = absolute(left - corner);
    const int to_corner = absolute(left + above - 2 * corner);
    if (to_left <= to_above && to_left <= to_corner) return left;
    return to_above <= to_corner ? above : corner;
}

DSNET_INLINE int predicted(int filter, int left, int above, int corner) {
    return filter == kPaeth ? paeth(left, above, corner) : (left + above) / 2;
}

// Rows whose pixels depend on the one before them by more than a sum.
template <typename Pixel>
void undo_slowly(int filter, const std::uint8_t* from, const Pixel* above, Index cols, Pixel* to) {
    Pixel left = 0, corner = 0;
    for (Index x = 0; x < cols; ++x) {
        int expected = predicted(filter, left & 0xff, above[x] & 0xff, corner & 0xff);
        if (sizeof(Pixel) == 2)
            expected |= predicted(filter, left >> 8, above[x] >> 8, corner >> 8) << 8;
        left = added(stored(from + x * sizeof(Pixel), Pixel{}), static_cast<Pixel>(expected));
        corner = above[x];
        to[x] = left;
    }
}

#if defined(__SSE2__)

DSNET_INLINE __m128i swapped(__m128i v) {
    return _mm_or_si128(_mm_slli_epi16(v, 8), _mm_srli_epi16(v, 8));
}

// As many pixels as there are in 16 bytes, as they stand in memory.
template <typename Pixel>
DSNET_INLINE __m128i file_order(const std::uint8_t* from) {
    const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return sizeof(Pixel) == 2 ? swapped(v) : v;
}

// Sums along a row: of 16 bytes by doubling, then what came before them.
template <typename Pixel>
DSNET_INLINE __m128i summed(__m128i v, __m128i before) {
    if (sizeof(Pixel) == 1) v = _mm_add_epi8(v, _mm_slli_si128(v, 1));
    v = _mm_add_epi8(v, _mm_slli_si128(v, 2));
    v = _mm_add_epi8(v, _mm_slli_si128(v, 4));
    v = _mm_add_epi8(v, _mm_slli_si128(v, 8));
    return _mm_add_epi8(v, before);
}
template <typename Pixel>
DSNET_INLINE __m128i last_of(__m128i v) {
    if (sizeof(Pixel) == 1) v = _mm_unpackhi_epi8(v, v);
    return _mm_shuffle_epi32(_mm_shufflehi_epi16(v, 0xff), 0xff);
}

#endif

// None, Sub and Up.
template <typename Pixel>
DSNET_INLINE void undo_quickly(int filter, const std::uint8_t* from, const Pixel* above, Index cols,
                               Pixel* to) {
    Index x = 0;
#if defined(__SSE2__)
    constexpr Index kCount = 16 / sizeof(Pixel);
    __m128i before = _mm_setzero_si128();
    for (; x + kCount <= cols; x += kCount) {
        __m128i v = file_order<Pixel>(from + x * sizeof(Pixel));
        if (filter == kUp) {
            v = _mm_add_epi8(v, _mm_loadu_si128(reinterpret_cast<const __m128i*>(above + x)));
        } else if (filter == kSub) {
            v = summed<Pixel>(v, before);
            before = last_of<Pixel>(v);
        }
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + x), v);
    }
#endif
    for (; x < cols; ++x) {
        const Pixel value = stored(from + x * sizeof(Pixel), Pixel{});
        const Pixel beside = x > 0 ? to[x - 1] : Pixel{0};
        to[x] = filter == kUp    ? added(value, above[x])
                : filter == kSub ? added(value, beside)
                                 : value;
    }
}

template <typename Pixel>
void undo_row(const std::uint8_t* from, const Pixel* above, Index cols, Pixel* to) {
    switch (from[0]) {
        case kNone: return undo_quickly(kNone, from + 1, above, cols, to);
        case kSub: return undo_quickly(kSub, from + 1, above, cols, to);
        case kUp: return undo_quickly(kUp, from + 1, above, cols, to);
        default: return undo_slowly(from[0], from + 1, above, cols, to);
    }
}

#if defined(__SSE2__)

// Eight rows at a time, each one pixel behind the one above it: when a row's pixel is made, those
// beside, above and at its corner are there. Lane r is row r; at step t it is at column t - r.

DSNET_INLINE __m128i chosen(__m128i mask, __m128i yes, __m128i no) {
    return _mm_or_si128(_mm_and_si128(mask, yes), _mm_andnot_si128(mask, no));
}
DSNET_INLINE __m128i absolute(__m128i v) {
    return _mm_max_epi16(v, _mm_sub_epi16(_mm_setzero_si128(), v));
}

struct Filters {
    __m128i sub, up, average, paeth;  // which lanes have it
};

// One byte of each row's pixel.
struct Channel {
    __m128i made = _mm_setzero_si128();    // at the step before
    __m128i corner = _mm_setzero_si128();  // what was above then

    DSNET_INLINE __m128i step(__m128i filtered, int above_first, const Filters& filters) {
        const __m128i left = made;
        const __m128i above = _mm_or_si128(_mm_slli_si128(made, 2), _mm_cvtsi32_si128(above_first));
        const __m128i down = _mm_sub_epi16(above, corner), along = _mm_sub_epi16(left, corner);
        const __m128i to_left = absolute(down), to_above = absolute(along);
        const __m128i to_corner = absolute(_mm_add_epi16(down, along));
        const __m128i least = _mm_min_epi16(to_corner, _mm_min_epi16(to_left, to_above));
        const __m128i nearest = chosen(_mm_cmpeq_epi16(least, to_left), left,
                                       chosen(_mm_cmpeq_epi16(least, to_above), above, corner));
        const __m128i average = _mm_srli_epi16(_mm_add_epi16(left, above), 1);
        const __m128i other = _mm_or_si128(
            _mm_and_si128(filters.average, average),
            _mm_or_si128(_mm_and_si128(filters.sub, left), _mm_and_si128(filters.up, above)));
        const __m128i expected = _mm_or_si128(_mm_and_si128(filters.paeth, nearest), other);
        made = _mm_and_si128(_mm_add_epi16(filtered, expected), _mm_set1_epi16(0xff));
        corner = above;
        return made;
    }
};

DSNET_INLINE void transpose(__m128i (&v)[kPngGroup]) {
    __m128i pairs[8], fours[8];
    for (int i = 0; i < 4; ++i) {
        pairs[2 * i] = _mm_unpacklo_epi16(v[2 * i], v[2 * i + 1]);
        pairs[2 * i + 1] = _mm_unpackhi_epi16(v[2 * i], v[2 * i + 1]);
    }
    for (int half = 0; half < 8; half += 4)
        for (int i = 0; i < 2; ++i) {
            fours[half + 2 * i] = _mm_unpacklo_epi32(pairs[half + i], pairs[half + i + 2]);
            fours[half + 2 * i + 1] = _mm_unpackhi_epi32(pairs[half + i], pairs[half + i + 2]);
        }
    for (int i = 0; i < 4; ++i) {
        v[2 * i] = _mm_unpacklo_epi64(fours[i], fours[i + 4]);
        v[2 * i + 1] = _mm_unpackhi_epi64(fours[i], fours[i + 4]);
    }
}

// Eight pixels in lanes of 16 bits.
DSNET_INLINE __m128i eight(const std::uint8_t* from) {
    return _mm_unpacklo_epi8(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)),
                             _mm_setzero_si128());
}
DSNET_INLINE __m128i eight(const std::uint16_t* from) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}
DSNET_INLINE void put_eight(std::uint8_t* to, __m128i v) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(v, v));
}
DSNET_INLINE void put_eight(std::uint16_t* to, __m128i v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), v);
}

template <typename Pixel>
void undo_together(const PngGroup<Pixel>& group) {
    const Index stride = group.cols + 2 * kPngMargin;
    Pixel* const above = group.workspace + kPngMargin;
    Pixel* const first = above + stride;
    __builtin_memcpy(above, group.above, group.cols * sizeof(Pixel));
    std::int16_t lanes[4][kPngGroup] = {};
    for (Index row = 0; row < kPngGroup; ++row) {
        // What is before a row must be 0, like what is above it there.
        __builtin_memset(first + row * stride - kPngMargin, 0, kPngMargin * sizeof(Pixel));
        if (row >= group.rows) continue;  // what stands there goes nowhere
        const std::uint8_t* from = group.filtered + row * group.filtered_stride;
        if (from[0] != kNone) lanes[from[0] - 1][row] = -1;
        undo_quickly(kNone, from + 1, above, group.cols, first + row * stride);
    }
    const auto lane = [&lanes](int filter) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(lanes[filter - 1]));
    };
    const Filters filters = {lane(kSub), lane(kUp), lane(kAverage), lane(kPaeth)};
    const __m128i low = _mm_set1_epi16(0xff);
    Channel channels[2];
    for (Index begin = 0; begin < group.cols + kPngGroup - 1; begin += kPngGroup) {
        __m128i v[kPngGroup];
        for (Index row = 0; row < kPngGroup; ++row)
            v[row] = eight(first + row * stride + begin - row);
        transpose(v);
        for (Index t = 0; t < kPngGroup; ++t) {
            const int over = above[begin + t];
            __m128i made = channels[0].step(_mm_and_si128(v[t], low), over & 0xff, filters);
            if (sizeof(Pixel) == 2) {
                const __m128i high = channels[1].step(_mm_srli_epi16(v[t], 8), over >> 8, filters);
                made = _mm_or_si128(made, _mm_slli_epi16(high, 8));
            }
            v[t] = made;
        }
        transpose(v);
        for (Index row = 0; row < kPngGroup; ++row)
            put_eight(first + row * stride + begin - row, v[row]);
    }
    for (Index row = 0; row < group.rows; ++row)
        __builtin_memcpy(group.pixels + row * group.stride, first + row * stride,
                         group.cols * sizeof(Pixel));
}

#endif

template <typename Pixel>
DSNET_INLINE void undo(const PngGroup<Pixel>& group) {
#if defined(__SSE2__)
    // A row alone is undone sooner by itself.
    int slow = 0;
    for (Index row = 0; row < group.rows; ++row)
        slow += group.filtered[row * group.filtered_stride] >= kAverage;
    if (slow > 1) return undo_together(group);
#endif
    const Pixel* above = group.above;
    for (Index row = 0; row < group.rows; ++row) {
        Pixel* to = group.pixels + row * group.stride;
        undo_row(group.filtered + row * group.filtered_stride, above, group.cols, to);
        above = to;
    }
}

void undo_8(const PngGroup<std::uint8_t>& group) { undo(group); }
void undo_16(const PngGroup<std::uint16_t>& group) { undo(group); }

std::uint16_t least_16(const std::uint16_t* pixels, Index count, std::uint16_t least) {
    auto below = static_cast<std::uint16_t>(least - 1);  // 0 becomes the highest
    for (Index x = 0; x < count; ++x) {
        const auto value = static_cast<std::uint16_t>(pixels[x] - 1);
        below = value < below ? value : below;
    }
    return static_cast<std::uint16_t>(below + 1);
}

}  // namespace

extern const PngSimd png_simd;
const PngSimd png_simd = {&undo_8, &undo_16, &least_16};

}  // namespace dsnet::DSNET_UNIT

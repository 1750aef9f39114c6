#include "crop/simd.h"

#include "base/lanes.h"

namespace dsnet::DSNET_UNIT {
namespace {

using Index = std::ptrdiff_t;

// Terms that are added in one go, in their order.
constexpr int kGroup = 4;

template <int Terms, typename Term>
DSNET_INLINE double sum_of(double sum, Term term) {
    sum += term(0);
    if constexpr (Terms > 1) sum += term(1);
    if constexpr (Terms > 2) sum += term(2);
    if constexpr (Terms > 3) sum += term(3);
    return sum;
}

// Adds terms `begin` to `begin + Terms` of each sum; term(i, k).
template <int Terms, typename Term>
DSNET_INLINE void add_terms(Index begin, double* sums, Index count, Term term) {
    DSNET_INDEPENDENT
    for (Index i = 0; i < count; ++i)
        sums[i] =
            sum_of<Terms>(begin == 0 ? 0.0 : sums[i], [&](Index k) { return term(i, begin + k); });
}

template <typename Term>
DSNET_INLINE void sum_terms(Index terms, double* sums, Index count, Term term) {
    if (terms == 0)
        for (Index i = 0; i < count; ++i) sums[i] = 0.0;
    for (Index begin = 0; begin < terms; begin += kGroup) switch (terms - begin) {
            case 1: add_terms<1>(begin, sums, count, term); break;
            case 2: add_terms<2>(begin, sums, count, term); break;
            case 3: add_terms<3>(begin, sums, count, term); break;
            default: add_terms<4>(begin, sums, count, term);
        }
}

void blend_codes(const std::uint16_t* codes, Index stride, const double* weights, Index rows,
                 double offset, double* sums, Index count) {
    sum_terms(rows, sums, count, [=](Index i, Index k) {
        return weights[k] * (static_cast<double>(std::int32_t{codes[k * stride + i]}) - offset);
    });
}

void blend_values(const double* values, Index stride, const double* weights, Index rows,
                  double* sums, Index count) {
    sum_terms(rows, sums, count,
              [=](Index i, Index k) { return weights[k] * values[k * stride + i]; });
}

#if defined(__AVX512F__)
constexpr Index kPixels = 8;
static_assert(kBeyond == 4 * kPixels, "as many as are chosen from");

// Values that are chosen by numbers from 0 to 15, or to 31 where they are far apart.
struct Chosen {
    DSNET_INLINE Chosen(const double* from, bool far_)
        : a(_mm512_loadu_pd(from)), b(_mm512_loadu_pd(from + kPixels)), far(far_) {
        if (far) {
            c = _mm512_loadu_pd(from + 2 * kPixels);
            d = _mm512_loadu_pd(from + 3 * kPixels);
        }
    }

    DSNET_INLINE __m512d at(__m512i numbers) const {
        const __m512d near = _mm512_permutex2var_pd(a, numbers, b);
        if (!far) return near;
        const __mmask8 beyond = _mm512_cmpge_epi64_mask(numbers, _mm512_set1_epi64(2 * kPixels));
        return _mm512_mask_mov_pd(near, beyond, _mm512_permutex2var_pd(c, numbers, d));
    }

    __m512d a, b, c = {}, d = {};
    bool far;
};

template <int Terms>
Index sum_by_vectors(const double* values, const std::int32_t* first, const double* weights,
                     Index most, double* sums, Index count) {
    Index i = 0;
    for (; i + kPixels <= count; i += kPixels) {
        const Index reach = first[i + kPixels - 1] - first[i] + most;
        if (reach > kBeyond) return i;
        const Chosen chosen(values + first[i], reach > 2 * kPixels);
        const __m256i at = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(first + i));
        __m512i numbers =
            _mm512_maskz_cvtepi32_epi64(0xff, _mm256_sub_epi32(at, _mm256_set1_epi32(first[i])));
        __m512d sum = {};
        for (Index k = 0; k < (Terms > 0 ? Terms : most); ++k) {
            sum += _mm512_loadu_pd(weights + k * count + i) * chosen.at(numbers);
            numbers = _mm512_add_epi64(numbers, _mm512_set1_epi64(1));
        }
        _mm512_storeu_pd(sums + i, sum);
    }
    return i;
}
Index sum_along(const double* values, const std::int32_t* first, const double* weights, Index most,
                double* sums, Index count) {
    switch (most) {
        case 1: return sum_by_vectors<1>(values, first, weights, most, sums, count);
        case 2: return sum_by_vectors<2>(values, first, weights, most, sums, count);
        case 3: return sum_by_vectors<3>(values, first, weights, most, sums, count);
        case 4: return sum_by_vectors<4>(values, first, weights, most, sums, count);
        default: return sum_by_vectors<0>(values, first, weights, most, sums, count);
    }
}
#else
constexpr decltype(CropSimd::sum_along) sum_along = nullptr;
#endif

// Within these no inverse and no share above kLeastShare leaves the normal numbers.
constexpr double kLeastWidth = 1e-100, kMostWidth = 1e100;

#if defined(__AVX__)
typedef std::int64_t BitsVector __attribute__((vector_size(kVectorBytes)));

// A quotient by its divisor's inverse is off by less than this many of its last bits. Where it is
// farther from the middle between two float32 it becomes the one that the quotient becomes.
constexpr std::int64_t kOff = 4, kMiddle = std::int64_t{1} << 28;
constexpr double kLeastShare = 1e-30;

// As `windowed`, of whole vectors; false where one lies too near to the middle.
DSNET_INLINE bool windowed_by_inverse(const double* hu, Index count, double low, double inverse,
                                      float* values) {
    const DoubleVector zero = {}, one = zero + 1.0;
    BitsVector unsure = {};
    for (Index i = 0; i < count; i += Lanes<double>::kCount) {
        const DoubleVector share =
            (widened(narrowed(load_as<DoubleVector>(hu + i))) - low) * inverse;
        const BitsVector place = (BitsVector(share) - (kMiddle - kOff)) & (2 * kMiddle - 1);
        unsure |= (place <= 2 * kOff) | ((share > zero) & (share < kLeastShare));
        const DoubleVector positive = share > zero ? share : zero;
        store(values + i, narrowed(positive < one ? positive : one));
    }
    std::int64_t any = 0;
    for (Index lane = 0; lane < Lanes<double>::kCount; ++lane) any |= unsure[lane];
    return any == 0;
}
#else
// Without comparisons of 64 bits it takes longer than to divide.
DSNET_INLINE bool windowed_by_inverse(const double*, Index, double, double, float*) {
    return false;
}
#endif

// By vectors of one width: GCC chooses between float64 and 1 by lanes of float32.
DSNET_INLINE void windowed_by_width(const double* hu, Index count, double low, double width,
                                    float* values) {
    const DoubleVector zero = {}, one = zero + 1.0;
    for (Index i = 0; i < count; i += Lanes<double>::kCount) {
        DoubleVector share = (widened(narrowed(load_as<DoubleVector>(hu + i))) - low) / width;
        share = share > zero ? share : zero;
        store(values + i, narrowed(share < one ? share : one));
    }
}

void windowed(const double* hu, Index count, double low, double high, float* values) {
    const double width = high - low;
    const Index whole = count - count % Lanes<double>::kCount;
    if (!(width >= kLeastWidth && width <= kMostWidth) ||
        !windowed_by_inverse(hu, whole, low, 1.0 / width, values))
        windowed_by_width(hu, whole, low, width, values);
    for (Index i = whole; i < count; ++i) {
        double share = (static_cast<double>(static_cast<float>(hu[i])) - low) / width;
        share = share > 0.0 ? share : 0.0;
        values[i] = static_cast<float>(share < 1.0 ? share : 1.0);
    }
}

// Whole numbers whose quotients come out alike by float32 and by float64 that becomes float32: of a
// width of at most 20 bits none lies so near to the middle between two float32, but for those that
// are float32 themselves.
constexpr double kWidest = 1 << 20;
constexpr double kFarthest = 1 << 22;

DSNET_INLINE bool is_whole(double value) {
    return value >= -kFarthest && value <= kFarthest &&
           static_cast<double>(static_cast<std::int32_t>(value)) == value;
}

// share(code) of each.
template <typename Value, typename Share>
DSNET_INLINE void show_shares(const std::uint16_t* codes, Index stride, Index rows, Index cols,
                              float* values, Index value_stride, Share share_of) {
    for (Index y = 0; y < rows; ++y) {
        const std::uint16_t* from = codes + y * stride;
        float* to = values + y * value_stride;
        DSNET_INDEPENDENT
        for (Index x = 0; x < cols; ++x) {
            Value share = share_of(from[x]);
            share = share > 0 ? share : 0;
            to[x] = static_cast<float>(share < 1 ? share : 1);
        }
    }
}

void show(const std::uint16_t* codes, Index stride, Index rows, Index cols, const HuWindow& window,
          float* values, Index value_stride) {
    const double offset = window.offset, low = window.low, width = window.high - low;
    if (is_whole(offset) && is_whole(low) && is_whole(window.high) && width <= kWidest) {
        const auto first = static_cast<std::int32_t>(offset + low);
        const auto whole = static_cast<float>(width);
        return show_shares<float>(codes, stride, rows, cols, values, value_stride,
                                  [=](std::uint16_t code) {
                                      return static_cast<float>(std::int32_t{code} - first) / whole;
                                  });
    }
    show_shares<double>(codes, stride, rows, cols, values, value_stride, [=](std::uint16_t code) {
        return ((std::int32_t{code} - offset) - low) / width;
    });
}

typedef std::uint16_t CodeVector __attribute__((vector_size(32)));
constexpr Index kCodes = sizeof(CodeVector) / sizeof(std::uint16_t);
// A sum of so many ones fits into 16 bits.
constexpr Index kMostRows = 0xffff;

// How many of so many columns are below a level that is a code.
DSNET_INLINE Index below_in_columns(const std::uint16_t* codes, Index stride, Index rows,
                                    std::uint16_t level) {
    const CodeVector levels = CodeVector{} + level;
    Index total = 0;
    for (Index begin = 0; begin < rows; begin += kMostRows) {
        const Index end = begin + kMostRows < rows ? begin + kMostRows : rows;
        CodeVector sums = {};
        for (Index y = begin; y < end; ++y)
            sums -= CodeVector(load_as<CodeVector>(codes + y * stride) < levels);
        for (Index k = 0; k < kCodes; ++k) total += sums[k];
    }
    return total;
}

Index below(const std::uint16_t* codes, Index stride, Index rows, Index cols, std::int32_t level) {
    if (level <= 0) return 0;
    if (level > 0xffff) return rows * cols;
    const auto code = static_cast<std::uint16_t>(level);
    const Index last = cols - cols % kCodes;
    Index total = 0;
    for (Index x = 0; x < last; x += kCodes)
        total += below_in_columns(codes + x, stride, rows, code);
    for (Index y = 0; y < rows; ++y)
        for (Index x = last; x < cols; ++x) total += codes[y * stride + x] < code;
    return total;
}

}  // namespace

extern const CropSimd crop_simd;
const CropSimd crop_simd = {&blend_codes, &blend_values, sum_along, &windowed, &show, &below};

}  // namespace dsnet::DSNET_UNIT

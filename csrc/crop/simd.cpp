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

void windowed(const double* hu, Index count, double low, double high, float* values) {
    const double width = high - low;
    DSNET_INDEPENDENT
    for (Index i = 0; i < count; ++i) {
        double share = (static_cast<double>(static_cast<float>(hu[i])) - low) / width;
        share = share > 0.0 ? share : 0.0;
        values[i] = static_cast<float>(share < 1.0 ? share : 1.0);
    }
}

}  // namespace

extern const CropSimd crop_simd;
const CropSimd crop_simd = {&blend_codes, &blend_values, &windowed};

}  // namespace dsnet::DSNET_UNIT

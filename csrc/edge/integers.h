// Sums of products of 16-bit numbers in 32 bits, 16 outputs at a time, for vector sources. Whole
// numbers: the same from every unit. Included below base/lanes.h, whose unit it takes.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__clang__)
#define DSNET_UNROLLED _Pragma("clang loop unroll(full)")
#define DSNET_NOT_UNROLLED _Pragma("clang loop unroll(disable)")
#elif defined(__GNUC__)
#define DSNET_UNROLLED _Pragma("GCC unroll 16")
#define DSNET_NOT_UNROLLED _Pragma("GCC unroll 1")
#else
#define DSNET_UNROLLED
#define DSNET_NOT_UNROLLED
#endif

namespace dsnet::DSNET_UNIT {

constexpr int kOutputLanes = 16;

// The sums of so many places, or of so many tiles' products, fill the registers.
#if defined(__AVX512BW__)
constexpr int kIntegers = 16, kPlacesAtOnce = 8, kTilesAtOnce = 16;
#elif defined(__AVX2__)
constexpr int kIntegers = 8, kPlacesAtOnce = 4, kTilesAtOnce = 4;
#else
constexpr int kIntegers = 4, kPlacesAtOnce = 2, kTilesAtOnce = 2;
#endif
constexpr int kParts = kOutputLanes / kIntegers;

typedef std::int32_t Integers __attribute__((vector_size(4 * kIntegers)));
// Sums count modulo 2^32.
typedef std::uint32_t Modular __attribute__((vector_size(4 * kIntegers)));
typedef std::int32_t UnalignedIntegers
    __attribute__((vector_size(4 * kIntegers), aligned(2), may_alias));

DSNET_INLINE Integers sum_of(Integers a, Integers b) { return Integers(Modular(a) + Modular(b)); }

// Each lane is two 16-bit numbers: the sum of their products.
DSNET_INLINE Integers dot_pairs(Integers a, Integers b) {
#if defined(__AVX512BW__)
    return (Integers)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (Integers)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (Integers)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    const Integers low_a = a << 16 >> 16, low_b = b << 16 >> 16;
    return low_a * low_b + (a >> 16) * (b >> 16);
#endif
}

// Whether products are added to a sum in one instruction: later than the rest of AVX-512.
DSNET_INLINE bool has_fused_dot() {
#if defined(__AVX512BW__)
    return __builtin_cpu_supports("avx512vnni");
#else
    return false;
#endif
}

typedef std::int32_t Pair __attribute__((aligned(2), may_alias));

// The weights of two inputs for 16 outputs.
struct Weights {
    Integers parts[kParts];

    explicit DSNET_INLINE Weights(const std::int16_t* from) {
        for (int k = 0; k < kParts; ++k)
            parts[k] = *reinterpret_cast<const UnalignedIntegers*>(from + 2 * k * kIntegers);
    }
};

struct Sums {
    Integers parts[kParts];

    DSNET_INLINE void set(const std::int32_t* from) {
        for (int k = 0; k < kParts; ++k)
            parts[k] = *reinterpret_cast<const UnalignedIntegers*>(from + k * kIntegers);
    }
    // `inputs`: the two that the weights belong to. `kFused`: in one instruction, where
    // has_fused_dot() holds.
    template <bool kFused>
    DSNET_INLINE void add(const Weights& weights, const std::int16_t* inputs) {
        std::int32_t both;
        std::memcpy(&both, inputs, sizeof(both));
#if defined(__AVX512BW__)
        if constexpr (kFused) {
            // In words of its own, since x86-64-v4 is compiled without it.
            for (int k = 0; k < kParts; ++k)
                __asm__("vpdpwssd %2%{1to16%}, %1, %0"
                        : "+v"(parts[k])
                        : "v"(weights.parts[k]), "m"(*reinterpret_cast<const Pair*>(inputs)));
            return;
        }
#endif
        const Integers repeated = Integers{} + both;
        for (int k = 0; k < kParts; ++k)
            parts[k] = sum_of(parts[k], dot_pairs(repeated, weights.parts[k]));
    }
    DSNET_INLINE void add(const Sums& more) {
        for (int k = 0; k < kParts; ++k) parts[k] = sum_of(parts[k], more.parts[k]);
    }
    DSNET_INLINE void take_off(const Sums& less) {
        for (int k = 0; k < kParts; ++k)
            parts[k] = Integers(Modular(parts[k]) - Modular(less.parts[k]));
    }
    // A fourth of it, which is whole, and a bias.
    DSNET_INLINE void quarter(const std::int32_t* bias) {
        for (int k = 0; k < kParts; ++k)
            parts[k] =
                (parts[k] >> 2) + *reinterpret_cast<const UnalignedIntegers*>(bias + k * kIntegers);
    }
    DSNET_INLINE void keep(std::int32_t* to) const {
        for (int k = 0; k < kParts; ++k)
            *reinterpret_cast<UnalignedIntegers*>(to + k * kIntegers) = parts[k];
    }
    // The first four times `unit`: two go to `upper`, two to `lower`.
    DSNET_INLINE void store_first(float unit, float* upper, float* lower) const {
        typedef std::int32_t Four __attribute__((vector_size(16)));
        typedef float Values __attribute__((vector_size(16)));
        Four first;
        std::memcpy(&first, &parts[0], sizeof(first));
        const Values values = __builtin_convertvector(first, Values) * unit;
        const auto* const from = reinterpret_cast<const char*>(&values);
        std::memcpy(upper, from, 2 * sizeof(float));
        std::memcpy(lower, from + 2 * sizeof(float), 2 * sizeof(float));
    }
    // Divided by 2^shift to the nearest, from `low` to `high`, which 16 bits hold.
    DSNET_INLINE void store(std::int16_t* to, int shift, std::int32_t low,
                            std::int32_t high) const {
        rounded(1 << shift >> 1).shifted(shift).store_within(to, low, high);
    }
    DSNET_INLINE Sums rounded(std::int32_t half) const {
        Sums out;
        for (int k = 0; k < kParts; ++k) out.parts[k] = parts[k] + half;
        return out;
    }
    DSNET_INLINE Sums shifted(int shift) const {
        Sums out;
        for (int k = 0; k < kParts; ++k) out.parts[k] = parts[k] >> shift;
        return out;
    }
    // Narrowed first: what passes 16 bits is then at their ends, and so beyond low or high.
    DSNET_INLINE void store_within(std::int16_t* to, std::int32_t low, std::int32_t high) const {
#if defined(__AVX512BW__)
        const __m256i narrow = _mm512_maskz_cvtsepi32_epi16(0xffff, (__m512i)parts[0]);
        store_shorts(to, (Shorts)narrow, low, high);
#elif defined(__AVX2__)
        const __m256i narrow = _mm256_packs_epi32((__m256i)parts[0], (__m256i)parts[1]);
        store_shorts(to, (Shorts)_mm256_permute4x64_epi64(narrow, 0b11011000), low, high);
#elif defined(__SSE2__)
        for (int k = 0; k < kParts; k += 2)
            store_shorts(to + k * kIntegers,
                         (Shorts)_mm_packs_epi32((__m128i)parts[k], (__m128i)parts[k + 1]), low,
                         high);
#else
        const Integers least = Integers{} + low, most = Integers{} + high;
        for (int k = 0; k < kParts; ++k) {
            Integers value = parts[k] < least ? least : parts[k];
            value = value > most ? most : value;
            const auto narrow = __builtin_convertvector(value, Halves);
            std::memcpy(to + k * kIntegers, &narrow, sizeof(narrow));
        }
#endif
    }

  private:
    typedef std::int16_t Halves __attribute__((vector_size(2 * kIntegers)));
    // A register's worth, and 16 of them at most.
    typedef std::int16_t Shorts
        __attribute__((vector_size(kParts == 1 ? 2 * kIntegers : 4 * kIntegers)));

    static DSNET_INLINE void store_shorts(std::int16_t* to, Shorts values, std::int32_t low,
                                          std::int32_t high) {
        const Shorts least = Shorts{} + std::int16_t(low), most = Shorts{} + std::int16_t(high);
        values = values < least ? least : values;
        values = values > most ? most : values;
        std::memcpy(to, &values, sizeof(values));
    }
};

}  // namespace dsnet::DSNET_UNIT

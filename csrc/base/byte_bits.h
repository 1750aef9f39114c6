// 64 bytes told apart by a bit each, for vector sources. Included below base/lanes.h, whose unit it
// takes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/lanes.h"

namespace dsnet::DSNET_UNIT {

// Bit i is set where byte i is `value`.
DSNET_INLINE std::uint64_t bits_where_equal(const std::uint8_t* bytes, std::uint8_t value) {
#if defined(__AVX512BW__)
    return _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(bytes),
                                  _mm512_set1_epi8(static_cast<char>(value)));
#elif defined(__AVX2__)
    std::uint64_t bits = 0;
    for (int part = 0; part < 2; ++part) {
        const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + 32 * part));
        const __m256i equal = _mm256_cmpeq_epi8(v, _mm256_set1_epi8(static_cast<char>(value)));
        bits |= std::uint64_t(std::uint32_t(_mm256_movemask_epi8(equal))) << (32 * part);
    }
    return bits;
#elif defined(__SSE2__)
    std::uint64_t bits = 0;
    for (int part = 0; part < 4; ++part) {
        const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + 16 * part));
        const __m128i equal = _mm_cmpeq_epi8(v, _mm_set1_epi8(static_cast<char>(value)));
        bits |= std::uint64_t(_mm_movemask_epi8(equal)) << (16 * part);
    }
    return bits;
#else
    std::uint64_t bits = 0;
    for (std::ptrdiff_t i = 0; i < 64; ++i) bits |= std::uint64_t(bytes[i] == value) << i;
    return bits;
#endif
}

}  // namespace dsnet::DSNET_UNIT

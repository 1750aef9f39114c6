#include "png/crc.h"

#include <array>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>
#define DSNET_CARRYLESS 1
#else
#define DSNET_CARRYLESS 0
#endif

namespace dsnet {
namespace {

// The polynomial, the lowest power in the highest bit.
constexpr std::uint32_t kPolynomial = 0xedb88320;
// Bytes that a table takes at a time.
constexpr int kSlices = 8;
using Tables = std::array<std::array<std::uint32_t, 256>, kSlices>;

constexpr std::uint32_t times_x(std::uint32_t value) {
    return value >> 1 ^ (value & 1 ? kPolynomial : 0);
}

constexpr Tables make_tables() {
    Tables tables{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t value = byte;
        for (int bit = 0; bit < 8; ++bit) value = times_x(value);
        tables[0][byte] = value;
    }
    for (int slice = 1; slice < kSlices; ++slice)
        for (std::uint32_t byte = 0; byte < 256; ++byte) {
            const std::uint32_t before = tables[slice - 1][byte];
            tables[slice][byte] = before >> 8 ^ tables[0][before & 0xff];
        }
    return tables;
}

constexpr Tables kTables = make_tables();

std::uint32_t word(const std::uint8_t* at) {
    return at[0] | at[1] << 8 | at[2] << 16 | static_cast<std::uint32_t>(at[3]) << 24;
}

std::uint32_t by_tables(std::uint32_t crc, const std::uint8_t* data, std::ptrdiff_t size) {
    for (; size >= kSlices; data += kSlices, size -= kSlices) {
        const std::uint32_t low = crc ^ word(data), high = word(data + 4);
        crc = 0;
        for (int byte = 0; byte < 4; ++byte) {
            crc ^= kTables[7 - byte][low >> 8 * byte & 0xff];
            crc ^= kTables[3 - byte][high >> 8 * byte & 0xff];
        }
    }
    for (; size > 0; ++data, --size) crc = crc >> 8 ^ kTables[0][(crc ^ *data) & 0xff];
    return crc;
}

#if DSNET_CARRYLESS

// Folding (Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ", Intel
// 2009): 16 bytes that lie n bits before others are congruent to their halves times x^(n + 32) and
// x^(n - 32), added to those.

constexpr long long power_of_x(int exponent) {
    std::uint32_t value = 0x80000000;  // 1
    for (int i = 0; i < exponent; ++i) value = times_x(value);
    return static_cast<long long>(value) << 1;
}

constexpr int kBlock = 16, kBlocks = 4;

__attribute__((target("pclmul,sse2"))) inline __m128i folded(__m128i v, __m128i powers,
                                                             __m128i following) {
    const __m128i low = _mm_clmulepi64_si128(v, powers, 0x00);
    const __m128i high = _mm_clmulepi64_si128(v, powers, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), following);
}

__attribute__((target("pclmul,sse2"))) std::uint32_t by_folding(std::uint32_t crc,
                                                                const std::uint8_t* data,
                                                                std::ptrdiff_t size) {
    const auto block = [&data](int i) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(data + kBlock * i));
    };
    const __m128i by_four = _mm_set_epi64x(power_of_x(512 - 32), power_of_x(512 + 32));
    const __m128i by_one = _mm_set_epi64x(power_of_x(128 - 32), power_of_x(128 + 32));
    __m128i v[kBlocks];
    for (int i = 0; i < kBlocks; ++i) v[i] = block(i);
    v[0] = _mm_xor_si128(v[0], _mm_cvtsi32_si128(static_cast<int>(crc)));
    for (data += kBlock * kBlocks, size -= kBlock * kBlocks; size >= kBlock * kBlocks;
         data += kBlock * kBlocks, size -= kBlock * kBlocks)
        for (int i = 0; i < kBlocks; ++i) v[i] = folded(v[i], by_four, block(i));
    for (int i = 1; i < kBlocks; ++i) v[0] = folded(v[i - 1], by_one, v[i]), v[i] = v[0];
    for (; size >= kBlock; data += kBlock, size -= kBlock) v[0] = folded(v[0], by_one, block(0));
    alignas(kBlock) std::uint8_t left[kBlock];
    _mm_store_si128(reinterpret_cast<__m128i*>(left), v[0]);
    return by_tables(by_tables(0, left, kBlock), data, size);
}

#endif

}  // namespace

std::uint32_t crc32(const std::uint8_t* data, std::ptrdiff_t size) {
#if DSNET_CARRYLESS
    static const bool folds = __builtin_cpu_supports("pclmul") != 0;
    if (folds && size >= kBlock * kBlocks) return ~by_folding(~std::uint32_t{0}, data, size);
#endif
    return ~by_tables(~std::uint32_t{0}, data, size);
}

}  // namespace dsnet

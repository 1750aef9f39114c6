#include "codes/key_hash.h"

#include <array>
#include <cstring>

namespace dsnet {
namespace {

constexpr std::size_t kBlock = 128, kDigest = 8, kRounds = 12;
using Words = std::array<std::uint64_t, 8>;
constexpr Words kBegin = {0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b,
                          0xa54ff53a5f1d36f1, 0x510e527fade682d1, 0x9b05688c2b3e6c1f,
                          0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};
constexpr std::uint8_t kOrder[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

std::uint64_t turned(std::uint64_t word, int bits) {
    return (word >> bits) | (word << (64 - bits));
}

std::uint64_t word_at(const unsigned char* bytes) {
    std::uint64_t word = 0;
    for (int i = 7; i >= 0; --i) word = word << 8 | bytes[i];
    return word;
}

void mix(std::uint64_t& a, std::uint64_t& b, std::uint64_t& c, std::uint64_t& d, std::uint64_t x,
         std::uint64_t y) {
    a += b + x;
    d = turned(d ^ a, 32);
    c += d;
    b = turned(b ^ c, 24);
    a += b + y;
    d = turned(d ^ a, 16);
    c += d;
    b = turned(b ^ c, 63);
}

// `done`: bytes up to this block's end; they are fewer than 2^64.
void compress(Words& state, const unsigned char* block, std::uint64_t done, bool last) {
    std::uint64_t words[16], v[16];
    for (int i = 0; i < 16; ++i) words[i] = word_at(block + 8 * i);
    for (int i = 0; i < 8; ++i) {
        v[i] = state[static_cast<std::size_t>(i)];
        v[8 + i] = kBegin[static_cast<std::size_t>(i)];
    }
    v[12] ^= done;
    if (last) v[14] = ~v[14];
    for (std::size_t round = 0; round < kRounds; ++round) {
        const std::uint8_t* at = kOrder[round % 10];
        mix(v[0], v[4], v[8], v[12], words[at[0]], words[at[1]]);
        mix(v[1], v[5], v[9], v[13], words[at[2]], words[at[3]]);
        mix(v[2], v[6], v[10], v[14], words[at[4]], words[at[5]]);
        mix(v[3], v[7], v[11], v[15], words[at[6]], words[at[7]]);
        mix(v[0], v[5], v[10], v[15], words[at[8]], words[at[9]]);
        mix(v[1], v[6], v[11], v[12], words[at[10]], words[at[11]]);
        mix(v[2], v[7], v[8], v[13], words[at[12]], words[at[13]]);
        mix(v[3], v[4], v[9], v[14], words[at[14]], words[at[15]]);
    }
    for (std::size_t i = 0; i < 8; ++i) state[i] ^= v[i] ^ v[8 + i];
}

bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }

// Whether a text begins with a form, in which '#' is any digit.
bool begins(const char* text, std::size_t size, const char* form) {
    for (; *form != '\0'; ++form, ++text, --size)
        if (size == 0 || (*form == '#' ? !is_digit(*text) : *text != *form)) return false;
    return true;
}

}  // namespace

std::uint64_t key_hash(const char* text, std::size_t size) {
    Words state = kBegin;
    state[0] ^= 0x01010000 ^ kDigest;  // One thread, no key.
    const auto* bytes = reinterpret_cast<const unsigned char*>(text);
    std::size_t done = 0;
    for (; size - done > kBlock; done += kBlock)
        compress(state, bytes + done, done + kBlock, false);
    unsigned char block[kBlock] = {};
    if (size > done) std::memcpy(block, bytes + done, size - done);
    compress(state, block, size, true);
    return state[0];
}

Known key_names_patient(const char* text, std::size_t size) {
    bool plain = true;
    for (std::size_t i = 0; i < size; ++i) {
        plain = plain && static_cast<unsigned char>(text[i]) < 0x80;
        if (begins(text + i, size - i, "LIDC-IDRI-####") ||
            begins(text + i, size - i, "######_##_##"))
            return Known::kYes;
    }
    // Other scripts have digits, too.
    return plain ? Known::kNo : Known::kUnsure;
}

}  // namespace dsnet

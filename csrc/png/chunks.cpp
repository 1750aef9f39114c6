#include "png/chunks.h"

#include <cstring>

#include "png/crc.h"

namespace dsnet {
namespace {

constexpr std::ptrdiff_t kBeginning = 8, kHeader = 13;
// Of a chunk: its length and name before what it holds, its checksum behind.
constexpr std::ptrdiff_t kBefore = 8, kBehind = 4;
// OpenCV's and libpng's own limits are higher.
constexpr std::uint32_t kLongestSide = 1 << 16;

constexpr std::uint32_t name(const char (&letters)[5]) {
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i) value = value << 8 | static_cast<std::uint8_t>(letters[i]);
    return value;
}

std::uint32_t number(const std::uint8_t* at) {
    return static_cast<std::uint32_t>(at[0]) << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

void put_number(std::uint32_t value, std::uint8_t* to) {
    for (int i = 0; i < 4; ++i) to[i] = static_cast<std::uint8_t>(value >> (24 - 8 * i));
}

// Of what may stand beside the pixels, what says nothing of them.
bool is_beside(std::uint32_t kind) {
    return kind == name("tEXt") || kind == name("tIME") || kind == name("pHYs");
}

}  // namespace

PngChunks read_chunks(const std::uint8_t* data, std::ptrdiff_t size) {
    PngChunks found;
    const std::uint8_t* header = nullptr;
    std::uint32_t before = 0;
    bool plain = true;
    for (std::ptrdiff_t at = kBeginning;;) {
        found.at = at;
        if (at > size - kBefore - kBehind) return found.fault = PngFault::kCutShort, found;
        const std::ptrdiff_t length = number(data + at);
        const std::uint32_t kind = number(data + at + 4);
        const std::uint8_t* const content = data + at + kBefore;
        if (length > size - at - kBefore - kBehind) return found.fault = PngFault::kCutShort, found;
        if (crc32(content - 4, length + 4) != number(content + length))
            return found.fault = PngFault::kDamaged, found;
        if (header == nullptr) {
            if (kind != name("IHDR") || length != kHeader)
                return found.fault = PngFault::kNoHeader, found;
            header = content;
        } else if (kind == name("IDAT")) {
            plain = plain && (found.parts.empty() || before == kind);
            if (found.parts.empty()) found.begin = content - data;
            found.parts.push_back(length);
        } else if (kind == name("IEND")) {
            break;
        } else if (kind == name("acTL")) {
            return found.fault = PngFault::kFrames, found;
        } else {
            plain = plain && is_beside(kind);
        }
        before = kind;
        at += kBefore + length + kBehind;
    }
    found.width = number(header);
    found.height = number(header + 4);
    const int bits = header[8];
    plain = plain && (bits == 8 || bits == 16) && !found.parts.empty();
    for (int i = 9; i < kHeader; ++i) plain = plain && header[i] == 0;
    plain = plain && found.width > 0 && found.width <= kLongestSide;
    plain = plain && found.height > 0 && found.height <= kLongestSide;
    if (plain)
        found.bits = bits;
    else
        found.parts.clear();
    return found;
}

std::ptrdiff_t join_parts(std::uint8_t* data, const PngChunks& chunks) {
    std::uint8_t* const begin = data + chunks.begin;
    const std::uint8_t* from = begin;
    std::uint8_t* to = begin;
    for (const std::ptrdiff_t length : chunks.parts) {
        if (to != from) std::memmove(to, from, static_cast<std::size_t>(length));
        to += length;
        from += length + kBehind + kBefore;
    }
    return to - begin;
}

void write_apart(const std::uint8_t* joined, std::ptrdiff_t size, const PngChunks& chunks,
                 std::uint8_t* to) {
    const auto copy = [&to](const std::uint8_t* from, std::ptrdiff_t length) {
        std::memcpy(to, from, static_cast<std::size_t>(length));
        to += length;
    };
    std::uint8_t* const whole = to;
    const std::uint8_t* part = joined + chunks.begin;
    copy(joined, chunks.parts.empty() ? size : chunks.begin - kBefore);
    for (const std::ptrdiff_t length : chunks.parts) {
        put_number(static_cast<std::uint32_t>(length), to);
        put_number(name("IDAT"), to + 4);
        to += kBefore;
        copy(part, length);
        part += length;
        // It was right.
        put_number(crc32(to - length - 4, length + 4), to);
        to += kBehind;
    }
    // Nothing was moved over what is behind them.
    copy(joined + (to - whole), size - (to - whole));
}

}  // namespace dsnet

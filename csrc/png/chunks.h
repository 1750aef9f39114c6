// The chunks of a PNG file (PNG specification, 5), each compared with its checksum.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace dsnet {

enum class PngFault { kNone, kCutShort, kDamaged, kNoHeader, kFrames };

struct PngPart {
    const std::uint8_t* data;
    std::ptrdiff_t size;
};

struct PngChunks {
    PngFault fault = PngFault::kNone;
    std::ptrdiff_t at = 0;  // where a damaged chunk begins
    std::uint32_t height = 0, width = 0;
    // Of a plain file: grey, not interlaced, nothing in it that could change a pixel. 0 of others.
    int bits = 0;
    std::vector<PngPart> parts;  // what the pixels are compressed to
};

// Nothing is inflated, and nothing behind the end of the picture is looked at.
PngChunks read_chunks(const std::uint8_t* data, std::ptrdiff_t size);

}  // namespace dsnet

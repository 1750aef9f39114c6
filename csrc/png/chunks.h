// The chunks of a PNG file (PNG specification, 5), each compared with its checksum.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace dsnet {

enum class PngFault { kNone, kCutShort, kDamaged, kNoHeader, kFrames };

struct PngChunks {
    PngFault fault = PngFault::kNone;
    std::ptrdiff_t at = 0;  // where a damaged chunk begins
    std::uint32_t height = 0, width = 0;
    // Of a plain file: grey, not interlaced, nothing in it that could change a pixel. 0 of others.
    int bits = 0;
    // What a plain file's pixels are compressed to: where the first part begins, and the bytes of
    // each. A chunk's end and the next one's beginning are between two.
    std::ptrdiff_t begin = 0;
    std::vector<std::ptrdiff_t> parts;
};

// Nothing is inflated, and nothing behind the end of the picture is looked at.
PngChunks read_chunks(const std::uint8_t* data, std::ptrdiff_t size);

// Moves a plain file's parts together, the first one stays; returns how much they are.
std::ptrdiff_t join_parts(std::uint8_t* data, const PngChunks& chunks);

// The file as it was before they were moved: all `size` bytes.
void write_apart(const std::uint8_t* joined, std::ptrdiff_t size, const PngChunks& chunks,
                 std::uint8_t* to);

}  // namespace dsnet

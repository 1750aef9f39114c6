// The checksum of a PNG's chunks (PNG specification, 5.5 and annex D).
#pragma once

#include <cstddef>
#include <cstdint>

namespace dsnet {

std::uint32_t crc32(const std::uint8_t* data, std::ptrdiff_t size);

}  // namespace dsnet

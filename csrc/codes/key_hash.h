// The hash of a row's key, and what a key tells of its patient.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dsnet {

// BLAKE2b of RFC 7693, its first 8 bytes as a little-endian number: the digest is 8 bytes long.
std::uint64_t key_hash(const char* text, std::size_t size);

enum class Known : std::uint8_t { kNo = 0, kYes = 1, kUnsure = 2 };

// Whether a key names its patient as keys of LIDC-IDRI and DeepLesion do; of a text that is not all
// ASCII it is not always sure.
Known key_names_patient(const char* text, std::size_t size);

}  // namespace dsnet

// Memory that files are read into, used again: of fresh pages reading costs three times as much.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace dsnet {

// So many bytes, nobody else's until it ends: from what was given back before, where some fits.
// Any thread may make one and end it.
class FileMemory {
  public:
    // What is in it is left of others, or nothing in particular. Throws std::bad_alloc.
    explicit FileMemory(std::size_t size);
    ~FileMemory();
    FileMemory(FileMemory&& other) noexcept = default;
    FileMemory& operator=(FileMemory&&) = delete;

    // Null once it was moved away.
    std::uint8_t* data() const { return block_.bytes.get(); }
    std::size_t size() const { return size_; }

    struct Block {
        std::unique_ptr<std::uint8_t[]> bytes;
        std::size_t capacity = 0;
    };

  private:
    std::size_t size_;
    Block block_;
};

}  // namespace dsnet

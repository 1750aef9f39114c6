// A regular file, read whole: what else lies under a name could hang, or never end.
#pragma once

#include <cstdint>

namespace dsnet {

class RegularFile {
  public:
    // Opens it, and waits for no pipe's writer.
    explicit RegularFile(const char* path);
    ~RegularFile();
    RegularFile(const RegularFile&) = delete;
    RegularFile& operator=(const RegularFile&) = delete;

    // Bytes that it has; below 0 where it is no regular file, or could not be opened.
    std::int64_t size() const { return size_; }
    // Whether nothing lies under the name.
    bool is_absent() const { return absent_; }
    // All of it. False where it cannot be read, or is of another size by now.
    bool read(std::uint8_t* to) const;

  private:
    int descriptor_ = -1;
    std::int64_t size_ = -1;
    bool absent_ = false;
};

}  // namespace dsnet

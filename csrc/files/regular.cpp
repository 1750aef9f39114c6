#include "files/regular.h"

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#endif

namespace dsnet {

#if defined(__unix__) || defined(__APPLE__)
namespace {

// Below 0 of what is no regular file.
std::int64_t size_of(int descriptor) {
    struct stat state;
    if (fstat(descriptor, &state) != 0 || !S_ISREG(state.st_mode)) return -1;
    return state.st_size;
}

}  // namespace

RegularFile::RegularFile(const char* path)
    : descriptor_(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)) {
    if (descriptor_ < 0)
        absent_ = errno == ENOENT || errno == ENOTDIR;
    else
        size_ = size_of(descriptor_);
}

RegularFile::~RegularFile() {
    if (descriptor_ >= 0) close(descriptor_);
}

bool RegularFile::read(std::uint8_t* to) const {
    for (std::int64_t done = 0; done < size_;) {
        const ssize_t count =
            ::read(descriptor_, to + done, static_cast<std::size_t>(size_ - done));
        if (count <= 0) return false;
        done += count;
    }
    return size_of(descriptor_) == size_;
}

#else

// Whoever asks finds another way.
RegularFile::RegularFile(const char*) {}
RegularFile::~RegularFile() = default;
bool RegularFile::read(std::uint8_t*) const { return false; }

#endif

}  // namespace dsnet

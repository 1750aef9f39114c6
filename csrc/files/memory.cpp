#include "files/memory.h"

#include <mutex>
#include <utility>
#include <vector>

namespace dsnet {
namespace {

// So that files of about a size fit where others were.
constexpr std::size_t kStep = std::size_t{1} << 16;
// What is kept for others, and the largest of it: a slice's file is of 0.2 MB.
constexpr std::size_t kMostBytes = std::size_t{1} << 26, kLargest = std::size_t{1} << 23;
constexpr std::size_t kMostBlocks = 64;

struct Pool {
    std::mutex mutex;
    std::vector<FileMemory::Block> blocks;  // the last one was given back last
    std::size_t bytes = 0;

    Pool() { blocks.reserve(kMostBlocks); }

    // Another thread at work here is not waited for: one of a process that forked this one, least
    // of all.
    std::unique_lock<std::mutex> locked() {
        return std::unique_lock<std::mutex>(mutex, std::try_to_lock);
    }

    FileMemory::Block taken_out(std::size_t at) {
        FileMemory::Block block = std::move(blocks[at]);
        blocks.erase(blocks.begin() + static_cast<std::ptrdiff_t>(at));
        bytes -= block.capacity;
        return block;
    }
};

Pool& pool() {
    // Never ended: what is given back while the process ends finds it.
    static Pool* const one = new Pool;
    return *one;
}

FileMemory::Block take(std::size_t size) {
    const std::size_t wanted = size / kStep * kStep + kStep;
    Pool& kept = pool();
    if (const auto lock = kept.locked())
        for (std::size_t at = kept.blocks.size(); at-- > 0;) {
            const std::size_t capacity = kept.blocks[at].capacity;
            if (capacity >= wanted && capacity / 2 <= wanted) return kept.taken_out(at);
        }
    return {std::unique_ptr<std::uint8_t[]>(new std::uint8_t[wanted]), wanted};
}

void give_back(FileMemory::Block block) {
    if (block.bytes == nullptr || block.capacity > kLargest) return;
    Pool& kept = pool();
    const auto lock = kept.locked();
    if (!lock) return;
    while (kept.blocks.size() == kMostBlocks || kept.bytes + block.capacity > kMostBytes)
        kept.taken_out(0);
    kept.bytes += block.capacity;
    kept.blocks.push_back(std::move(block));
}

}  // namespace

FileMemory::FileMemory(std::size_t size) : size_(size), block_(take(size)) {}
FileMemory::~FileMemory() { give_back(std::move(block_)); }

}  // namespace dsnet

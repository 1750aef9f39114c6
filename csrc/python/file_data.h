// A file's bytes between its reading and whoever takes them.
#pragma once

#include <pybind11/pybind11.h>

#include <utility>

#include "files/memory.h"

namespace dsnet {

// No view of it is handed out: what takes its memory may change what is in it.
class FileData {
  public:
    explicit FileData(FileMemory memory) : memory_(std::move(memory)) {}

    const FileMemory& memory() const {
        if (memory_.data() == nullptr)
            throw pybind11::value_error("file must be as it was read, got one that was taken");
        return memory_;
    }
    FileMemory taken() {
        memory();
        return std::move(memory_);
    }

  private:
    FileMemory memory_;
};

}  // namespace dsnet

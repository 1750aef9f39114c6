// Columns of rows to come, as Arrow lays them out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace dsnet {

// Texts one after the other.
struct TextColumn {
    std::vector<std::int64_t> ends{0};  // where each begins, and the last one ends
    std::string data;

    std::size_t size() const { return ends.size() - 1; }
    // What was appended to `data` since is a text.
    void end() { ends.push_back(static_cast<std::int64_t>(data.size())); }
    void shorten(std::size_t size) {
        if (ends.size() > size + 1) ends.resize(size + 1);
        data.resize(static_cast<std::size_t>(ends.back()));
    }
};

// Numbers of which some are not there.
template <typename T>
struct NumberColumn {
    std::vector<T> values;
    std::vector<std::uint8_t> there;

    std::size_t size() const { return there.size(); }
    void push(T value, bool given = true) {
        values.push_back(value);
        there.push_back(given);
    }
    void resize(std::size_t size) {
        values.resize(size);
        there.resize(size);
    }
};

}  // namespace dsnet

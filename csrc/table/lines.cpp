#include "table/lines.h"

#include <algorithm>
#include <cstddef>

namespace dsnet {
namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f); }
bool is_other(char c) { return static_cast<unsigned char>(c) >= 0x80; }

}  // namespace

std::string_view next_line(std::string_view& text) {
    std::size_t end = 0;
    while (end < text.size() && text[end] != '\n' && text[end] != '\r') ++end;
    const std::string_view line = text.substr(0, end);
    const bool both = text.substr(end, 2) == "\r\n";
    text.remove_prefix(std::min(end + 1 + both, text.size()));
    return line;
}

Blank is_blank(std::string_view line) {
    Blank found = Blank::yes;
    for (const char c : line) {
        if (is_other(c))
            found = Blank::unsure;
        else if (!is_space(c))
            return Blank::no;
    }
    return found;
}

bool is_ascii(std::string_view text) { return std::none_of(text.begin(), text.end(), is_other); }

std::string_view stripped(std::string_view text) {
    while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
    while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
    return text;
}

}  // namespace dsnet

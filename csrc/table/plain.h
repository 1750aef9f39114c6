// Lines and numbers of a table of comma-separated values, where they are plain: most are.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dsnet {

// The cells of a line of ASCII, without their quotes. False where anything is odd: an empty line, a
// quote within a cell, an end of a line.
bool split_plain(std::string_view line, std::vector<std::string_view>& cells);

// The numbers between commas, and their shortest decimals as Python writes a list of them. False
// where one is not plain: decimal, of 15 digits at most (any of so many is told apart from all
// others, so that no shorter one is the same number), 0 or at least 0.0001.
bool read_plain(std::string_view text, std::vector<double>& numbers, std::string& said);

}  // namespace dsnet

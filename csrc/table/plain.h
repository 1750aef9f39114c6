// Lines and numbers of a table of comma-separated values, where they are plain: most are.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dsnet {

// The cells of a line, without their quotes. False where anything is odd: an empty line, a
// quote within a cell, an end of a line.
bool split_plain(std::string_view line, std::vector<std::string_view>& cells);

// The numbers between commas, and their shortest decimals as Python writes a list of them. False
// where one is not plain: decimal, of 15 digits at most (any of so many is told apart from all
// others, so that no shorter one is the same number), 0 or at least 0.0001.
bool read_plain(std::string_view text, std::vector<double>& numbers, std::string& said);

// A whole number of 15 digits at most, with or without a sign and spaces around it.
bool read_whole(std::string_view text, std::int64_t& number);

// Of a mark's numbers its longer axis first (of two as long the first), and NaN for a second one
// that is not there. False where there are neither 4 nor 8, or one is beyond a thousand million.
bool order_axes(std::vector<double>& numbers);

}  // namespace dsnet

#include "table/plain.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace dsnet {
namespace {

constexpr int kDigits = 15;
// Exact, as are whole numbers of so many digits: their quotient is the nearest number (Clinger,
// "How to read floating point numbers accurately", 1990).
constexpr double kPowers[kDigits + 1] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                         1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
// What is below is written with an exponent.
constexpr double kLeast = 1e-4;
// Pixels that belong to no image, see dsnet/labeling/recist.py.
constexpr double kFarthest = 1e9;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_special(char c) {
    // One comparison for most.
    return c <= ',' && (c == '"' || c == ',' || c == '\n' || c == '\r' || c == '\0');
}

std::string_view without_spaces(std::string_view text) {
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
    return text;
}

bool read_number(std::string_view text, double& number, std::string& said) {
    const bool negative = !text.empty() && text.front() == '-';
    if (negative) text.remove_prefix(1);
    std::size_t whole = 0;
    while (whole < text.size() && is_digit(text[whole])) ++whole;
    if (whole == 0 || (whole > 1 && text[0] == '0')) return false;
    std::string_view fraction;
    if (whole < text.size()) {
        if (text[whole] != '.') return false;
        fraction = text.substr(whole + 1);
        if (fraction.empty()) return false;
        for (const char c : fraction)
            if (!is_digit(c)) return false;
        while (!fraction.empty() && fraction.back() == '0') fraction.remove_suffix(1);
    }
    if (whole + fraction.size() > kDigits) return false;
    std::int64_t digits = 0;
    for (const char c : text.substr(0, whole)) digits = 10 * digits + (c - '0');
    for (const char c : fraction) digits = 10 * digits + (c - '0');
    number = static_cast<double>(digits) / kPowers[fraction.size()];
    if (digits != 0 && number < kLeast) return false;
    if (negative) number = -number, said += '-';
    said += text.substr(0, whole);
    said += '.';
    if (fraction.empty())
        said += '0';
    else
        said += fraction;
    return true;
}

double length_of(const double* ends) { return std::hypot(ends[2] - ends[0], ends[3] - ends[1]); }

}  // namespace

bool split_plain(std::string_view line, std::vector<std::string_view>& cells) {
    if (line.empty()) return false;
    for (std::size_t at = 0;; ++at) {
        const bool quoted = at < line.size() && line[at] == '"';
        const std::size_t begin = at + quoted;
        std::size_t end = begin;
        for (; end < line.size(); ++end) {
            if (!is_special(line[end]) || (quoted && line[end] == ',')) continue;
            if (line[end] == '"' || line[end] == ',') break;
            return false;
        }
        const bool closed = end < line.size() && line[end] == '"';
        if (closed != quoted) return false;
        cells.push_back(line.substr(begin, end - begin));
        at = end + closed;
        if (at == line.size()) return true;
        if (line[at] != ',') return false;
    }
}

bool read_plain(std::string_view text, std::vector<double>& numbers, std::string& said) {
    for (;;) {
        const std::size_t comma = text.find(',');
        double number;
        if (!numbers.empty()) said += ", ";
        if (!read_number(without_spaces(text.substr(0, comma)), number, said)) return false;
        numbers.push_back(number);
        if (comma == std::string_view::npos) return true;
        text.remove_prefix(comma + 1);
    }
}

bool read_whole(std::string_view text, std::int64_t& number) {
    text = without_spaces(text);
    const bool negative = !text.empty() && text.front() == '-';
    if (negative) text.remove_prefix(1);
    if (text.empty() || text.size() > kDigits) return false;
    number = 0;
    for (const char c : text) {
        if (!is_digit(c)) return false;
        number = 10 * number + (c - '0');
    }
    if (negative) number = -number;
    return true;
}

bool order_axes(std::vector<double>& numbers) {
    if (numbers.size() != 4 && numbers.size() != 8) return false;
    for (const double number : numbers)
        if (!(std::abs(number) <= kFarthest)) return false;
    if (numbers.size() == 4)
        numbers.resize(8, std::numeric_limits<double>::quiet_NaN());
    else if (length_of(&numbers[4]) > length_of(&numbers[0]))
        std::swap_ranges(numbers.begin(), numbers.begin() + 4, numbers.begin() + 4);
    return true;
}

}  // namespace dsnet

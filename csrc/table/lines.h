// The lines of a text in UTF-8, as dsnet/data/lines.py has them.
#pragma once

#include <string_view>

namespace dsnet {

enum class Blank { no, yes, unsure };

// Takes the first line off a text; without its end, which is LF, CRLF or CR.
std::string_view next_line(std::string_view& text);

// Whether a line is empty or of white space alone; unsure of one in which only white space of ASCII
// stands beside other characters than those of ASCII.
Blank is_blank(std::string_view line);

bool is_ascii(std::string_view text);

// Without white space of ASCII at its ends, as Python counts it.
std::string_view stripped(std::string_view text);

}  // namespace dsnet

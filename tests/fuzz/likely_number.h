// Numbers that readers are likely to mistake.
#pragma once
#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>

// The number written in `text` at or behind `place`, if there is one, becomes one of them.
inline void mistake_number(std::string &text, size_t place, size_t choice) {
  static constexpr const char *likely[] = {"0",
                                           "1",
                                           "-1",
                                           "8",
                                           "00",
                                           "65536",
                                           "2147483647",
                                           "2147483648",
                                           "4294967295",
                                           "4294967296",
                                           "1099511627776",
                                           "4611686018427387904",
                                           "9223372036854775807",
                                           "9223372036854775808",
                                           "-9223372036854775808",
                                           "1e308"};
  const size_t begin = text.find_first_of("0123456789", place);
  if (begin == text.npos) return;
  const size_t end = std::min(text.find_first_not_of("0123456789", begin), text.size());
  text.replace(begin, end - begin, likely[choice % std::size(likely)]);
}

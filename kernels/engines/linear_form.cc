#include "engines/linear_form.h"

#include <utility>

namespace ingot {

std::string LinearForm::text() const {
  std::string text;
  const std::pair<int64_t, char> terms[] = {{factor.T, 'T'}, {factor.S, 'S'}, {factor.N, 'N'},
                                            {factor.Q, 'Q'}, {factor.M, 'M'}, {factor.P, 'P'}};
  for (const auto &[number, letter] : terms) {
    if (number == 0) continue;
    if (!text.empty()) text += '+';
    if (number != 1) text += std::to_string(number) + '*';
    text += letter;
  }
  if (text.empty()) return std::to_string(constant);
  if (constant > 0) text += '+';
  return constant ? text + std::to_string(constant) : text;
}

}  // namespace ingot

// One line of plan.txt: its words, and what they are read as. Every refusal names the file, the line and the sentence.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engines/plan.h"
#include "split.h"

namespace ingot {

class PlanLine {
 public:
  PlanLine(std::string_view text, const std::string &path, int32_t number);

  [[noreturn]] __attribute__((format(printf, 2, 3))) void refuse(const char *format, ...) const;

  std::string text() const { return std::string(text_); }
  int32_t number() const { return number_; }
  size_t count() const { return words_.size(); }
  std::string_view word(size_t i) const;  // refuses if there is none
  void expect(size_t words) const;

  std::string name(size_t i) const;                             // a legal name of a value
  std::string_view pair(size_t i, std::string_view key) const;  // the value of word i, which must read key=value
  int64_t pair_integer(size_t i, std::string_view key, int64_t least, int64_t most) const;
  int64_t integer(std::string_view text, int64_t least, int64_t most) const;
  std::vector<int64_t> integers(std::string_view text) const;
  int32_t dtype(std::string_view text) const;
  std::vector<LinearForm> dims(std::string_view text) const;

 private:
  LinearForm form(std::string_view text) const;
  void add_term(std::string_view term, bool negative, LinearForm &form) const;

  std::string_view text_;
  const std::string *path_;
  int32_t number_;
  std::vector<std::string_view> words_;
};

}  // namespace ingot

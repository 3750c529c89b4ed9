#include "engines/plan_line.h"

#include <algorithm>
#include <charconv>
#include <cstdarg>

#include "error.h"
#include "ingot.h"
#include "ingot_op.h"
#include "ops/dtype.h"

namespace ingot {
namespace {

constexpr size_t longest_name = 512;
// Times the largest step that a plan may have (2^24; 2^44 pages, which are never multiplied) a form stays below 2^62.
constexpr int64_t largest_factor = int64_t{1} << 34;

}  // namespace

PlanLine::PlanLine(std::string_view text, const std::string &path, int32_t number)
    : text_(text), path_(&path), number_(number), words_(split(text, ' ')) {
  if (words_.empty()) refuse("an empty line");
  for (const std::string_view word : words_) {
    if (word.empty()) refuse("words are separated by one space");
  }
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) refuse("a control byte");
  }
}

void PlanLine::refuse(const char *format, ...) const {
  char sentence[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(sentence, sizeof sentence, format, arguments);
  va_end(arguments);
  fail(INGOT_FOLDER, "%s:%d: '%.200s': %s", path_->c_str(), number_, text().c_str(), sentence);
}

std::string_view PlanLine::word(size_t i) const {
  if (i >= words_.size()) refuse("the line is too short");
  return words_[i];
}

void PlanLine::expect(size_t words) const {
  if (words_.size() != words) refuse("the line should have %zu words, it has %zu", words, words_.size());
}

std::string PlanLine::name(size_t i) const {
  const std::string_view text = word(i);
  if (text.size() > longest_name) refuse("a name of more than %zu bytes", longest_name);
  if (text == "-" || text.find_first_of(",=\"'") != text.npos)
    refuse("a name holds no comma, '=' or quotes and is not '-'");
  return std::string(text);
}

std::string_view PlanLine::pair(size_t i, std::string_view key) const {
  const std::string_view text = word(i);
  if (text.size() <= key.size() || !text.starts_with(key) || text[key.size()] != '=') {
    refuse("word %zu should read %.*s=…", i + 1, static_cast<int>(key.size()), key.data());
  }
  return text.substr(key.size() + 1);
}

int64_t PlanLine::pair_integer(size_t i, std::string_view key, int64_t least, int64_t most) const {
  return integer(pair(i, key), least, most);
}

int64_t PlanLine::integer(std::string_view text, int64_t least, int64_t most) const {
  int64_t value = 0;
  const char *end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end || value < least || value > most) {
    refuse("'%.*s' should be a number from %lld to %lld", static_cast<int>(std::min<size_t>(text.size(), 40)),
           text.data(), static_cast<long long>(least), static_cast<long long>(most));
  }
  return value;
}

std::vector<int64_t> PlanLine::integers(std::string_view text) const {
  std::vector<int64_t> values;
  for (const std::string_view part : split(text, ',')) values.push_back(integer(part, INT64_MIN, INT64_MAX));
  return values;
}

int32_t PlanLine::dtype(std::string_view text) const {
  const int32_t dtype = dtype_from_name(text);
  if (dtype == 0) refuse("'%.*s' is no type", static_cast<int>(std::min<size_t>(text.size(), 40)), text.data());
  return dtype;
}

std::vector<LinearForm> PlanLine::dims(std::string_view text) const {
  std::vector<LinearForm> dims;
  if (text == "scalar") return dims;
  for (const std::string_view part : split(text, ',')) dims.push_back(form(part));
  if (dims.empty() || dims.size() > INGOT_MAX_RANK)
    refuse("a tensor has 1 to %d dimensions, or the word scalar", INGOT_MAX_RANK);
  return dims;
}

LinearForm PlanLine::form(std::string_view text) const {
  LinearForm form;
  bool negative = false;
  while (true) {
    const size_t end = text.find_first_of("+-");
    add_term(text.substr(0, end), negative, form);
    if (end == text.npos) break;
    negative = text[end] == '-';
    text.remove_prefix(end + 1);
  }
  return form;
}

// A number, a letter, or number*letter; only a number may be taken away, so that the largest step has the largest
// tensors.
void PlanLine::add_term(std::string_view term, bool negative, LinearForm &form) const {
  int64_t number = 1;
  const size_t star = term.find('*');
  const bool letter = !term.empty() && (term.back() < '0' || term.back() > '9');
  if (!letter || star != term.npos) number = integer(term.substr(0, star), 0, largest_factor);
  if (!letter) {
    if (star != term.npos)
      refuse("'%.*s' should be a number, a letter, or number*letter", static_cast<int>(term.size()), term.data());
    form.constant += negative ? -number : number;
    if (form.constant > largest_factor || form.constant < -largest_factor) refuse("a dimension is absurdly large");
    return;
  }
  const std::string_view name = star == term.npos ? term : term.substr(star + 1);
  StepSizes &factor = form.factor;
  int64_t *const places[] = {&factor.T, &factor.S, &factor.N, &factor.Q, &factor.M, &factor.P};
  const size_t place = name.size() == 1 ? std::string_view("TSNQMP").find(name[0]) : std::string_view::npos;
  if (place == std::string_view::npos || negative)
    refuse("dimensions are sums of numbers and of multiples of T, S, N, Q, M");
  *places[place] += number;
  if (*places[place] > (name[0] == 'P' ? 1 : largest_factor)) refuse("a dimension is absurdly large");
}

}  // namespace ingot

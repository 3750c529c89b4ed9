#include "engines/made_weight.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "ops/dtype.h"
#include "ops/numbers.h"
#include "random_number.h"

namespace ingot {
namespace {

constexpr int64_t largest_elements = int64_t{1} << 44;
constexpr size_t most_parts = 1 << 16;

bool is_source(int32_t dtype) { return dtype == INGOT_F32 || dtype == INGOT_F16 || dtype == INGOT_BF16; }

uint64_t counter(const PlanLine &line, std::string_view text) {
  uint64_t value = 0;
  const char *end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end) line.refuse("a seed and an offset are numbers below 2^64");
  return value;
}

float scale_of(const PlanLine &line, std::string_view text) {
  float value = 0;
  const char *end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end || !(value >= 0) || !std::isfinite(value))
    line.refuse("a scale is a number from 0, or the word ones");
  return value;
}

IngotRandomRows part_of(const PlanLine &line, std::string_view text) {
  const std::vector<std::string_view> words = split(text, ':');
  if (words.size() != 5) line.refuse("a random part is written SEED:OFFSET:ROWS:COLUMNS:SCALE");
  IngotRandomRows part{};
  part.seed = counter(line, words[0]);
  part.offset = counter(line, words[1]);
  part.rows = line.integer(words[2], 0, largest_elements);
  part.columns = line.integer(words[3], 1, largest_elements);
  part.ones = words[4] == "ones";
  if (!part.ones) part.scale = scale_of(line, words[4]);
  return part;
}

IngotRandomCodes codes_of(const PlanLine &line, std::string_view text) {
  const std::vector<std::string_view> words = split(text, ':');
  if (words.size() != 6) line.refuse("what is quantized is written PART:SOURCE:CODES:GROUP:SCALES:ZEROS");
  static constexpr std::string_view names[] = {"codes", "scales", "zero_points"};
  IngotRandomCodes how{};
  how.part = -1;
  for (int32_t i = 0; i < 3; ++i) {
    if (words[0] == names[i]) how.part = i;
  }
  how.source = line.dtype(words[1]);
  how.codes = line.dtype(words[2]);
  how.group = line.integer(words[3], 1, largest_elements);
  how.scale_dtype = line.dtype(words[4]);
  how.zero_points = static_cast<int32_t>(line.integer(words[5], 0, 1));
  if (how.part < 0 || (how.part == INGOT_ZERO_POINTS && !how.zero_points))
    line.refuse("the part is codes, scales, or zero_points where there are some");
  if (!is_source(how.source) || !is_source(how.scale_dtype)) line.refuse("numbers and scales are f32, f16 or bf16");
  const bool float8 = how.codes == INGOT_F8E4M3;
  if (!float8 && how.codes != INGOT_I8 && how.codes != INGOT_I4 && how.codes != INGOT_U4)
    line.refuse("codes are f8e4m3, i8, i4 or u4");
  if ((float8 && (how.zero_points || how.scale_dtype != INGOT_F32)) || (how.codes == INGOT_I4 && how.zero_points) ||
      (how.codes == INGOT_U4 && !how.zero_points)) {
    line.refuse("f8e4m3 has scales of f32 and no zero points, nor has i4; u4 has zero points");
  }
  return how;
}

bool in_halves(int32_t dtype) { return dtype == INGOT_I4 || dtype == INGOT_U4; }

// Elements that the part gives of what the line describes.
int64_t elements_of(const PlanLine &line, const IngotRandomRows &part, const MadeWeight &weight) {
  int64_t count = 0;
  if (__builtin_mul_overflow(part.rows, part.columns, &count) || count > largest_elements)
    line.refuse("a random part is absurdly large");
  if (!weight.quantized) return count;
  const IngotRandomCodes &how = weight.how;
  if (part.columns % how.group || (how.codes == INGOT_F8E4M3 && part.columns != how.group))
    line.refuse("groups divide the columns; with f8e4m3 they are rows");
  const int64_t groups = count / how.group;
  if (in_halves(how.codes) && (how.part == INGOT_ZERO_POINTS ? groups : how.part == INGOT_CODES ? how.group : 0) % 2)
    line.refuse("two numbers of 4 bits share a byte, and it must be of one part");
  return how.part == INGOT_CODES ? count : groups;
}

float number(const IngotRandomRows &rows, int64_t i) {
  return rows.ones ? 1.f : random_number(rows.seed, rows.offset + static_cast<uint64_t>(i), rows.scale);
}

// How the numbers of one group become codes: x is about (code - zero) * scale.
struct Formula {
  float scale, zero, least, greatest;
};

Formula formula_of(const IngotRandomCodes &how, float low, float high) {
  if (how.codes == INGOT_F8E4M3) return {std::max(std::max(-low, high) / 448.f, 1e-12f), 0, -448, 448};
  const float count = how.codes == INGOT_I8 ? 256 : 16;
  float least = how.codes == INGOT_U4 ? 0 : -count / 2;
  const float greatest = least + count - 1;
  if (!how.zero_points) ++least;  // the code without an opposite
  low = how.zero_points ? std::min(low, 0.f) : low;
  high = how.zero_points ? std::max(high, 0.f) : std::max(-low, high);
  const float exact = how.zero_points ? (high - low) / (greatest - least) : high / greatest;
  float scale = rounded(exact, how.scale_dtype);
  if (scale == 0) scale = 1;
  if (!how.zero_points) return {scale, 0, least, greatest};
  return {scale, std::clamp(std::nearbyint(least - low / scale), least, greatest), least, greatest};
}

void write_code(const IngotRandomCodes &how, const Formula &formula, void *to, int64_t i, float x) {
  if (how.codes == INGOT_F8E4M3) return write_float(to, INGOT_F8E4M3, i, x / formula.scale);
  const float code = std::clamp(std::nearbyint(x / formula.scale) + formula.zero, formula.least, formula.greatest);
  write_integer(to, how.codes, i, static_cast<int64_t>(code));
}

// One group, whose first number is the part's i-th and the weight's at-th.
void make_group(const IngotRandomRows &part, const IngotRandomCodes &how, int64_t i, int64_t at, void *to) {
  const auto x = [&](int64_t k) { return rounded(number(part, i + k), how.source); };
  float low = std::numeric_limits<float>::infinity(), high = -low;
  for (int64_t k = 0; k < how.group; ++k) {
    low = std::min(low, x(k));
    high = std::max(high, x(k));
  }
  const Formula formula = formula_of(how, low, high);
  if (how.part == INGOT_SCALES) {
    write_float(to, how.scale_dtype, at / how.group, formula.scale);
  } else if (how.part == INGOT_ZERO_POINTS) {
    write_integer(to, how.codes, at / how.group, static_cast<int64_t>(formula.zero));
  } else {
    for (int64_t k = 0; k < how.group; ++k) write_code(how, formula, to, at + k, x(k));
  }
}

}  // namespace

MadeWeight read_made_weight(const PlanLine &line, int32_t dtype, std::span<const LinearForm> dims) {
  MadeWeight weight;
  if (line.count() == 4) return weight;
  weight.quantized = line.count() > 5;
  line.expect(weight.quantized ? 6 : 5);
  if (weight.quantized) weight.how = codes_of(line, line.pair(5, "made"));
  const IngotRandomCodes &how = weight.how;
  const int32_t wanted = how.part == INGOT_SCALES ? how.scale_dtype : how.codes;
  if (weight.quantized ? dtype != wanted : !is_source(dtype)) line.refuse("%s cannot be made so", dtype_name(dtype));
  int64_t elements = 1, found = 0;
  for (const LinearForm &dim : dims) {
    if (dim.constant < 0 || __builtin_mul_overflow(elements, dim.constant, &elements) || elements > largest_elements)
      line.refuse("the weight is absurdly large");
  }
  for (const std::string_view part : split(line.pair(4, "random"), ',')) {
    if (weight.parts.size() == most_parts) line.refuse("more than %zu parts", most_parts);
    weight.parts.push_back(part_of(line, part));
    found += elements_of(line, weight.parts.back(), weight);
    if (found > largest_elements) line.refuse("its parts are absurdly large");
  }
  if (found != elements) {
    line.refuse("its parts give %lld elements, its dimensions are of %lld", static_cast<long long>(found),
                static_cast<long long>(elements));
  }
  return weight;
}

void make_weight(const MadeWeight &weight, int32_t dtype, void *to) {
  int64_t at = 0;
  for (const IngotRandomRows &part : weight.parts) {
    const int64_t count = part.rows * part.columns;
    if (weight.quantized) {
      for (int64_t i = 0; i < count; i += weight.how.group) make_group(part, weight.how, i, at + i, to);
    } else {
      for (int64_t i = 0; i < count; ++i) write_float(to, dtype, at + i, number(part, i));
    }
    at += count;
  }
}

}  // namespace ingot

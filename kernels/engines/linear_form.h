// Sizes that change with a step, and the sums of their multiples that dimensions are.
#pragma once
#include <cstdint>
#include <string>

namespace ingot {

// What a step binds.
struct StepSizes {
  int64_t T = 0, S = 0, N = 0, Q = 0, M = 0, P = 0;
  bool operator==(const StepSizes &) const = default;
};

struct LinearForm {
  int64_t constant = 0;
  StepSizes factor;

  int64_t evaluate(const StepSizes &sizes) const {
    return constant + factor.T * sizes.T + factor.S * sizes.S + factor.N * sizes.N + factor.Q * sizes.Q +
           factor.M * sizes.M + factor.P * sizes.P;
  }
  std::string text() const;  // "2*T+3*S+1"
  bool constant_only() const { return factor == StepSizes{}; }
  bool operator==(const LinearForm &) const = default;
};

}  // namespace ingot

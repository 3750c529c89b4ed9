// Scheduling policies by name: when a waiting sequence may run.
#pragma once
#include <cstdint>

namespace ingot {

enum class Policy : int32_t {
  max_utilization,      // as long as pages last for one token more of everybody; who finds none then waits and is
                        // computed again
  guaranteed_no_evict,  // only if everybody who runs can reach its last token without anybody's pages
};

inline constexpr const char *policy_names[] = {"max_utilization", "guaranteed_no_evict"};
inline constexpr int32_t most_lag = 2;  // steps that are scheduled before the one ahead of them is committed

}  // namespace ingot

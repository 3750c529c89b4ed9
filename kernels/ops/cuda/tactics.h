// Which way of computing a product was the quickest, for each shape and number of tokens, and the file that remembers
// it.
#pragma once
#include <compare>
#include <cstdint>
#include <map>
#include <string>

namespace ingot {

// T is a bucket: tactics are timed for these numbers of tokens and serve every smaller one down to the next.
struct TacticKey {
  int32_t F, D, weight_dtype, x_dtype, y_dtype, bias_dtype, x_scale_dtype, scale_dtype, scale_step, N, T;
  auto operator<=>(const TacticKey &) const = default;
};

// The least power of two that is not less than T, at most 8192.
int32_t tactic_bucket(int32_t T);

// A tactic is the stream, or the tiles, or from first_cublaslt on an algorithm of cuBLASLt, from first_staged on one of
// those beside own kernels. Numbers hold for one `machine`.
class Tactics {
 public:
  static constexpr int32_t stream = 0, tile = 50, first_cublaslt = 100, first_staged = 200, none = -1;

  // machine: one line naming GPU, driver and library.
  explicit Tactics(std::string machine) : machine_(std::move(machine)) {}

  int32_t find(const TacticKey &key) const;  // none: not known
  void set(const TacticKey &key, int32_t tactic, double microseconds);

  // Adds what a file of write() says; one that is not there, of another machine or damaged adds nothing.
  void read(const std::string &path);
  // What is known, beside what the file says already; false: it cannot be written. Folders are made.
  bool write(const std::string &path);

  // $XDG_CACHE_HOME/ingot/tactics-….txt, or below ~/.cache; "" if there is no home.
  std::string user_path() const;

 private:
  struct Entry {
    int32_t tactic;
    double microseconds;
  };
  std::string machine_;
  std::map<TacticKey, Entry> entries_;
};

}  // namespace ingot

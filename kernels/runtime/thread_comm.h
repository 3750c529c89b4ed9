// Collectives between ranks that are threads of one process: through shared memory, one IngotComm for each rank.
//
// Sums are made in the order of ranks: results are equal, bit for bit, on every rank and in every run. A small message
// is copied to where all can read it, so that the ranks meet once: nobody writes there again before all have met once
// more, and then have read it. Of a large one every element is reduced by one rank, which stores it for all.
#pragma once
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "ingot_comm.h"
#include "runtime/barrier.h"

namespace ingot {

class ThreadComm {
 public:
  explicit ThreadComm(int32_t ranks);
  ThreadComm(const ThreadComm &) = delete;
  ThreadComm &operator=(const ThreadComm &) = delete;

  int32_t ranks() const { return static_cast<int32_t>(members_.size()); }
  // For the thread that is this rank.
  IngotComm *of(int32_t rank) { return &members_[static_cast<size_t>(rank)].comm; }

  // A rank cannot go on: whoever waits for it is let go, and every call fails with the first sentence that came here.
  void fail(const std::string &sentence);
  // "" while nothing has failed.
  std::string failure();

 private:
  enum class Kind : int32_t { all_reduce, all_gather, broadcast, barrier };
  // What a rank calls; compared before anything is touched.
  struct Call {
    Kind kind;
    int32_t dtype, option;  // option: the reduction, or the root
    size_t count;
    const void *in;
    void *out;
  };
  struct alignas(64) Member {
    IngotComm comm{};
    ThreadComm *group = nullptr;
    size_t turn = 0;  // 0, 1, 0, …: which of the two below is the call at hand
    Call calls[2] = {};
    std::vector<std::max_align_t> copies[2];  // of what small messages bring
    std::vector<const void *> in;             // of every rank, while a reduction runs
    std::vector<void *> out;
    std::string error;  // the last sentence that this rank was told
  };

  static Member &member(IngotComm *comm) { return *static_cast<Member *>(comm->self); }
  static int all_reduce(IngotComm *, const void *, void *, size_t, int32_t, int32_t, void *);
  static int all_gather(IngotComm *, const void *, void *, size_t, int32_t, void *);
  static int broadcast(IngotComm *, void *, size_t, int32_t, int32_t, void *);
  static int barrier(IngotComm *, void *);
  static const char *last_error(IngotComm *);

  int run(Member &own, const Call &call);
  void carry_out(Member &own, const Call &call, size_t bytes, bool small);
  std::string disagreement(size_t turn) const;
  int refuse(Member &own, const std::string &sentence);

  std::vector<Member> members_;
  Barrier barrier_;
  std::mutex mutex_;
  std::string failure_;
};

}  // namespace ingot

// The thread that runs an engine: requests and cancels come in from any thread through a locked inbox and take effect
// before the next step; events go out through a queue that one thread at a time polls.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "runtime/leader.h"

namespace ingot {

class Executor {
 public:
  // `ranks` are bound and from now on belong to the thread.
  Executor(Ranks &ranks, const TokenBytes &tokens, const LeaderOptions &options);
  // Cancels everything and waits for the steps in flight.
  ~Executor();
  Executor(const Executor &) = delete;
  Executor &operator=(const Executor &) = delete;

  // Throws Error(INGOT_INVALID) for a bad request, Error(INGOT_FAILED) after the engine failed.
  uint64_t submit(const IngotRequest &given);
  void cancel(uint64_t id);
  // Waits until there is an event or `timeout` seconds have passed; how many of `capacity` were filled.
  int32_t poll(IngotEvent *events, int32_t capacity, double timeout);

  RequestLimits limits() const { return limits_; }
  // As of the last step, with what waits in the inbox.
  Statistics statistics();

 private:
  using Message = std::variant<Request, uint64_t>;  // a request, or the id of one to cancel

  void loop();
  bool receive();
  void collapse(const std::string &failure);
  void publish();
  void close();

  Leader leader_;  // the thread's alone
  const RequestLimits limits_;
  BadWordsShelf bad_words_;

  std::mutex inbox_mutex_;
  std::condition_variable inbox_changed_;
  std::vector<Message> inbox_;
  size_t inbox_requests_ = 0;
  uint64_t next_id_ = 1;
  bool stopping_ = false;
  std::string failure_;  // the engine's sentence, once it failed

  std::mutex events_mutex_;  // taken after inbox_mutex_ where both are
  std::condition_variable events_changed_;
  std::deque<Event> events_;
  Statistics statistics_;

  std::vector<Event> polled_;  // the polling thread's
  std::thread thread_;
};

}  // namespace ingot

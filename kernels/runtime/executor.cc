#include "runtime/executor.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <new>

#include "error.h"

namespace ingot {
namespace {

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

constexpr double longest_wait = 3600;  // seconds; poll again after

}  // namespace

Executor::Executor(Ranks &ranks, const TokenBytes &tokens, const LeaderOptions &options)
    : leader_(ranks, tokens, options, seconds),
      limits_(leader_.limits()),
      statistics_(leader_.statistics()),
      thread_([this] { loop(); }) {}

Executor::~Executor() {
  {
    const std::lock_guard lock(inbox_mutex_);
    stopping_ = true;
  }
  inbox_changed_.notify_one();
  thread_.join();
}

uint64_t Executor::submit(const IngotRequest &given) {
  Request request = read_request(given, limits_, bad_words_);
  request.submitted_s = seconds();
  uint64_t id;
  {
    const std::lock_guard lock(inbox_mutex_);
    if (!failure_.empty())
      fail(INGOT_FAILED, "the engine failed before and takes no requests; close it and open it again. It said: %s",
           failure_.c_str());
    id = request.id = next_id_++;
    inbox_.emplace_back(std::move(request));
    ++inbox_requests_;
  }
  inbox_changed_.notify_one();
  return id;
}

void Executor::cancel(uint64_t id) {
  {
    const std::lock_guard lock(inbox_mutex_);
    inbox_.emplace_back(id);
  }
  inbox_changed_.notify_one();
}

int32_t Executor::poll(IngotEvent *events, int32_t capacity, double timeout) {
  if (capacity < 0 || (capacity > 0 && !events))
    fail(INGOT_INVALID, "poll: events is %s and capacity is %d", events ? "given" : "NULL", capacity);
  if (std::isnan(timeout)) fail(INGOT_INVALID, "poll: timeout is not a number; give seconds, 0 to return at once");
  polled_.clear();
  if (capacity == 0) return 0;
  const std::chrono::duration<double> wait(std::clamp(timeout, 0.0, longest_wait));
  std::unique_lock lock(events_mutex_);
  events_changed_.wait_for(lock, wait, [this] { return !events_.empty(); });
  const size_t count = std::min(events_.size(), static_cast<size_t>(capacity));
  for (size_t i = 0; i < count; ++i) {
    polled_.push_back(std::move(events_.front()));
    events_.pop_front();
  }
  for (size_t i = 0; i < count; ++i) events[i] = polled_[i].get();
  return static_cast<int32_t>(count);
}

Statistics Executor::statistics() {
  const std::lock_guard inbox_lock(inbox_mutex_);
  const std::lock_guard events_lock(events_mutex_);
  Statistics now = statistics_;
  now.waiting += inbox_requests_;
  return now;
}

void Executor::loop() {
  bool running = true;
  while (running) {
    try {
      running = receive();
      if (running) leader_.step();
    } catch (const std::bad_alloc &) {
      collapse("memory ran out in a step; open the engine with fewer cache_bytes or max_sequences");
    } catch (const std::exception &error) {
      collapse(*error.what() ? error.what() : "the engine failed and said nothing");
    }
    publish();
  }
  close();
}

// Cancels everything; what was launched has run when it returns.
void Executor::close() {
  leader_.cancel_all();
  try {
    while (leader_.has_work()) leader_.step();
  } catch (const std::exception &) {  // nobody is left who would hear of it
    leader_.fail_all("");
  }
  publish();
}

// Waits for work and hands the inbox to the leader; false when the executor ends.
bool Executor::receive() {
  std::vector<Message> messages;
  std::unique_lock lock(inbox_mutex_);
  inbox_changed_.wait(lock, [this] { return stopping_ || !inbox_.empty() || leader_.has_work(); });
  if (stopping_) return false;
  messages.swap(inbox_);
  for (Message &message : messages) {
    if (auto *request = std::get_if<Request>(&message))
      leader_.add(std::move(*request));
    else
      leader_.cancel(std::get<uint64_t>(message));
  }
  if (inbox_requests_) {  // in one go, so that a request is always counted somewhere
    const std::lock_guard events_lock(events_mutex_);
    statistics_ = leader_.statistics();
    inbox_requests_ = 0;
  }
  return true;
}

// The engine failed: everybody hears why, and nobody else is let in.
void Executor::collapse(const std::string &failure) {
  {
    const std::lock_guard lock(inbox_mutex_);
    failure_ = failure;
    for (Message &message : inbox_) {
      if (auto *request = std::get_if<Request>(&message)) leader_.add(std::move(*request));
    }
    inbox_.clear();
    inbox_requests_ = 0;
  }
  leader_.fail_all(failure);
}

// Events and the statistics after them become visible together.
void Executor::publish() {
  std::vector<Event> made = leader_.take_events();
  {
    const std::lock_guard lock(events_mutex_);
    for (Event &event : made) events_.push_back(std::move(event));
    statistics_ = leader_.statistics();
  }
  if (!made.empty()) events_changed_.notify_one();
}

}  // namespace ingot

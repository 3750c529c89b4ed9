#include "runtime/leader.h"

#include <algorithm>
#include <utility>

#include "error.h"

namespace ingot {
namespace {

std::vector<PageGroup> groups_of(const Rank &rank) {
  std::vector<PageGroup> groups;
  for (int32_t g = 0; g < rank.spec().n_groups; ++g) {
    const IngotCacheGroup &group = rank.spec().groups[g];
    groups.push_back({rank.cache().pages()[static_cast<size_t>(g)], group.page_tokens, group.window});
  }
  return groups;
}

SchedulerLimits limits_of(const Rank &rank, const LeaderOptions &options) {
  return {options.token_budget, options.max_sequences, rank.spec().max_rows};
}

bool contains(const std::vector<int32_t> &ids, int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

Leader::Leader(Rank &rank, const TokenBytes &tokens, const LeaderOptions &options, std::function<double()> clock)
    : rank_(rank),
      tokens_(tokens),
      options_(options),
      clock_(std::move(clock)),
      end_ids_(options.end_ids.begin(), options.end_ids.end()),
      blocks_(groups_of(rank), options.reuse),
      scheduler_(limits_of(rank, options), blocks_) {}

RequestLimits Leader::limits() const {
  return {rank_.spec().vocab, rank_.spec().max_length, blocks_.capacity(), tokens_.size() > 0};
}

void Leader::add(Request request) {
  auto job = std::make_unique<Job>();
  Sequence &sequence = job->sequence;
  sequence.id = request.id;
  sequence.priority = request.priority;
  sequence.prompt = static_cast<int32_t>(request.prompt.size());
  sequence.tokens = std::move(request.prompt);
  sequence.generates = request.max_tokens > 0;
  sequence.wants_prompt_rows = request.logits != nullptr;
  sequence.sampling = {request.seed, 0, request.top_k, request.temperature, request.top_p, request.logprobs, 0};
  job->text = TextStream(std::move(request.stops));
  job->request = std::move(request);
  scheduler_.add(sequence);
  ++statistics_.requests;
  jobs_.emplace(sequence.id, std::move(job));
}

void Leader::cancel(uint64_t id) {
  if (const auto found = jobs_.find(id); found != jobs_.end()) finish(*found->second, INGOT_CANCELLED);
}

void Leader::cancel_all() {
  while (!jobs_.empty()) finish(*jobs_.begin()->second, INGOT_CANCELLED);
}

void Leader::fail_all(const std::string &sentence) {
  while (!jobs_.empty()) finish(*jobs_.begin()->second, INGOT_ERROR, sentence);
}

bool Leader::step() {
  const double began = clock_();
  const ScheduledStep *step = scheduler_.schedule();
  if (!step) return false;
  for (const ScheduledSequence &entry : step->sequences) {
    Job &started = job(*entry.sequence);
    if (started.first_step_s < 0) started.first_step_s = began;
  }
  read_rows(*step, rank_.run(step->message));
  scheduler_.commit(*step, next_tokens_);
  for (size_t i = 0; i < step->sequences.size(); ++i)
    settle(job(*step->sequences[i].sequence), step->sequences[i], answers_[i]);
  return true;
}

// The next tokens, and the logits that requests asked for.
void Leader::read_rows(const ScheduledStep &step, std::span<const float> logits_NV) {
  const auto vocab = static_cast<size_t>(rank_.spec().vocab);
  answers_.assign(step.sequences.size(), {});
  next_tokens_.assign(step.sequences.size(), 0);
  for (size_t i = 0; i < step.sequences.size(); ++i) {
    const ScheduledSequence &entry = step.sequences[i];
    const Sequence &sequence = *entry.sequence;
    if (entry.prompt_rows) copy_prompt_rows(job(sequence), entry, logits_NV);
    if (!entry.samples) continue;
    const auto row = static_cast<size_t>(entry.first_row + entry.rows - 1);
    try {
      answers_[i].sampled = sampler_.sample(logits_NV.subspan(row * vocab, vocab),
                                            rank_.slots().sampling(sequence.slot), sequence.scheduled());
      next_tokens_[i] = answers_[i].sampled.token;
    } catch (const Error &error) {
      answers_[i].failure = error.what();
    }
    rank_.slots().set_last_token(sequence.slot, next_tokens_[i]);
  }
}

void Leader::copy_prompt_rows(const Job &job, const ScheduledSequence &entry, std::span<const float> logits_NV) const {
  const auto vocab = static_cast<size_t>(rank_.spec().vocab);
  const std::span<const float> rows =
      logits_NV.subspan(static_cast<size_t>(entry.first_row) * vocab, static_cast<size_t>(entry.rows) * vocab);
  std::copy(rows.begin(), rows.end(), job.request.logits + static_cast<size_t>(job.sequence.prompt_rows) * vocab);
}

void Leader::settle(Job &job, const ScheduledSequence &entry, Answer &answer) {
  if (!entry.samples) {
    if (!job.sequence.generates && job.sequence.committed == job.sequence.prompt) finish(job, INGOT_LENGTH);
    return;
  }
  if (!answer.failure.empty()) return finish(job, INGOT_ERROR, answer.failure);
  if (job.first_token_s < 0) job.first_token_s = clock_();
  const int32_t token = answer.sampled.token;
  const bool ended = ends(job, token);
  Event event;
  event.fields.kind = INGOT_TOKEN;
  event.fields.request = job.sequence.id;
  event.fields.token = token;
  event.fields.logprob = answer.sampled.logprob;
  for (const Ranked &best : answer.sampled.top) {
    event.top_ids.push_back(best.id);
    event.top_logprobs.push_back(best.value);
  }
  if (!ended) event.text = text_of(job, token);
  events_.push_back(std::move(event));
  if (ended || job.text.stopped()) return finish(job, INGOT_STOP);
  const bool full = static_cast<int32_t>(job.sequence.tokens.size()) >= limits().length();
  if (full || job.generated() >= job.request.max_tokens) finish(job, INGOT_LENGTH);
}

bool Leader::ends(const Job &job, int32_t token) const {
  if (job.generated() < job.request.min_tokens) return false;
  return (!job.request.ignore_eos && end_ids_.contains(token)) || contains(job.request.stop_ids, token);
}

std::string Leader::text_of(Job &job, int32_t token) const {
  if (tokens_.special(token)) return "";
  return job.text.add(tokens_.bytes(token), job.generated() >= job.request.min_tokens);
}

void Leader::finish(Job &job, IngotFinish reason, const std::string &sentence) {
  const double now = clock_(), submitted = job.request.submitted_s;
  Event event;
  IngotEvent &fields = event.fields;
  fields.kind = INGOT_FINISH;
  fields.request = job.sequence.id;
  fields.finish = reason;
  fields.prompt_tokens = job.sequence.prompt;
  fields.cached_tokens = std::max(0, job.sequence.matched);
  fields.generated_tokens = job.generated();
  fields.queued_s = (job.first_step_s < 0 ? now : job.first_step_s) - submitted;
  fields.first_token_s = job.first_token_s < 0 ? 0 : job.first_token_s - submitted;
  fields.total_s = now - submitted;
  event.text = reason == INGOT_ERROR ? sentence : job.text.finish();
  events_.push_back(std::move(event));
  ++statistics_.finished[reason];
  scheduler_.remove(job.sequence);
  const uint64_t id = job.sequence.id;
  jobs_.erase(id);
}

std::vector<Event> Leader::take_events() { return std::exchange(events_, {}); }

Statistics Leader::statistics() const {
  Statistics now = statistics_;
  now.counts = scheduler_.counts();
  now.running = scheduler_.running();
  now.waiting = scheduler_.waiting();
  now.free_pages = blocks_.free_pages();
  return now;
}

}  // namespace ingot

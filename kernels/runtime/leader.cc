#include "runtime/leader.h"

#include <algorithm>
#include <utility>

namespace ingot {
namespace {

std::vector<PageGroup> groups_of(const Ranks &ranks) {
  std::vector<PageGroup> groups;
  for (int32_t g = 0; g < ranks.spec().n_groups; ++g) {
    const IngotCacheGroup &group = ranks.spec().groups[g];
    groups.push_back({ranks.cache().pages()[static_cast<size_t>(g)], group.page_tokens, group.window});
  }
  return groups;
}

SchedulerLimits limits_of(const Ranks &ranks, const LeaderOptions &options) {
  return {options.token_budget, options.max_sequences, ranks.spec().max_rows, options.policy, options.lag};
}

}  // namespace

Leader::Leader(Ranks &ranks, const TokenBytes &tokens, const LeaderOptions &options, std::function<double()> clock)
    : ranks_(ranks),
      vocabulary_{tokens, {options.end_ids.begin(), options.end_ids.end()}},
      options_(options),
      clock_(std::move(clock)),
      blocks_(groups_of(ranks), options.reuse),
      scheduler_(limits_of(ranks, options), blocks_),
      longest_(std::min(ranks.spec().max_length, blocks_.capacity())) {}

RequestLimits Leader::limits() const {
  const IngotEngineSpec &spec = ranks_.spec();
  RequestLimits limits{spec.vocab, spec.max_length, blocks_.capacity(), vocabulary_.bytes.size() > 0};
  limits.hidden = ranks_.hidden_width();
  limits.embedding = ranks_.embedding_width();
  limits.end_tokens = vocabulary_.end_ids.size();
  limits.max_sequences = std::min({options_.max_sequences, options_.token_budget, spec.max_rows});
  limits.policy = options_.policy;
  limits.lag = options_.lag;
  limits.groups = blocks_.groups();
  return limits;
}

void Leader::add(Request request) {
  const uint64_t id = request.id;
  auto job = std::make_unique<Job>(std::move(request), vocabulary_, longest_);
  for (const auto &choice : job->choices) {
    choice->sequence.speculates = options_.draft && !job->beams && job->request.embeddings.empty();
    choice->sequence.needs_leader = needs_leader(*job, *choice);
  }
  scheduler_.add(job->choices[0]->sequence);
  ++statistics_.requests;
  jobs_.emplace(id, std::move(job));
}

// Whether the choice's tokens need logits on the host, or settings that the rank does not know.
bool Leader::needs_leader(const Job &job, const Choice &choice) const {
  const Request &request = job.request;
  return !ranks_.samples() || choice.processor || choice.sequence.speculates || request.sequences() > 1 ||
         request.logprobs > 0 || request.wants_prompt_rows() || !ranks_.can_sample(choice.sequence.sampling);
}

void Leader::cancel(uint64_t id) {
  if (const auto found = jobs_.find(id); found != jobs_.end()) end_all(*found->second, INGOT_CANCELLED);
}

void Leader::cancel_all() {
  while (!jobs_.empty()) end_all(*jobs_.begin()->second, INGOT_CANCELLED);
}

void Leader::fail_all(const std::string &sentence) {
  while (!jobs_.empty()) end_all(*jobs_.begin()->second, INGOT_ERROR, sentence);
  launched_ = 0;
}

bool Leader::step() {
  schedule_ahead();
  if (scheduler_.in_flight() == 0) return false;
  read_results(scheduler_.flight(0), finish());
  scheduler_.commit(tokens_);
  if (ranks_.samples()) launch_ready();  // now that the leader's tokens stand in their slots
  start_forks();
  std::span<const Sampled> rest(sampled_);
  for (size_t i = 0; i < answers_.size(); ++i) {
    const auto count = static_cast<size_t>(tokens_.counts[i]);
    if (answers_[i].id) settle(answers_[i], rest.first(count));
    rest = rest.subspan(count);
  }
  for (const Fork &fork : forks_) {
    if (const auto found = jobs_.find(fork.id); found != jobs_.end())
      take(*found->second, *found->second->choices[static_cast<size_t>(fork.index)], fork.sampled);
  }
  return true;
}

void Leader::schedule_ahead() {
  while (scheduler_.in_flight() <= static_cast<size_t>(options_.lag)) {
    if (options_.draft) guess();
    const double now = clock_();
    const ScheduledStep *scheduled = scheduler_.schedule();
    if (!scheduled) break;
    note_start(*scheduled, now);
    launch_ready();
  }
  launch_ready();
}

void Leader::launch_ready() {
  while (launched_ < scheduler_.in_flight() && (launched_ == 0 || !last_waits_)) {
    const ScheduledStep &next = scheduler_.flight(launched_);
    ranks_.launch(next.message);
    ++launched_;
    last_waits_ = next.for_leader || !ranks_.samples();
  }
}

StepResults Leader::finish() {
  const StepResults results = ranks_.finish();
  --launched_;
  return results;
}

// Drafts for the sequences whose tokens are all known.
void Leader::guess() {
  for (Sequence *sequence : scheduler_.running_sequences()) {
    const bool decodes = static_cast<int32_t>(sequence->tokens.size()) > sequence->prompt && sequence->forks == 0;
    if (sequence->speculates && decodes && sequence->in_flight == 0) options_.draft(sequence->tokens, sequence->drafts);
  }
}

void Leader::note_start(const ScheduledStep &step, double now) {
  for (const ScheduledSequence &entry : step.sequences) {
    Job &started = job(*entry.sequence);
    if (started.first_step_s < 0) started.first_step_s = now;
  }
}

// The prompts of the step are committed: the sequences that begin there share their pages.
void Leader::start_forks() {
  for (const Fork &fork : forks_) {
    Job &job = *jobs_.at(fork.id);
    Sequence &parent = job.choices[0]->sequence, &child = job.choices[static_cast<size_t>(fork.index)]->sequence;
    child.tokens = job.request.prompt;
    child.tokens.push_back(fork.sampled.token);
    scheduler_.fork(parent, child);
    --parent.forks;
  }
}

void Leader::settle(const Answer &answer, std::span<const Sampled> sampled) {
  const auto found = jobs_.find(answer.id);
  if (found == jobs_.end()) return;  // it ended by another of its sequences
  Job &job = *found->second;
  if (!answer.failure.empty()) return end_all(job, INGOT_ERROR, answer.failure);
  Choice &choice = *job.choices[static_cast<size_t>(answer.index)];
  const Sequence &sequence = choice.sequence;
  if (!sequence.generates) {
    if (sequence.committed == sequence.prompt) end_all(job, INGOT_LENGTH);
    return;
  }
  if (!answer.samples) return;
  if (job.first_token_s < 0) job.first_token_s = clock_();
  if (job.beams) return advance_beams(job);
  for (const Sampled &token : sampled) {
    take(job, choice, token);
    if (!jobs_.contains(answer.id) || choice.finish != INGOT_RUNNING) return;
  }
}

void Leader::take(Job &job, Choice &choice, const Sampled &sampled) {
  job.take(choice, sampled, vocabulary_, events_);
  if (choice.finish != INGOT_RUNNING) end_choice(job, choice, choice.finish);
}

void Leader::advance_beams(Job &job) {
  if (!job.beams->ready()) return;
  const std::vector<BeamSearch::Step> steps = job.beams->advance();
  if (!steps.empty()) return move_beams(job, steps);
  if (job.beams->results().size() < static_cast<size_t>(job.request.n)) {
    return end_all(job, INGOT_ERROR,
                   "the beam search found " + std::to_string(job.beams->results().size()) +
                       " texts, fewer than n; what it may not generate leaves too few tokens");
  }
  job.deliver_beams(vocabulary_, longest_, clock_(), events_);
  for (const auto &choice : job.choices) scheduler_.remove(choice->sequence);
  close(job, job.beams->results()[0].ended ? INGOT_STOP : INGOT_LENGTH);
}

// Each beam goes on from its parent: the first child of a parent in its place, others in places that are free now,
// sharing the parent's pages.
void Leader::move_beams(Job &job, const std::vector<BeamSearch::Step> &steps) {
  std::vector<int32_t> places(steps.size(), -1);
  std::vector<bool> taken(job.choices.size(), false);
  const auto sequence = [&](int32_t place) -> Sequence & { return job.choices[static_cast<size_t>(place)]->sequence; };
  const auto parent = [&](size_t beam) { return job.places[static_cast<size_t>(steps[beam].parent)]; };
  for (size_t beam = 0; beam < steps.size(); ++beam) {
    if (taken[static_cast<size_t>(parent(beam))]) continue;
    places[beam] = parent(beam);
    taken[static_cast<size_t>(parent(beam))] = true;
  }
  for (size_t place = 0; place < taken.size(); ++place) {
    if (!taken[place]) scheduler_.remove(sequence(static_cast<int32_t>(place)));
  }
  sequence(0).forks = 0;
  for (size_t beam = 0; beam < steps.size(); ++beam) {
    if (places[beam] >= 0) continue;
    const auto free = std::find(taken.begin(), taken.end(), false);
    *free = true;
    places[beam] = static_cast<int32_t>(free - taken.begin());
    Sequence &child = sequence(places[beam]);
    child.tokens = sequence(parent(beam)).tokens;
    child.tokens.push_back(steps[beam].token);
    scheduler_.fork(sequence(parent(beam)), child);
  }
  for (size_t beam = 0; beam < steps.size(); ++beam) {
    if (places[beam] == parent(beam)) scheduler_.extend(sequence(places[beam]), steps[beam].token);
  }
  job.places = std::move(places);
}

void Leader::end_choice(Job &job, Choice &choice, IngotFinish reason) {
  job.end(choice, reason, "", clock_(), events_);
  scheduler_.remove(choice.sequence);
  if (!job.ended()) return;
  job.deliver(events_);
  close(job, reason);
}

void Leader::end_all(Job &job, IngotFinish reason, const std::string &sentence) {
  const double now = clock_();
  for (const auto &choice : job.choices) {
    scheduler_.remove(choice->sequence);
    const bool told = !job.beams || choice->sequence.index < job.request.n;
    if (choice->finish == INGOT_RUNNING && told) job.end(*choice, reason, sentence, now, events_);
  }
  job.deliver(events_);
  close(job, reason);
}

void Leader::close(Job &job, IngotFinish reason) {
  ++statistics_.finished[reason];
  const uint64_t id = job.request.id;
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

// The C API over an engine folder of the fake engine, from open to close.
#undef NDEBUG
#include <cassert>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "engines/fake.h"
#include "files/json.h"
#include "ingot.h"
#include "small_folder.h"

using namespace ingot;

namespace {

const char *plan =
    "ingot-plan 1\n"
    "max T=16 S=4 N=4 Q=16 M=8 L=32\n"
    "vocab 50\n"
    "group full kind=paged page=4 window=0 sharded=1\n"
    "group window5 kind=window page=4 window=5 sharded=1\n"
    "state k0 group=full dtype=i32 dims=P,4\n"
    "state k1 group=window5 dtype=i32 dims=P,4\n"
    "function step\n"
    "field ids_T i32 T\nfield positions_T i32 T\nfield sequences_T i32 T\nfield rows_N i32 N\n"
    "field pages0_SM i32 S,M\nfield cells0_T i32 T\nfield pages1_SM i32 S,M\nfield cells1_T i32 T\n"
    "end\n";

void write_folder(const SmallFolder &folder, const std::string &ranks = "1") {
  const std::string text = plan;
  const auto group = [](const char *name, const char *kind, int window, const char *tensor) {
    return std::string("{\"name\":\"") + name + "\",\"kind\":\"" + kind +
           "\",\"page_tokens\":4,\"window\":" + std::to_string(window) + ",\"sharded\":true,\"tensors\":[\"" + tensor +
           "\"],\"bytes_per_page\":16}";
  };
  folder.write("rank0/plan.txt", text);
  folder.write("engine.json",
               seal("\"format\":\"ingot-engine\",\"format_version\":1,\"ingot\":\"0.1.0\",\"engine\":{\"name\":"
                    "\"fake\",\"library\":null},"
                    "\"ranks\":" +
                    ranks +
                    ",\"model\":{\"vocab\":50,\"dtype\":\"float32\"},\"end_ids\":[],"
                    "\"limits\":{\"max_tokens\":16,\"max_sequences\":4,\"max_length\":32},\"cache_groups\":[" +
                    group("full", "paged", 0, "k0") + "," + group("window5", "window", 5, "k1") +
                    "],\"files\":{\"rank0/plan.txt\":{\"bytes\":" + std::to_string(text.size()) + ",\"sha256\":\"" +
                    sha256_hex(text) + "\"}}}\n"));
}

Json facts_of(char *text) {
  assert(text);
  const Json json = Json::parse(text);
  ingot_free(text);
  return json;
}

IngotOptions options_of(int64_t cache_bytes = 0) {
  IngotOptions options{};
  options.size = sizeof options;
  options.cache_bytes = cache_bytes;
  return options;
}

std::vector<int32_t> generate(IngotEngine *engine, const std::vector<int32_t> &prompt, int32_t max_tokens) {
  IngotRequest request{};
  request.size = sizeof request;
  request.ids = prompt.data();
  request.n_ids = static_cast<int32_t>(prompt.size());
  request.max_tokens = max_tokens;
  request.top_p = 1;
  request.logprobs = -1;
  uint64_t id = 0;
  assert(ingot_submit(engine, &request, &id) == INGOT_OK && id != 0);
  std::vector<int32_t> tokens;
  for (;;) {
    IngotEvent event;
    assert(ingot_poll(engine, &event, 1, 10) == 1 && event.request == id);
    if (event.kind == INGOT_FINISH) break;
    tokens.push_back(event.token);
  }
  return tokens;
}

// A request comes back with the tokens of the fake engine's rule; describe and statistics say what is.
void test_open_generate_close() {
  const SmallFolder folder;
  write_folder(folder);
  IngotEngine *engine = nullptr;
  assert(ingot_open(folder.path.c_str(), nullptr, &engine) == INGOT_OK);
  const std::vector<int32_t> windows{0, 5};
  std::vector<int32_t> tokens{3, 1, 4, 1, 5};
  const std::vector<int32_t> generated = generate(engine, tokens, 20);
  assert(generated.size() == 20);
  for (const int32_t token : generated) {
    assert(token == fake_next_token(tokens, windows, 50));
    tokens.push_back(token);
  }
  const Json facts = facts_of(ingot_describe(engine));
  assert(facts.at("vocab").as_int() == 50 && facts.at("cache_groups").as_array()[0].at("pages").as_int() == 4 * 8 + 1);
  assert(facts.at("memory").at("cache").as_int() > 0 && facts.at("directory").as_string() == folder.path);
  const Json statistics = facts_of(ingot_statistics(engine));
  assert(statistics.at("generated_tokens").as_int() == 20 && statistics.at("running").as_int() == 0);
  IngotEvent event;
  assert(ingot_poll(engine, &event, 1, 0) == 0 && ingot_poll(engine, nullptr, 1, 0) == -INGOT_INVALID);
  assert(ingot_cancel(engine, 12345) == INGOT_OK);
  ingot_close(engine);
  ingot_close(nullptr);
}

// What cannot be is refused with its status and a sentence that names it.
void test_refusals() {
  const SmallFolder folder;
  write_folder(folder);
  const auto refused = [&](const IngotOptions &options, int status, const char *word) {
    IngotEngine *engine = nullptr;
    const int found = ingot_open(folder.path.c_str(), &options, &engine);
    return found == status && !engine && contains(ingot_last_error(), word);
  };
  IngotOptions options = options_of();
  options.max_sequences = 5;
  assert(refused(options, INGOT_INVALID, "max_sequences is 5"));
  options = options_of();
  options.token_budget = 17;
  assert(refused(options, INGOT_INVALID, "token_budget is 17"));
  options = options_of();
  options.kernels = "fast";
  assert(refused(options, INGOT_INVALID, "kernels is 'fast'"));
  assert(refused(options_of(10), INGOT_INVALID, "cache_bytes is 10"));
  assert(refused(options_of(-1), INGOT_INVALID, "cache_bytes is -1"));
  write_folder(folder, "2");
  assert(refused(options_of(), INGOT_FOLDER, "rank1") || refused(options_of(), INGOT_FOLDER, "2 ranks"));
  assert(ingot_open("/nothing/here", nullptr, nullptr) == INGOT_INVALID);
  IngotEngine *engine = nullptr;
  assert(ingot_open(nullptr, nullptr, &engine) == INGOT_INVALID &&
         ingot_open("/nothing/here", nullptr, &engine) == INGOT_FOLDER);
  uint64_t id;
  assert(ingot_submit(nullptr, nullptr, &id) == INGOT_INVALID && !ingot_describe(nullptr) &&
         !ingot_statistics(nullptr));
  assert(ingot_abi() == INGOT_ABI && std::strcmp(ingot_version(), "0.1.0") == 0);
}

}  // namespace

int main() {
  test_open_generate_close();
  test_refusals();
  std::puts("capi: ok");
}

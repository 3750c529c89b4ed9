// The files of an engine folder: what is read, and what every kind of damage is answered with.
#include <vector>

#include "files/json.h"
#include "files/manifest.h"
#include "files/safetensors.h"
#include "files/token_bytes.h"
#include "small_folder.h"

using namespace ingot;

namespace {

void json_reads_values() {
  const Json value = Json::parse(R"( {"b": [1, -2.5e3, true, null], "a": "\u00e9\n\ud83d\ude00", "n": 9223372036854775807} )");
  assert(value.at("a").as_string() == "\xC3\xA9\n\xF0\x9F\x98\x80");
  assert(value.at("n").as_int() == INT64_MAX);
  assert(value.at("b").as_array()[1].as_double() == -2500.0);
  assert(value.at("b").as_array()[2].as_bool() && value.at("b").as_array()[3].is_null());
  assert(!value.find("c"));
  assert(contains(refusal([&] { value.at("c"); }), "'c' is missing"));
  assert(contains(refusal([&] { value.at("a").as_int(); }), "an integer was expected, found a string"));
}

void json_refuses_what_is_not_json() {
  for (const char *text : {"", "{", "[1,]", "{\"a\":1,}", "01", "1.", "+1", "nul", "\"\\x\"", "\"\\ud800\"", "1 2", "{a:1}", "'a'",
                           "\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\t\"", "1e999", "NaN", "[1 2]", "\"a"}) {
    assert(contains(refusal([&] { Json::parse(text); }), "offset "));
  }
  assert(contains(refusal([] { Json::parse("{\"a\":1,\"a\":2}"); }), "names 'a' twice"));
  assert(contains(refusal([] { Json::parse(std::string(100, '[')); }), "nested"));
  assert(refusal([] { Json::parse(std::string(60, '[') + std::string(60, ']')); }).empty());
  assert(contains(refusal([] { Json::parse("[1,2,3,4]", {4, 64}); }), "larger"));
}

void sha256_has_the_published_values() {  // FIPS 180-4 examples, and a million times 'a'
  assert(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  assert(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  assert(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  Sha256 sum;
  const std::string part(1000, 'a');
  for (int i = 0; i < 1000; ++i) sum.update(part.data(), part.size());
  assert(sum.hex() == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

const char *good_header = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}})";

void safetensors_are_read_in_place() {
  SmallFolder folder;
  folder.write("w", safetensors(good_header, "01234567abc"));
  const Safetensors file = Safetensors::open(folder.path + "/w");
  assert(file.tensors().size() == 2 && !file.find("c"));
  assert(file.find("b")->bytes == 3 && std::string_view(reinterpret_cast<char *>(file.find("b")->data), 3) == "abc");
  assert(file.find("a")->shape == std::vector<int64_t>{2});
}

void safetensors_refuse_damage() {
  SmallFolder folder;
  const auto refused = [&](const std::string &header, std::string_view data) {
    folder.write("w", safetensors(header, data));
    return refusal([&] { Safetensors::open(folder.path + "/w"); });
  };
  const auto one = [](const std::string &facts) { return "{\"a\":{" + facts + "}}"; };
  assert(contains(refused(good_header, "01234567ab"), "do not lie in"));
  assert(contains(refused(good_header, "01234567abcd"), "belong to none"));
  assert(contains(refused(one(R"("dtype":"F32","shape":[2],"data_offsets":[0,7])"), "01234567"), "need 8"));
  assert(contains(refused(one(R"("dtype":"F99","shape":[2],"data_offsets":[0,8])"), "01234567"), "unknown"));
  assert(contains(refused(one(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0])"), ""), "more elements"));
  assert(contains(refused(one(R"("dtype":"U8","shape":[2],"data_offsets":[2,4])"), "0123"), "a hole"));
  assert(contains(refused(one(R"("dtype":"U8","shape":[-2],"data_offsets":[0,2])"), "01"), "negative"));
  const std::string overlap = R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[3],"data_offsets":[2,5]}})";
  assert(contains(refused(overlap, "01234"), "overlap"));
  assert(contains(refused(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", ""),
                  "twice"));
  folder.write("w", little_endian(UINT64_MAX - 3, 8) + "{}");
  assert(contains(refusal([&] { Safetensors::open(folder.path + "/w"); }), "the header should have"));
  folder.write("w", "{}");
  assert(contains(refusal([&] { Safetensors::open(folder.path + "/w"); }), "too few"));
}

std::string token_table() {
  std::string text = "INGOTTOK" + little_endian(1, 4) + little_endian(3, 4);
  for (const int offset : {0, 1, 3, 3}) text += little_endian(offset, 8);
  return text + std::string("\0\0\1", 3) + "abc";
}

void tokens_have_bytes() {
  SmallFolder folder;
  folder.write("t", token_table());
  const TokenBytes tokens = TokenBytes::open(folder.path + "/t");
  assert(tokens.size() == 3 && tokens.bytes(0) == "a" && tokens.bytes(1) == "bc" && tokens.bytes(2).empty());
  assert(!tokens.special(1) && tokens.special(2) && tokens.special(-1) && tokens.special(3) && tokens.bytes(3).empty());
}

// A sealed folder with a plan, weights and one more file.
std::string manifest_text(const std::string &files, const std::string &version = "1") {
  return "\n \"format\": \"ingot-engine\",\n \"format_version\": " + version +
         ", \"ingot\": \"0.1.0\", \"engine\": {\"name\": \"cpu\", \"library\": null}, \"ranks\": 1,\n \"model\": {\"vocab\": 8, "
         "\"dtype\": \"bfloat16\"}, \"end_ids\": [2], \"limits\": {\"max_tokens\": 4, \"max_sequences\": 2, \"max_length\": 16},\n "
         "\"cache_groups\": [{\"name\": \"full\", \"kind\": \"paged\", \"page_tokens\": 4, \"window\": 0, \"sharded\": true, "
         "\"tensors\": [\"k\", \"v\"], \"bytes_per_page\": 64}],\n \"files\": {" + files + "}\n}\n";
}

std::string file_facts(const std::string &name, const std::string &content, const std::string &more = "") {
  return "\"" + name + "\": {\"bytes\": " + std::to_string(content.size()) + ", \"sha256\": \"" + sha256_hex(content) + "\"" + more + "}";
}

std::string good_manifest(const SmallFolder &folder) {
  const std::string weights = safetensors(good_header, "01234567abc");
  const std::string header_sum = sha256_hex(std::string_view(weights).substr(0, weights.size() - 11));
  folder.write("rank0/plan.txt", "plan");
  folder.write("rank0/weights.safetensors", weights);
  return manifest_text(file_facts("rank0/plan.txt", "plan") + ", " +
                       file_facts("rank0/weights.safetensors", weights, ", \"header_sha256\": \"" + header_sum + "\""));
}

void manifest_is_read() {
  SmallFolder folder;
  folder.write("engine.json", seal(good_manifest(folder)));
  const Manifest manifest = read_manifest(folder.path, true);
  assert(manifest.engine == "cpu" && manifest.library.empty() && manifest.ranks == 1 && manifest.vocab == 8);
  assert(manifest.end_ids == std::vector<int32_t>{2} && manifest.max_length == 16 && manifest.dtype == "bfloat16");
  assert(manifest.groups[0].tensors.size() == 2 && manifest.groups[0].bytes_per_page == 64 && manifest.groups[0].sharded);
  assert(manifest.rank_directory(0) == folder.path + "/rank0");
}

void manifest_refuses_what_does_not_fit() {
  SmallFolder folder;
  const auto refused = [&](const std::string &rest, bool verify = false) {
    folder.write("engine.json", seal(rest));
    const std::string sentence = refusal([&] { read_manifest(folder.path, verify); });
    assert(contains(sentence, folder.path));
    return sentence;
  };
  assert(contains(refusal([&] { read_manifest(folder.path, false); }), "holds no engine.json"));
  assert(contains(refusal([&] { read_manifest(folder.path + "/none", false); }), "is not a folder"));
  const std::string good = good_manifest(folder);
  folder.write("engine.json", "{}");
  assert(contains(refusal([&] { read_manifest(folder.path, false); }), "seal"));
  assert(contains(refused(manifest_text("", "2")), "format 2, this Ingot reads format 1; rebuild"));
  for (const char *path : {"../x", "/etc/passwd", "a//b", "a/../b", ".", "", "engine.json", "a\\\\b"}) {
    assert(contains(refused(manifest_text(file_facts("rank0/plan.txt", "plan") + ", " + file_facts(path, "x"))), "not a path below"));
  }
  assert(contains(refused(manifest_text(file_facts("rank0/tokens.bin", "x"))), "does not name rank0/plan.txt"));
  assert(contains(refused(manifest_text(file_facts("rank0/plan.txt", "plan") + ", " + file_facts("gone", "x"))), "gone is not there; copy"));
  folder.write("rank0/plan.txt", "plans");
  assert(contains(refused(good), "should have 4 bytes, it has 5"));
  folder.write("rank0/plan.txt", "plum");
  assert(contains(refused(good), "was changed"));
  folder.write("rank0/plan.txt", "plan");
  folder.write("rank0/weights.safetensors", safetensors(good_header, "01234567abX"));
  folder.write("engine.json", seal(good));
  read_manifest(folder.path, false);  // only the header of weights is looked at …
  assert(contains(refused(good, true), "was changed"));  // … unless asked
}

// Every byte of a file changed in several ways, and the file cut at every length: read or refused, never worse.
template <typename Read>
void survives_damage(const SmallFolder &folder, const std::string &name, const std::string &content, Read &&read) {
  for (size_t i = 0; i < content.size(); ++i) {
    for (const int change : {1, 2, 16, 128, 255}) {
      std::string damaged = content;
      damaged[i] = static_cast<char>(damaged[i] ^ change);
      folder.write(name, damaged);
      refusal([&] { read(folder.path + "/" + name); });
    }
    folder.write(name, content.substr(0, i));
    refusal([&] { read(folder.path + "/" + name); });
  }
  folder.write(name, content);
  assert(refusal([&] { read(folder.path + "/" + name); }).empty());
}

void damaged_files_are_read_or_refused() {
  SmallFolder folder;
  survives_damage(folder, "weights", safetensors(good_header, "01234567abc"), [](const std::string &path) {
    unsigned sum = 0;
    const Safetensors file = Safetensors::open(path);
    for (const StoredTensor &tensor : file.tensors()) {
      for (size_t i = 0; i < tensor.bytes; ++i) sum += tensor.data[i];
    }
    return sum;
  });
  survives_damage(folder, "tokens", token_table(), [](const std::string &path) {
    size_t sum = 0;
    const TokenBytes tokens = TokenBytes::open(path);
    for (int32_t id = 0; id < tokens.size(); ++id) {
      for (const char c : tokens.bytes(id)) sum += static_cast<unsigned char>(c);
    }
    return sum;
  });
}

// Behind its own seal, so that the reading after the seal is what is damaged.
void damaged_manifests_are_refused_by_name() {
  SmallFolder folder;
  const std::string good = good_manifest(folder);
  for (size_t i = 0; i < good.size(); ++i) {
    for (const int change : {1, 16, 128}) {
      std::string damaged = good;
      damaged[i] = static_cast<char>(damaged[i] ^ change);
      folder.write("engine.json", seal(damaged));
      const std::string sentence = refusal([&] { read_manifest(folder.path, true); });
      assert(sentence.empty() || contains(sentence, folder.path));
      if (change != 1) continue;
      std::string unsealed = seal(good);
      unsealed[unsealed.size() - good.size() + i] ^= 1;
      folder.write("engine.json", unsealed);
      assert(contains(refusal([&] { read_manifest(folder.path, false); }), "was edited"));
    }
  }
}

}  // namespace

int main() {
  json_reads_values();
  json_refuses_what_is_not_json();
  sha256_has_the_published_values();
  safetensors_are_read_in_place();
  safetensors_refuse_damage();
  tokens_have_bytes();
  manifest_is_read();
  manifest_refuses_what_does_not_fit();
  damaged_files_are_read_or_refused();
  damaged_manifests_are_refused_by_name();
  return 0;
}

#include <cmath>

#include "ops/standard/broadcast.h"
#include "ops/standard/families.h"
#include "ops/standard/heads.h"

namespace ingot::standard {
namespace {

constexpr int64_t largest_head = 1024;  // elements; a head's query and sums lie on the stack

// Elements of the mask between neighbours of each of batch, head, query and key.
struct MaskStrides {
  int64_t at[4] = {};

  explicit MaskStrides(const IngotTensor &mask) {
    int64_t stride = 1;
    for (int32_t i = mask.rank - 1; i >= 0; --i) {
      if (mask.shape[i] != 1) at[i + 4 - mask.rank] = stride;
      stride *= mask.shape[i];
    }
  }
};

struct Attention {
  int64_t q_heads, kv_heads;
  float scale, softcap;
  bool causal;

  explicit Attention(const Attributes &attributes)
      : q_heads(attributes.integer("q_num_heads")),
        kv_heads(attributes.integer("kv_num_heads")),
        scale(attributes.number("scale")),
        softcap(attributes.number("softcap")),
        causal(attributes.integer("is_causal") != 0) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const Heads q(call.in[0], q_heads);
    parallel(ctx, q.batch * q.heads * q.length, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) attend(call, i / q.length / q.heads, i / q.length % q.heads, i % q.length);
    });
    return 0;
  }

 private:
  // One query. The softmax runs along with the keys: the sums are rescaled whenever a score is larger than all before.
  void attend(const IngotCall &call, int64_t b, int64_t head, int64_t row) const {
    const IngotTensor &query = call.in[0], &key = call.in[1], &value = call.in[2], &y = call.out[0];
    const Heads q(query, q_heads), k(key, kv_heads), v(value, kv_heads);
    Heads out = q;
    out.size = v.size;
    const int64_t kv_head = head / (q.heads / k.heads), last = causal ? std::min(k.length, row + 1) : k.length;
    const float factor = scale != 0 ? scale : 1.f / std::sqrt(static_cast<float>(q.size));
    float numbers[largest_head], other[largest_head], sums[largest_head] = {}, largest = -INFINITY, total = 0;
    read_elements(query.data, query.dtype, q.first(b, head, row), 1, q.size, numbers);
    for (int64_t j = 0; j < last; ++j) {
      read_elements(key.data, key.dtype, k.first(b, kv_head, j), 1, k.size, other);
      float score = 0;
      for (int64_t i = 0; i < q.size; ++i) score += numbers[i] * other[i];
      score *= factor;
      if (softcap != 0) score = softcap * std::tanh(score / softcap);
      if (is_present(call, 3)) score = masked(call.in[3], score, b, head, row, j);
      if (score == -INFINITY) continue;
      const float before = score > largest ? std::exp(largest - score) : 1.f;
      largest = std::fmax(largest, score);
      const float weight = std::exp(score - largest);
      read_elements(value.data, value.dtype, v.first(b, kv_head, j), 1, v.size, other);
      for (int64_t i = 0; i < v.size; ++i) sums[i] = sums[i] * before + weight * other[i];
      total = total * before + weight;
    }
    // A query that no key may be seen by has the answer 0.
    for (int64_t i = 0; i < v.size; ++i) sums[i] = total == 0 ? 0.f : sums[i] / total;
    write_elements(y.data, y.dtype, out.first(b, head, row), v.size, sums);
  }

  static float masked(const IngotTensor &mask, float score, int64_t b, int64_t head, int64_t row, int64_t j) {
    const MaskStrides stride(mask);
    const float found = read_float(mask.data, mask.dtype,
                                   b * stride.at[0] + head * stride.at[1] + row * stride.at[2] + j * stride.at[3]);
    if (mask.dtype == INGOT_BOOL) return found != 0 ? score : -INFINITY;
    return score + found;
  }
};

int refuse_shapes(const Inference &inference) {
  return inference.refuse(
      "Q is [%s], K [%s] and V [%s]; wanted are [batch,length,heads*size] with q_num_heads and kv_num_heads, or "
      "[batch,heads,length,size], with query heads a multiple of the key heads and sizes up to %lld",
      dims_text(inference.in[0]), dims_text(inference.in[1]), dims_text(inference.in[2]), largest_head);
}

bool divides(int64_t heads, const IngotTensor &x) { return x.rank == 4 || (heads > 0 && x.shape[2] % heads == 0); }

int attention_output(const Inference &inference) {
  const IngotTensor &query = inference.in[0], &key = inference.in[1], &value = inference.in[2];
  const Attention attention(inference.attributes());
  if (const int64_t mode = inference.attributes().integer("qk_matmul_output_mode"); mode != 0) {
    return inference.refuse("qk_matmul_output_mode is %lld, the scores are no output here", mode);
  }
  if ((query.rank != 3 && query.rank != 4) || key.rank != query.rank || value.rank != query.rank)
    return refuse_shapes(inference);
  if (!divides(attention.q_heads, query) || !divides(attention.kv_heads, key) || !divides(attention.kv_heads, value)) {
    return refuse_shapes(inference);
  }
  const Heads q(query, attention.q_heads), k(key, attention.kv_heads), v(value, attention.kv_heads);
  const bool fits = k.batch == q.batch && v.batch == q.batch && k.length == v.length && k.heads == v.heads &&
                    k.size == q.size && k.heads > 0 && q.heads % k.heads == 0 && q.size <= largest_head &&
                    v.size <= largest_head;
  if (!fits) return refuse_shapes(inference);
  if (inference.has(3)) {
    IngotTensor scores{};
    scores.rank = 4;
    const int64_t sizes[] = {q.batch, q.heads, q.length, k.length};
    std::copy_n(sizes, 4, scores.shape);
    IngotTensor wide = scores;
    if (!widen(wide, inference.in[3]) || wide.rank != 4 || !std::equal(wide.shape, wide.shape + 4, scores.shape)) {
      return inference.refuse("attn_mask is [%s], it must broadcast to [%s]", dims_text(inference.in[3]),
                              dims_text(scores));
    }
  }
  IngotTensor out = query;
  out.shape[out.rank - 1] = q.split ? v.size : q.heads * v.size;
  return inference.give(0, query.dtype, out);
}

constexpr IngotArg in[] = {input("Q", floats), input("K", "T"), input("V", "V:f32|f16|bf16"),
                           optional(input("attn_mask", "f32|bool|f16|bf16"))};
constexpr IngotArg out[] = {output("Y", "T")};
// 0: not given. softmax_precision: it is float32 always.
constexpr IngotAttr attributes[] = {{"is_causal", "int", "0"},
                                    {"kv_num_heads", "int", "0"},
                                    {"q_num_heads", "int", "0"},
                                    {"scale", "float", "0"},
                                    {"softcap", "float", "0"},
                                    {"softmax_precision", "int", "1"},
                                    {"qk_matmul_output_mode", "int", "0"}};

constexpr IngotOp rows[] = {
    row("Attention",
        "Y = softmax(cap(scale * Q K') + attn_mask) V of each head, in float32; cap(x) = softcap * tanh(x / softcap); "
        "without past keys and values",
        in, out, attributes, infer_by<attention_output>, Naive<Attention>::kernel),
};

}  // namespace

std::span<const IngotOp> attention_rows() { return rows; }

}  // namespace ingot::standard

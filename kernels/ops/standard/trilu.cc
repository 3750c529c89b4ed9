#include <cstring>

#include "ops/standard/families.h"
#include "ops/standard/host_integers.h"

namespace ingot::standard {
namespace {

struct Trilu {
  bool upper;

  explicit Trilu(const Attributes &attributes) : upper(attributes.integer("upper") != 0) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &x = call.in[0];
    const int64_t columns = x.shape[x.rank - 1], rows = x.shape[x.rank - 2], bytes = bytes_of_elements(x.dtype, 1);
    const int64_t diagonal = is_present(call, 1) ? HostIntegers(call.in[1])[0] : 0;
    if (elements_of(x) == 0) return 0;
    parallel(ctx, elements_of(x) / columns, 4096 / columns + 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        auto *to = static_cast<uint8_t *>(call.out[0].data) + i * columns * bytes;
        const auto *from = static_cast<const uint8_t *>(x.data) + i * columns * bytes;
        // Elements before `edge` lie below the diagonal or, for the lower triangle, not above it.
        const int64_t edge = std::clamp<int64_t>(plus(i % rows + (upper ? 0 : 1), diagonal), 0, columns);
        const int64_t kept = upper ? edge : 0, kept_end = upper ? columns : edge;
        std::memmove(to + kept * bytes, from + kept * bytes, static_cast<size_t>((kept_end - kept) * bytes));
        std::memset(to, 0, static_cast<size_t>(kept * bytes));
        std::memset(to + kept_end * bytes, 0, static_cast<size_t>((columns - kept_end) * bytes));
      }
    });
    return 0;
  }
};

int trilu_output(const Inference &inference) {
  HostIntegers diagonal;
  if (!read_host(inference, 1, "k", diagonal)) return 1;
  if (inference.has(1) && diagonal.count != 1)
    return inference.refuse("k has %lld numbers, it must be one", diagonal.count);
  if (inference.in[0].rank < 2)
    return inference.refuse("input is [%s], it must be a matrix or a batch of them", dims_text(inference.in[0]));
  return same_as_input(inference);
}

constexpr IngotArg in[] = {input("input", whole_bytes), optional(host_input("k", "i64"))},
                   out[] = {output("output", "T", 0)};
constexpr IngotAttr attributes[] = {{"upper", "int", "1"}};

constexpr IngotOp rows[] = {
    row("Trilu", "output[…, i, j] = input[…, i, j] where j >= i + k, or j <= i + k if not upper, else 0", in, out,
        attributes, infer_by<trilu_output>, Naive<Trilu>::kernel),
};

}  // namespace

std::span<const IngotOp> trilu_rows() { return rows; }

}  // namespace ingot::standard

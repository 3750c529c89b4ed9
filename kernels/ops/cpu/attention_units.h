// How units of work (a token and a key/value head) are gathered into tiles that read the keys once.
#pragma once
#include <cstdint>

#include "ops/cpu/attention_tile.h"

namespace ingot {

// Tokens t … t + tokens - 1 of one sequence, heads head … head + heads - 1 of one group.
template <class L>
void attend_tile(const Attention &a, int64_t group, int64_t t, int64_t tokens, int64_t head, int64_t heads) {
  AttentionTile<L> tile(a, a.pages_SM + a.sequences_T[t] * a.M, group, tokens * heads);
  for (int64_t r = 0; r < tile.rows; ++r) tile.open_row(r, t + r / heads, head + r % heads);
  tile.attend();
  for (int64_t r = 0; r < tile.rows; ++r) tile.close_row(r, t + r / heads, head + r % heads);
}

template <class L>
void attend_units(const Attention &a, int64_t begin, int64_t end) {
  const int64_t heads = a.H / a.G, most = heads < attention_rows ? attention_rows / heads : 1;
  for (int64_t unit = begin, tokens; unit < end; unit += tokens) {
    const int64_t group = unit / a.T, t = unit % a.T;
    const int64_t left = a.T - t < end - unit ? a.T - t : end - unit;
    tokens = 1;
    while (tokens < most && tokens < left && a.sequences_T[t + tokens] == a.sequences_T[t]) ++tokens;
    for (int64_t h = 0; h < heads; h += attention_rows) {
      attend_tile<L>(a, group, t, tokens, group * heads + h, heads - h < attention_rows ? heads - h : attention_rows);
    }
  }
}

}  // namespace ingot

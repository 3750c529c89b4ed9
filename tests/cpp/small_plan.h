// A plan that a reader can check by hand: y = x W^T, z = y + x, over a table of 3 rows of 2 numbers.
#pragma once
#include <string>

#include "small_folder.h"

inline const char *small_plan =
    "ingot-plan 1\n"
    "# logits = Linear(embedding[ids], mix) + embedding[ids]\n"
    "max T=4 S=2 N=4 Q=4 M=4 L=16\n"
    "vocab 2\n"
    "weight embedding_VD f32 3,2\n"
    "weight mix_FD f32 2,2\n"
    "function step\n"
    "field ids_T i32 T\n"
    "field rows_N i32 N\n"
    "value x_TD f32 T,2 life=0:2\n"
    "value y_TD f32 T,2 life=1:2\n"
    "value z_TD f32 T,2 life=2:3\n"
    "value logits_NV f32 N,2 life=3:3\n"
    "op n0 ::Gather@24 in=embedding_VD,ids_T out=x_TD axis=i:0\n"
    "op n1 ingot::Linear@1 in=x_TD,mix_FD,- out=y_TD\n"
    "op n2 ::Add@24 in=y_TD,x_TD out=z_TD\n"
    "op n3 ::Gather@24 in=z_TD,rows_N out=logits_NV axis=i:0\n"
    "output logits_NV f32 N,2\n"
    "end\n";

// embedding = [[1, 2], [3, 4], [5, 6]], mix = [[1, 0], [0, 2]]: logits = (2 a, 3 b) for the row (a, b) of a token.
inline std::string small_weights() {
  std::string data;
  for (const float number : {1.f, 2.f, 3.f, 4.f, 5.f, 6.f, 1.f, 0.f, 0.f, 2.f}) {
    data.append(reinterpret_cast<const char *>(&number), sizeof number);
  }
  return safetensors(R"({"embedding_VD":{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]},)"
                     R"("mix_FD":{"dtype":"F32","shape":[2,2],"data_offsets":[24,40]}})", data);
}

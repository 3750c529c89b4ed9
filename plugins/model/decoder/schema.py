"""The description of a decoder-only transformer: what conf/model/*.yaml may say.

Every leaf may be a value or an expression, a string that begins with "=", over the keys of
config.json (after `keys` and `config`) and `layer`, the index of the layer that is being written;
see expression.py. The defaults describe Llama, so a family's YAML says only how it differs.
null as the name of a tensor means: the family has no such tensor, and so no such operation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Norm:
    kind: Any = "rms"  # rms | layer
    epsilon: Any = "=rms_norm_eps"
    bias: Any = False  # a bias tensor beside the weight
    offset: Any = 0  # added to the weight when it is read: 1 in Gemma
    weight: Any = True  # false: no tensors at all (OLMo 1)


@dataclass(frozen=True)
class Embedding:
    scale: Any = 1  # token vectors are multiplied by this
    positions: Any = None  # learned: a row of tensors.positions is added for each position
    offset: Any = 0  # the first row used there: 2 in OPT


@dataclass(frozen=True)
class Attention:
    heads: Any = "=num_attention_heads"
    groups: Any = "=num_key_value_heads"  # key/value heads
    size: Any = "=head_dim"  # of one head
    layout: Any = "separate"  # separate | blocks (q, k, v) | groups (per group: its q heads, k, v)
    bias: Any = "=attention_bias"  # of q, k, v
    out_bias: Any = "=attention_bias"
    scale: Any = "=head_dim ** -0.5"
    softcap: Any = 0  # cap * tanh(score / cap); 0: none
    window: Any = None  # tokens that a query sees, itself included; null: all before it
    clip: Any = None  # q, k, v are clamped to ± this
    norm: Any = None  # of q and k: head (one weight for all) | heads (one each) | width
    norm_kind: Any = None  # null: as norm.kind
    sinks: Any = False  # a learned score per head in the softmax, without a value


@dataclass(frozen=True)
class Positions:
    kind: Any = "rope"  # rope | alibi | none, of this layer
    theta: Any = "=rope_theta"
    fraction: Any = "=partial_rotary_factor"  # of each head that is rotated
    interleaved: Any = False  # pairs are (0, 1), (2, 3), …, not (0, K/2), …
    scaling: Any = "=rope_scaling"  # the table of config.json, or null
    slopes: Any = "geometric"  # alibi: geometric (BLOOM's order) | interpolated (MPT's)
    bias_max: Any = 8  # alibi: the last slope is 2 ** -bias_max
    scaled: Any = False  # alibi is added before the scores are scaled (Falcon)


@dataclass(frozen=True)
class FeedForward:
    kind: Any = "gated"  # gated: down(act(gate x) * up x) | plain: down(act(up x))
    activation: Any = "=hidden_act"  # silu | gelu | gelu_tanh | relu; swiglu_oai for experts
    layout: Any = "separate"  # of gate and up: separate | halves | interleaved
    bias: Any = "=mlp_bias"
    size: Any = "=intermediate_size"
    limit: Any = None  # swiglu_oai clamps to this
    alpha: Any = None


@dataclass(frozen=True)
class Experts:
    count: Any = 0  # in this layer; 0: a plain feed forward
    chosen: Any = "=num_experts_per_tok"
    size: Any = "=intermediate_size"
    score: Any = "softmax"  # softmax | sigmoid, over all | softmax_chosen, over the chosen
    renormalise: Any = True  # weights of the chosen sum to 1
    scale: Any = 1  # and are then multiplied by this
    router_bias: Any = False
    correction: Any = False  # a bias that takes part in choosing only (DeepSeek V3)
    bias: Any = False
    layout: Any = "separate"  # of gate and up: separate | halves | interleaved
    transposed: Any = False  # tensors are [D, F], not [F, D]
    shared: Any = 0  # width of the expert that every token uses; 0: none
    shared_gate: Any = False  # its output is multiplied by sigmoid(x · w)


@dataclass(frozen=True)
class Block:
    parallel: Any = False  # attention and feed forward read the same x, and both are added to it
    residual_scale: Any = 1  # outputs are multiplied by this before they are added
    residual: Any = "input"  # input | normed: what they are added to (normed: BLOOM's option)
    input_scale: Any = 1  # what they are added to is multiplied by this (GLM 1)


@dataclass(frozen=True)
class Head:
    tied: Any = "=tie_word_embeddings"
    bias: Any = False
    scale: Any = 1
    softcap: Any = 0
    normalised: Any = False  # rows are divided by their length (Baichuan 2)


@dataclass(frozen=True)
class Tensors:
    """Names in the checkpoint, without .weight and .bias. {layer}, {expert}."""

    embedding: Any = "model.embed_tokens"
    embedding_norm: Any = None
    embedding_in: Any = None  # projection to the width of the layers (OPT 350M)
    embedding_width: Any = None  # before it; null: the width of the layers
    positions: Any = None
    layer: Any = "model.layers.{layer}."  # prefix of the ones below, down to shared_gate
    attention_norm: Any = "input_layernorm"  # x + attention(norm(x))
    attention_post: Any = None  # x + norm(attention(…))
    attention_sum: Any = None  # norm(x + attention(…))
    qkv: Any = None
    q: Any = "self_attn.q_proj"
    k: Any = "self_attn.k_proj"
    v: Any = "self_attn.v_proj"
    q_norm: Any = "self_attn.q_norm"
    k_norm: Any = "self_attn.k_norm"
    sinks: Any = "self_attn.sinks"
    out: Any = "self_attn.o_proj"
    ffn_norm: Any = "post_attention_layernorm"  # null in a parallel block: attention's is used
    ffn_post: Any = None
    ffn_sum: Any = None
    gate_up: Any = None
    gate: Any = "mlp.gate_proj"
    up: Any = "mlp.up_proj"
    down: Any = "mlp.down_proj"
    router: Any = "mlp.gate"
    correction: Any = "mlp.gate.e_score_correction_bias"
    expert_gate_up: Any = None
    expert_gate: Any = "mlp.experts.{expert}.gate_proj"  # without {expert}: one stacked tensor
    expert_up: Any = "mlp.experts.{expert}.up_proj"
    expert_down: Any = "mlp.experts.{expert}.down_proj"
    expert_suffix: Any = ".weight"  # "" where stacked parameters have none
    shared_gate_proj: Any = "mlp.shared_expert.gate_proj"
    shared_up: Any = "mlp.shared_expert.up_proj"
    shared_down: Any = "mlp.shared_expert.down_proj"
    shared_gate: Any = "mlp.shared_expert_gate"
    norm: Any = "model.norm"
    head_out: Any = None  # projection back from the width of the layers (OPT 350M)
    head: Any = "lm_head"
    transposed: Any = False  # linear weights are [in, out] (GPT-2's Conv1D)
    ignore: Any = field(  # patterns (*, ?) of tensors that carry nothing
        default_factory=lambda: ["*.rotary_emb.inv_freq"]
    )

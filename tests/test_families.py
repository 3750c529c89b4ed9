"""Every preset against transformers: a checkpoint drawn at random, all special features on.

Shapes differ from the defaults: other head sizes, other numbers of groups, an odd vocabulary.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import transformers as t
import yaml
from checkpoints import (
    described,
    distance,
    drawn,
    packed_logits,
    preset,
    reference_logits,
    textbook,
)

DISTANCE = 1e-4  # measured: at most 4e-6; the order of summation
SEQUENCES = [np.random.default_rng(n).integers(3, 98, n) for n in (37, 5, 18)]
BARE = dict(vocab_size=101, num_hidden_layers=3, max_position_embeddings=128)
HEADS = dict(BARE, hidden_size=48, num_attention_heads=6)
LLAMA = dict(HEADS, intermediate_size=80, num_key_value_heads=2)
WIDE = dict(LLAMA, head_dim=16)
GPT2 = dict(vocab_size=101, n_positions=128, n_embd=48, n_layer=3, n_head=6)
BLOOM = dict(vocab_size=101, hidden_size=48, n_layer=3, n_head=6)
NEOX = dict(BARE, hidden_size=48, intermediate_size=80, num_attention_heads=3)
MIXED = ["sliding_attention", "full_attention", "sliding_attention"]


def rope(kind, theta=1e4, **scaling):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **scaling}}


CASES = {
    "llama2, biases, wide heads": (
        "llama2", t.LlamaConfig(**WIDE, attention_bias=True, mlp_bias=True),
    ),
    "llama2, linear": ("llama2", t.LlamaConfig(**LLAMA, **rope("linear", factor=4.0))),
    "llama2, yarn": (
        "llama2",
        t.LlamaConfig(**LLAMA, **rope("yarn", factor=4.0, original_max_position_embeddings=32)),
    ),
    "llama3, scaled, tied": (
        "llama3",
        t.LlamaConfig(
            **LLAMA, tie_word_embeddings=True,
            **rope("llama3", 5e5, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=32),
        ),
    ),
    "mistral, window": ("mistral", t.MistralConfig(**WIDE, sliding_window=7)),
    "falcon 7b": (
        "falcon",
        t.FalconConfig(**HEADS, multi_query=True, parallel_attn=True, bias=False),
    ),
    "falcon 40b": (
        "falcon",
        t.FalconConfig(
            **HEADS, num_kv_heads=2, new_decoder_architecture=True, bias=False,
            ffn_hidden_size=100,
        ),
    ),
    "falcon, one norm": (
        "falcon",
        t.FalconConfig(
            **HEADS, num_kv_heads=2, new_decoder_architecture=True, num_ln_in_parallel_attn=1
        ),
    ),
    "falcon rw, alibi": (
        "falcon",
        t.FalconConfig(
            **HEADS, multi_query=False, parallel_attn=False, alibi=True, bias=True,
            tie_word_embeddings=False,
        ),
    ),
    "mpt, clipped": (
        "mpt",
        t.MptConfig(
            vocab_size=101, d_model=48, n_heads=6, n_layers=3, max_seq_len=128,
            attn_config=dict(clip_qkv=0.9, alibi_bias_max=8),
        ),
    ),
    "gpt_bigcode, multi-query": ("gpt_bigcode", t.GPTBigCodeConfig(**GPT2, multi_query=True)),
    "gpt_bigcode, multi-head": (
        "gpt_bigcode", t.GPTBigCodeConfig(**GPT2, multi_query=False, n_inner=100),
    ),
    "starcoder2, window": ("starcoder2", t.Starcoder2Config(**LLAMA, sliding_window=9)),
    "gpt_neox": ("gpt_neox", t.GPTNeoXConfig(**NEOX, rotary_pct=0.25)),
    "gpt_neox, one after the other": (
        "gpt_neox",
        t.GPTNeoXConfig(**NEOX, rotary_pct=0.5, use_parallel_residual=False, hidden_act="relu"),
    ),
    "phi": ("phi", t.PhiConfig(**LLAMA, qk_layernorm=True)),
    "phi3, window": ("phi3", t.Phi3Config(**LLAMA, sliding_window=11, pad_token_id=0)),
    "phi3, longrope": (
        "phi3",
        t.Phi3Config(
            **LLAMA, original_max_position_embeddings=128, pad_token_id=0,
            **rope("longrope", short_factor=[1.0, 1.1, 1.2, 1.3],
                   long_factor=[2.0, 3.0, 4.0, 5.0], original_max_position_embeddings=128),
        ),
    ),
    "gemma": ("gemma", t.GemmaConfig(**WIDE)),
    "gemma2, softcaps": (
        "gemma2",
        t.Gemma2Config(
            **WIDE, query_pre_attn_scalar=24, sliding_window=6, attn_logit_softcapping=5.0,
            final_logit_softcapping=3.0,
        ),
    ),
    "gemma3, two kinds of layers": (
        "gemma3",
        t.Gemma3TextConfig(
            **WIDE, query_pre_attn_scalar=24, sliding_window=6, layer_types=MIXED
        ),
    ),
    "qwen2, some windows": (
        "qwen2",
        t.Qwen2Config(**LLAMA, use_sliding_window=True, sliding_window=5, max_window_layers=1),
    ),
    "qwen3": ("qwen3", t.Qwen3Config(**WIDE)),
    "olmo2": ("olmo2", t.Olmo2Config(**LLAMA)),
    "granite, multipliers": (
        "granite",
        t.GraniteConfig(
            **LLAMA, embedding_multiplier=3.0, logits_scaling=2.0, residual_multiplier=0.4,
            attention_multiplier=0.2,
        ),
    ),
    "cohere": ("cohere", t.CohereConfig(**LLAMA, use_qk_norm=True, logit_scale=0.3)),
    "cohere2": ("cohere2", t.Cohere2Config(**LLAMA, sliding_window=6, layer_types=MIXED)),
    "smollm3": ("smollm3", t.SmolLM3Config(**LLAMA, no_rope_layers=[1, 0, 1], pad_token_id=0)),
    "glm": ("glm", t.GlmConfig(**WIDE, pad_token_id=0, eos_token_id=1)),
    "glm4": ("glm4", t.Glm4Config(**WIDE, pad_token_id=0, eos_token_id=1)),
    "bloom": ("bloom", t.BloomConfig(**BLOOM)),
    "bloom, normed residual": (
        "bloom", t.BloomConfig(**BLOOM, apply_residual_connection_post_layernorm=True),
    ),
    "opt": ("opt", t.OPTConfig(**HEADS, ffn_dim=100)),
    "opt 350m": (
        "opt",
        t.OPTConfig(**HEADS, ffn_dim=100, do_layer_norm_before=False, word_embed_proj_dim=32),
    ),
    "gpt2": ("gpt2", t.GPT2Config(**GPT2, scale_attn_by_inverse_layer_idx=True)),
    "gptj": ("gptj", t.GPTJConfig(**{**GPT2, "n_head": 3}, rotary_dim=8)),
    "mixtral, window": (
        "mixtral",
        t.MixtralConfig(**LLAMA, num_local_experts=5, num_experts_per_tok=2, sliding_window=8),
    ),
    "qwen2_moe, shared expert": (
        "qwen2_moe",
        t.Qwen2MoeConfig(
            **LLAMA, num_experts=5, num_experts_per_tok=2, moe_intermediate_size=28,
            shared_expert_intermediate_size=36, decoder_sparse_step=2, norm_topk_prob=False,
        ),
    ),
    "qwen3_moe, one plain layer": (
        "qwen3_moe",
        t.Qwen3MoeConfig(
            **WIDE, num_experts=5, num_experts_per_tok=3, moe_intermediate_size=28,
            norm_topk_prob=True, mlp_only_layers=[1],
        ),
    ),
    "gpt_oss, sinks": (
        "gpt_oss",
        t.GptOssConfig(
            **WIDE, num_local_experts=5, num_experts_per_tok=2, sliding_window=6, swiglu_limit=1.0
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_preset_equals_transformers(name, tmp_path):
    """Logits after every token of three sequences in one batch, shuffled, are transformers'."""
    family, config = CASES[name]
    reference = drawn(tmp_path, config, attn_implementation=oracle(config))
    said = {"max_length": 128} if family == "bloom" else {}  # its config.json does not say
    got_TV = packed_logits(textbook(preset(family), tmp_path, **said), SEQUENCES)
    assert distance(got_TV, reference_logits(reference, SEQUENCES)) < DISTANCE


def oracle(config) -> str:
    """The attention of transformers to compare with: its eager one adds Falcon's ALiBi twice."""
    return "sdpa" if getattr(config, "alibi", False) else "eager"


BY_LENGTH = {
    "dynamic": ("llama2", t.LlamaConfig(**LLAMA, **rope("dynamic", factor=4.0))),
    "longrope": (
        "phi3",
        t.Phi3Config(
            **{**LLAMA, "max_position_embeddings": 512}, pad_token_id=0,
            original_max_position_embeddings=128,
            **rope("longrope", short_factor=[1.0, 1.1, 1.2, 1.3],
                   long_factor=[2.0, 3.0, 4.0, 5.0], original_max_position_embeddings=128),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("length", [100, 300])
@pytest.mark.parametrize("kind", BY_LENGTH)
def test_angles_by_length_are_those_of_the_longest_text(kind, length, tmp_path):
    """A text of max_length gets the logits of transformers, which looks at the whole of it."""
    family, config = BY_LENGTH[kind]
    reference = drawn(tmp_path, config)
    text = [np.random.default_rng(5).integers(3, 98, length)]
    model = textbook(preset(family), tmp_path, max_length=length)
    assert json.loads(model.metadata_props["ingot.model"])["rope"]["fixed_for_length"] == length
    assert distance(packed_logits(model, text), reference_logits(reference, text)) < DISTANCE


def test_the_page_that_says_how_ends_with_one_that_works(tmp_path):
    """The YAML of docs/add-a-model.md, about 25 lines, reads a GPT-2 under another name."""
    page = (Path(__file__).parent.parent / "docs" / "add-a-model.md").read_text("utf-8")
    [text] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(text.splitlines()) <= 27
    reference = drawn(tmp_path, t.GPT2Config(**GPT2, activation_function="relu"))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "minstrel"}))
    got_TV = packed_logits(textbook(described(yaml.safe_load(text)), tmp_path), SEQUENCES)
    assert distance(got_TV, reference_logits(reference, SEQUENCES)) < DISTANCE

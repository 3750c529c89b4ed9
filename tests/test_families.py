"""What a description can say beyond Llama, against transformers: layouts, norms, ALiBi, experts.

Each family is a few lines of YAML in families/; nothing in the code names one.
"""

from pathlib import Path

import numpy as np
import pytest
import transformers
import yaml
from checkpoints import described, distance, drawn, packed_logits, reference_logits, textbook

DISTANCE = 1e-4  # measured: at most 4e-6; the order of summation
SEQUENCES = [np.random.default_rng(n).integers(3, 98, n) for n in (37, 5, 18)]
FOLDER = Path(__file__).parent / "families"
BARE = dict(
    vocab_size=101,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=128,
)
GPT2_SHAPE = dict(vocab_size=101, n_positions=128, n_embd=48, n_layer=2, n_head=6)
FAMILIES = {
    "transposed, learned positions, plain": ("gpt2", transformers.GPT2Config(**GPT2_SHAPE), {}),
    "fused in blocks and halves": (
        "phi3", transformers.Phi3Config(**BARE, sliding_window=11, pad_token_id=0), {},
    ),
    "alibi, fused in groups": (
        "bloom", transformers.BloomConfig(vocab_size=101, hidden_size=48, n_layer=2, n_head=6),
        {"max_length": 64},
    ),
    "norms around, offset, softcaps": (
        "gemma2",
        transformers.Gemma2Config(
            **BARE, head_dim=16, query_pre_attn_scalar=24, sliding_window=6,
            attn_logit_softcapping=5.0, final_logit_softcapping=3.0,
        ),
        {},
    ),
    "experts one by one": (
        "mixtral",
        transformers.MixtralConfig(**BARE, num_local_experts=5, num_experts_per_tok=2),
        {},
    ),
    "experts stacked, interleaved, with sinks": (
        "gpt_oss",
        transformers.GptOssConfig(
            **BARE, head_dim=16, num_local_experts=5, num_experts_per_tok=2, sliding_window=6,
            swiglu_limit=1.0, rope_parameters={"rope_type": "default", "rope_theta": 150000.0},
        ),
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_other_families_are_descriptions(name, tmp_path):
    """What the schema offers beyond Llama equals transformers too; the code names no family."""
    family, config, plan = FAMILIES[name]
    settings = yaml.safe_load((FOLDER / f"{family}.yaml").read_text())
    reference = drawn(tmp_path, config)
    got_TV = packed_logits(textbook(described(settings), tmp_path, **plan), SEQUENCES)
    assert distance(got_TV, reference_logits(reference, SEQUENCES)) < DISTANCE

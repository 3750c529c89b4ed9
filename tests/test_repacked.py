"""Families that transformers does not have: a checkpoint of one that computes the same, repacked.

ChatGLM is GLM with other names and fused tensors, InternLM 2 and Baichuan 7B are Llama's.
"""

import json

import numpy as np
import pytest
import torch
import transformers as t
from checkpoints import distance, drawn, packed_logits, preset, reference_logits, textbook
from safetensors.torch import load_file, save_file

DISTANCE = 1e-4  # measured: at most 4e-6; the order of summation
SEQUENCES = [np.random.default_rng(n).integers(3, 98, n) for n in (37, 5, 18)]
SHAPE = dict(
    vocab_size=101, hidden_size=48, intermediate_size=80, num_hidden_layers=3,
    num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=128,
)  # fmt: skip
GLM_NAMES = {
    "model.layers.": "transformer.encoder.layers.",
    "mlp.gate_up_proj": "mlp.dense_h_to_4h",
    "mlp.down_proj": "mlp.dense_4h_to_h",
    "self_attn.o_proj": "self_attention.dense",
    "self_attn.qkv": "self_attention.query_key_value",
    "model.embed_tokens": "transformer.embedding.word_embeddings",
    "model.norm": "transformer.encoder.final_layernorm",
    "lm_head": "transformer.output_layer",
}
INTERNLM_NAMES = {
    "embed_tokens": "tok_embeddings",
    "input_layernorm": "attention_norm",
    "self_attn.qkv": "attention.wqkv",
    "self_attn.o_proj": "attention.wo",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
    "lm_head": "output",
}
CHATGLM = dict(
    model_type="chatglm", add_bias_linear=False, add_qkv_bias=True, ffn_hidden_size=80,
    apply_query_key_layer_scaling=True, apply_residual_connection_post_layernorm=False,
    attention_softmax_in_fp32=True, bias_dropout_fusion=True, fp32_residual_connection=False,
    hidden_size=48, kv_channels=16, layernorm_epsilon=1.5625e-07, multi_query_attention=True,
    multi_query_group_num=2, num_attention_heads=6, num_layers=3, original_rope=True,
    padded_vocab_size=101, post_layer_norm=True, rmsnorm=True, seq_length=128,
    torch_dtype="float32", tie_word_embeddings=False, eos_token_id=2,
)  # fmt: skip
INTERNLM = dict(
    SHAPE, model_type="internlm2", attn_implementation="eager", bias=False, hidden_act="silu",
    rms_norm_eps=1e-6, rope_scaling=None, rope_theta=10000, tie_word_embeddings=False,
    torch_dtype="float32",
)  # fmt: skip
BAICHUAN = dict(
    SHAPE, model_type="baichuan", hidden_act="silu", model_max_length=128, rms_norm_eps=1e-6,
    tie_word_embeddings=False, torch_dtype="float32", z_loss_weight=0, _from_model_config=True,
)  # fmt: skip


def by_group(q, k, v):
    """Per key/value head: its query heads, itself, its value."""
    parts = [part.unflatten(0, (2, -1)) for part in (q, k, v)]
    return torch.cat(parts, 1).flatten(0, 1)


def one_after_the_other(q, k, v):
    return torch.cat([q, k, v])


def repack(folder, fuse, names, config):
    """The checkpoint in `folder` with q, k and v in one tensor, other names, another config."""
    tensors = load_file(folder / "model.safetensors")
    made = {}
    for name, tensor in tensors.items():
        if ".k_proj" in name or ".v_proj" in name:
            continue
        if ".q_proj" in name:
            parts = [tensors[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            name, tensor = name.replace("q_proj", "qkv"), fuse(*parts)
        for theirs, ours in names.items():
            name = name.replace(theirs, ours)
        made[name] = tensor.contiguous()
    save_file(made, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))


CASES = {
    "chatglm": (
        t.GlmConfig(**SHAPE, head_dim=16, pad_token_id=0, eos_token_id=1), one_after_the_other,
        GLM_NAMES, CHATGLM,
    ),
    "internlm2": (t.LlamaConfig(**SHAPE), by_group, INTERNLM_NAMES, INTERNLM),
    "baichuan": (
        t.LlamaConfig(**SHAPE), one_after_the_other, {"self_attn.qkv": "self_attn.W_pack"},
        BAICHUAN,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_repacked_checkpoint_computes_the_same(name, tmp_path):
    """Logits after every token are those of the family whose checkpoint was repacked."""
    config, fuse, names, said = CASES[name]
    reference = drawn(tmp_path, config)
    repack(tmp_path, fuse, names, said)
    got_TV = packed_logits(textbook(preset(name), tmp_path), SEQUENCES)
    assert distance(got_TV, reference_logits(reference, SEQUENCES)) < DISTANCE


def test_chatglm_of_2022_is_refused(tmp_path):
    """Its prompt attends to itself in both directions; its config.json has no rmsnorm."""
    from core.command import PlanError

    config, fuse, names, said = CASES["chatglm"]
    drawn(tmp_path, config)
    old = {key: value for key, value in said.items() if key != "rmsnorm"}
    repack(tmp_path, fuse, names, old)
    with pytest.raises(PlanError, match="rmsnorm"):
        textbook(preset("chatglm"), tmp_path)

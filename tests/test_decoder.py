"""The textbook graph against transformers, through onnxruntime.

Every oracle test runs three sequences in one shuffled batch. T tokens, V vocabulary.
"""

import json

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
import transformers
import yaml
from checkpoints import (
    CONF,
    described,
    distance,
    drawn,
    packed_logits,
    plan_of,
    preset,
    reference_logits,
    session,
    textbook,
    tiny,
)

from core.checkpoint import RandomCheckpoint, open_checkpoint
from plugins.model.decoder import Decoder
from plugins.model.decoder.config import leaves

DISTANCE = 1e-4  # measured: at most 8e-6; the order of summation
PRESETS = ("llama2", "llama3", "mistral")
SHAPE = dict(
    vocab_size=101,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=3,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=128,
)
LONG = dict(SHAPE, num_hidden_layers=2)


def rope(kind, **more):
    return {"rope_type": kind, "rope_theta": 1e4, "factor": 4.0, **more}


LLAMA31 = dict(low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
ORACLES = {
    "gqa": ("llama2", transformers.LlamaConfig(**SHAPE)),
    "biases-tied-head-size": (
        "llama2",
        transformers.LlamaConfig(
            **SHAPE, head_dim=16, attention_bias=True, mlp_bias=True, tie_word_embeddings=True
        ),
    ),
    "llama3.1": (
        "llama3", transformers.LlamaConfig(**SHAPE, rope_parameters=rope("llama3", **LLAMA31)),
    ),
    "linear": ("llama2", transformers.LlamaConfig(**LONG, rope_parameters=rope("linear"))),
    "yarn": (
        "llama2",
        transformers.LlamaConfig(
            **LONG, rope_parameters=rope("yarn", original_max_position_embeddings=32)
        ),
    ),
    "yarn-mscale": (
        "llama2",
        transformers.LlamaConfig(
            **LONG,
            rope_parameters=rope(
                "yarn", original_max_position_embeddings=32, mscale=0.7, mscale_all_dim=1.3,
                beta_fast=20, beta_slow=2,
            ),
        ),
    ),
    "window": ("mistral", transformers.MistralConfig(**SHAPE, sliding_window=7)),
    "no-window": ("mistral", transformers.MistralConfig(**SHAPE, sliding_window=None)),
}  # fmt: skip


def sequences(vocab=98, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.integers(3, vocab, length) for length in (37, 5, 18)]


@pytest.mark.parametrize("name", ORACLES)
def test_random_checkpoints_equal_transformers(name, tmp_path):
    """Logits of three packed sequences are transformers' up to the order of summation."""
    family, config = ORACLES[name]
    reference = drawn(tmp_path, config)
    got_TV = packed_logits(textbook(preset(family), tmp_path), sequences())
    assert distance(got_TV, reference_logits(reference, sequences())) < DISTANCE


def test_the_built_in_model_equals_transformers(tiny_llama):
    """tiny-llama, cast from bfloat16 to float32 as it is read."""
    reference = transformers.AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    got_TV = packed_logits(textbook(preset("llama2"), tiny_llama), sequences(4000))
    assert distance(got_TV, reference_logits(reference.eval(), sequences(4000))) < DISTANCE


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_graph_follows_its_conventions(dtype):
    """int32 inputs, float32 logits, activations and weights of the plan's dtype; legal in ONNX."""
    plugin, checkpoint = tiny()
    model = plugin.graph(plan_of(checkpoint, dtype=dtype), checkpoint)
    assert [i.name for i in model.graph.inputs] == ["ids_T", "positions_T", "sequences_T", "rows_N"]
    assert {i.dtype for i in model.graph.inputs} == {ir.DataType.INT32}
    [logits] = model.graph.outputs
    assert (logits.name, logits.dtype) == ("logits_NV", ir.DataType.FLOAT)
    assert model.graph.opset_imports == {"": 24, "ingot": 1}
    held = {name: value.const_value for name, value in model.graph.initializers.items()}
    assert list(held["layers.1.attention.q_FD"].shape) == [64, 64]
    assert list(held["layers.1.ffn.gate_FD"].shape) == [176, 64]
    assert held["head_VD"].recipe.startswith(
        ("cast(random(lm_head.weight", "random(lm_head.weight")
    )
    word = {"float32": "FLOAT"}.get(dtype, dtype.upper())
    tables = {"cos_LR", "sin_LR", "slopes_H", "sinks_H"}
    assert {tensor.dtype.name for name, tensor in held.items() if name not in tables} == {word}
    assert {held[name].dtype for name in tables} == {ir.DataType.FLOAT}

    for tensor in held.values():  # random numbers need the compiled library; zeros do here
        tensor.numpy = lambda tensor=tensor: np.zeros(tensor.shape, tensor.dtype.numpy())
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True).graph.value_info
    assert {v.name for v in inferred} >= {n.outputs[0].name for n in model.graph} - {"logits_NV"}
    kinds = {v.type.tensor_type.elem_type for v in inferred if v.name not in tables}
    assert kinds == {ir.DataType[word].value}


def test_rows_choose_the_logits(tmp_path):
    """Only the rows asked for are given, in the order asked for."""
    drawn(tmp_path, ORACLES["gqa"][1])
    run = session(textbook(preset("llama2"), tmp_path)).run
    fields = {"ids_T": np.arange(5, 14), "positions_T": np.arange(9), "sequences_T": np.zeros(9)}
    fields = {name: values.astype(np.int32) for name, values in fields.items()}
    [whole] = run(None, {**fields, "rows_N": np.arange(9, dtype=np.int32)})
    [some] = run(None, {**fields, "rows_N": np.int32([8, 2])})
    np.testing.assert_allclose(some, whole[[8, 2]], rtol=1e-5, atol=1e-5)


def test_facts():
    """metadata says what runtime and manifest need."""
    plugin, checkpoint = tiny("llama3", eos_token_id=[1, 5])
    model = plugin.graph(plan_of(checkpoint, max_length=100), checkpoint)
    assert json.loads(model.metadata_props["ingot.model"]) == {
        "layers": 2, "width": 64, "vocab": 256, "heads": 4, "groups": 2, "head_size": 16,
        "max_length": 100, "dtype": "bfloat16", "end_ids": [1, 5],
        "rope": {"theta": 500000.0, "scaling": None},
    }  # fmt: skip


def test_a_tied_head_is_one_tensor():
    """Embedding and tied head read one initializer, called head_VD."""
    plugin, checkpoint = tiny(tie_word_embeddings=True)
    graph = plugin.graph(plan_of(checkpoint), checkpoint).graph
    readers = {use.node.op_type for use in graph.initializers["head_VD"].uses()}
    assert readers == {"Gather", "Transpose"} and "embedding_VD" not in graph.initializers


def test_generation_config_decides_what_ends_a_text(tmp_path):
    """end_ids come from generation_config.json before config.json."""
    drawn(tmp_path, ORACLES["gqa"][1])
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 9, 1000]}')
    facts = json.loads(textbook(preset("llama2"), tmp_path).metadata_props["ingot.model"])
    assert facts["end_ids"] == [7, 9]


@pytest.mark.parametrize("family", PRESETS)
def test_published_sizes(family):
    """Every size makes a graph with as many parameters as the published model has."""
    parameters = {
        "llama2": {"1.1b": 1.100, "7b": 6.738, "13b": 13.016, "70b": 68.977},
        "llama3": {"8b": 8.030, "70b": 70.554, "3.1-8b": 8.030, "3.1-70b": 70.554,
                   "3.2-1b": 1.236, "3.2-3b": 3.213},
        "mistral": {"7b-v0.1": 7.242, "7b-v0.3": 7.248},
    }[family]  # fmt: skip
    plugin = preset(family)
    assert plugin.sizes.keys() == {"tiny", *parameters}
    for size, billions in parameters.items():
        checkpoint = RandomCheckpoint(plugin.sizes[size], 0)
        plan = plan_of(checkpoint, max_length=2048)
        assert not plugin.conflicts(plan)
        initializers = plugin.graph(plan, checkpoint).graph.initializers.values()
        weights = [i.const_value for i in initializers if "random(" in i.const_value.recipe]
        assert sum(weight.size for weight in weights) / 1e9 == pytest.approx(billions, abs=6e-4)


def test_the_preset_of_the_plugin_lists_the_defaults():
    """conf/model/decoder.yaml says every key of the schema, with its default."""
    written = described(yaml.safe_load((CONF / "decoder.yaml").read_text()))
    assert dict(leaves(written)) == dict(leaves(Decoder()))
    assert len(yaml.safe_load((CONF / "decoder.yaml").read_text())["tensors"]) == len(
        dict(leaves(Decoder().tensors))
    )


def test_dtype_auto_without_a_word_in_config(tmp_path):
    """Where config.json is silent, the tensors' dtype decides."""
    drawn(tmp_path, ORACLES["gqa"][1])
    raw = json.loads((tmp_path / "config.json").read_text())
    raw = {key: value for key, value in raw.items() if key not in ("dtype", "torch_dtype")}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    assert "dtype" not in open_checkpoint(str(tmp_path), None, 0).config
    facts = json.loads(
        textbook(preset("llama2"), tmp_path, dtype="auto").metadata_props["ingot.model"]
    )
    assert facts["dtype"] == "float32"

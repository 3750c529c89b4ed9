"""The graphs that parallel=tensor makes, joined and run by onnxruntime, against the graph before.

T tokens, D width in, F features out, V vocabulary.
"""

import json
import re
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
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
    textbook,
    tiny,
)
from rank_graphs import joined, ranked

from core import passes, spec, weights
from core.command import ConfigError, PlanError
from core.recipes import Weight
from core.resolution import Plan
from plugins.engine.cpu import Cpu
from plugins.parallel.shares import fitting, of_heads
from plugins.parallel.tensor import Tensor
from plugins.parallel.tensor_pass import TensorParallel
from plugins.quant.fp8 import Activations, Fp8, Weights

DISTANCE = 1e-4  # measured: at most 4e-6; the order of summation
SEQUENCES = [np.random.default_rng(n).integers(3, 98, n) for n in (23, 5, 11)]
SHAPE = dict(
    vocab_size=104,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
)
BIASED = dict(SHAPE, attention_bias=True, mlp_bias=True, tie_word_embeddings=True)


def smallest(plugin=None, **given):
    """The graph of random weights of the smallest size."""
    known, checkpoint = tiny()
    return spec.verify((plugin or known).graph(plan_of(checkpoint, **given), checkpoint), "graph")


WORLDS = {
    "biases, tied head, wide heads": (
        lambda: preset("llama2"), transformers.LlamaConfig(**BIASED, head_dim=24), {},
    ),
    "norms of heads": (
        lambda: preset("qwen3"), transformers.Qwen3Config(**SHAPE, head_dim=16), {},
    ),
    "norms over all heads": (
        lambda: preset("olmo2"), transformers.Olmo2Config(**SHAPE, pad_token_id=0), {},
    ),
    "learned positions, plain, transposed": (
        lambda: preset("gpt2"),
        transformers.GPT2Config(vocab_size=104, n_positions=128, n_embd=64, n_layer=2, n_head=4),
        {},
    ),
    "slopes, fused in groups": (
        lambda: preset("bloom"),
        transformers.BloomConfig(vocab_size=104, hidden_size=64, n_layer=2, n_head=4),
        {"max_length": 64},
    ),
    "norms around, softcaps, scaled embedding": (
        lambda: preset("gemma2"),
        transformers.Gemma2Config(
            **SHAPE, head_dim=16, query_pre_attn_scalar=24, sliding_window=6,
            attn_logit_softcapping=5.0, final_logit_softcapping=3.0,
        ),
        {},
    ),
    "experts": (
        lambda: preset("mixtral"),
        transformers.MixtralConfig(**SHAPE, num_local_experts=5, num_experts_per_tok=2),
        {},
    ),
    "experts with biases, sinks": (
        lambda: preset("gpt_oss"),
        transformers.GptOssConfig(
            **SHAPE, head_dim=16, num_local_experts=5, num_experts_per_tok=2, sliding_window=6,
            swiglu_limit=1.0, rope_parameters={"rope_type": "default", "rope_theta": 150000.0},
        ),
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("world", WORLDS)
def test_joined_graphs_equal_the_textbook(world, ranks, tmp_path):
    """What is shared out is the same model: biases once, heads with their norms and slopes."""
    plugin, config, given = WORLDS[world]
    drawn(tmp_path, config)
    model = textbook(plugin(), tmp_path, **given)
    want_TV = packed_logits(model.clone(), SEQUENCES)
    assert distance(packed_logits(joined(ranked(model, ranks)), SEQUENCES), want_TV) < DISTANCE


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A checkpoint with every bias and one table for both ends."""
    folder = tmp_path_factory.mktemp("llama")
    drawn(folder, transformers.LlamaConfig(**BIASED, head_dim=32))
    return folder


def quantized(model, plugin):
    for item in plugin.passes(None):
        model = passes.run(item, model, "quant").model
    return model


@pytest.mark.parametrize("activations", Activations)
@pytest.mark.parametrize("scales", Weights)
def test_fp8_is_cut_with_its_scales(llama, scales, activations):
    """Codes and scales are those of one rank; a token's scale is found over all ranks."""
    plugin = Fp8(weights=scales, activations=activations)
    model = quantized(textbook(preset("llama2"), llama), plugin)
    want_TV = packed_logits(model.clone(), SEQUENCES)
    for ranks in (2, 4):
        got_TV = packed_logits(joined(ranked(model, ranks)), SEQUENCES)
        assert distance(got_TV, want_TV) < DISTANCE


def in_groups(model, size, zero_points):
    """Every layer's weights as int8 codes of 4 bits with a scale, and a zero point, a group."""
    for node in list(model.graph):
        turn = node.inputs[1].producer() if node.op_type == "MatMul" else None
        if turn is None or not turn.inputs[0].name.startswith("layers."):
            continue
        w_FD = turn.inputs[0]
        F, D = w_FD.const_value.shape
        own = size or D

        def quantize(rows, D=D, own=own):
            groups = rows.astype(np.float32).reshape(len(rows), D // own, own)
            low, high = groups.min(-1), groups.max(-1)
            scale = (high - low) / 15 if zero_points else np.abs(groups).max(-1) / 7
            zero = np.round(-8 - low / scale) if zero_points else np.zeros_like(scale)
            codes = np.round(groups / scale[..., None]) + zero[..., None]
            codes = np.clip(codes, -8, 7).reshape(len(rows), D)
            return codes.astype(np.int8), scale.astype(np.float32), zero.astype(np.int8)

        groups = [F, D // own]
        made = weights.derive(
            w_FD.const_value, quantize,
            [(f"{w_FD.name}.codes", ir.DataType.INT8, [F, D]),
             (f"{w_FD.name}.scale", ir.DataType.FLOAT, groups),
             (f"{w_FD.name}.zero", ir.DataType.INT8, groups)],
            f"groups({own})",
        )  # fmt: skip
        inputs = [ir.val(weight.name, const_value=weight) for weight in made[: 2 + zero_points]]
        for value in inputs:
            model.graph.register_initializer(value)
        new = ir.node("DequantizeLinear", inputs, {"axis": 1, "block_size": own})
        new.outputs[0].name = f"{w_FD.name}.rounded"
        model.graph.insert_before(turn, new)
        turn.replace_input_with(0, new.outputs[0])
        model.graph.initializers.pop(w_FD.name)
    return model


@pytest.mark.parametrize("size", [16, None])
@pytest.mark.parametrize("zero_points", [False, True])
def test_groups_are_cut_whole(llama, zero_points, size):
    """Scales and zero points of groups along D go with rows, and with columns; those of a group
    that is all of a row stay with it."""
    model = in_groups(textbook(preset("llama2"), llama), size, zero_points)
    want_TV = packed_logits(model.clone(), SEQUENCES)
    got_TV = packed_logits(joined(ranked(model, 2)), SEQUENCES)
    assert distance(got_TV, want_TV) < DISTANCE


@pytest.mark.parametrize("quant", [None, Fp8()])
def test_fused_graphs_of_ranks(llama, quant):
    """Each rank's lowered graph has the fusions of one rank, and together they mean the same."""
    model = textbook(preset("llama2"), llama)
    model = quantized(model, quant) if quant else model
    want_TV = packed_logits(model.clone(), SEQUENCES)
    fused = []
    for part in ranked(model, 2):
        for item in Cpu().passes(None, 0):
            part = passes.run(item, part, "engine").model
        fused.append(part)
    kinds = [node.op_type for node in fused[1].graph]
    product = "ScaledLinear" if quant else "Linear"
    assert kinds.count(product) == 2 * 4 + (quant is None)  # qkv, out, gate and up, down; head
    assert kinds.count("AddRmsNormQuantize" if quant else "AddRmsNorm") >= 2
    assert not {"MatMul", "QuantizeLinear", "DequantizeLinear"} & set(kinds)
    assert kinds.count("TokenLargest") == (4 if quant else 0)  # before out and down
    assert distance(packed_logits(joined(fused), SEQUENCES), want_TV) < DISTANCE


def test_no_weight_is_read(monkeypatch):
    """The pass returns lazy tensors, with recipes that say what was cut."""
    model = quantized(smallest(), Fp8())

    def read(self, *_):
        if not self.recipe.startswith("constant("):
            raise AssertionError(f"{self.recipe} was read")
        return original(self, *_)

    original = Weight.read
    monkeypatch.setattr(Weight, "read", read)
    _, part = ranked(model, 2)
    tensors = {value.name: value.const_value for value in part.graph.initializers.values()}
    assert tensors["layers.0.attention.q.codes_FD"].recipe == (
        "slice(fp8(random(model.layers.0.self_attn.q_proj.weight, seed=0), scale=channel)[0], "
        "axis=0, 32:64)"
    )
    assert list(tensors["layers.0.attention.out.codes_DF"].shape) == [64, 32]
    assert list(tensors["layers.0.attention.out.scale_D"].shape) == [64]


def test_every_node_is_told():
    """The report names each product with the part of its weight, and how partial sums meet."""
    model = passes.run(TensorParallel(1, 2), smallest(), "parallel.tensor")
    told = dict(model.rewritten)
    assert told["layers.0.attention.q_TF"] == "rows 32 to 63 of 64 of layers.0.attention.q_FD"
    assert told["layers.1.ffn.down_TD"] == (
        "columns 88 to 175 of 176 of layers.1.ffn.down_DF; partial sums of 2 ranks meet in "
        "ingot::AllReduce"
    )
    assert told["layers.0.attention.mixed_TF"] == "heads 2 to 3 of 4, with 1 key/value heads"
    assert told["embedding_TD"].startswith("rows 128 to 255 of 256 of embedding_VD")
    assert told["logits_NV"] and not model.refused


def test_heads_stand_with_their_keys():
    """Every query head finds the key/value head that it reads on its own rank."""
    for heads, groups in ((8, 8), (8, 4), (8, 2), (8, 1), (12, 4), (12, 3)):
        for ranks in (r for r in (1, 2, 3, 4, 6, 12) if heads % r == 0):
            if groups % ranks and ranks % groups:
                continue
            for rank in range(ranks):
                queries, keys = of_heads(heads, groups, rank, ranks)
                wanted = {h * groups // heads for h in range(queries.first, queries.last)}
                assert wanted == set(range(keys.first, keys.last))


def plan(ranks, sizes, **config):
    return Plan(checkpoint="random", out=Path("unused"), ranks=ranks, sizes=sizes, config=config)


@pytest.mark.parametrize(
    ("changed", "ranks", "sentence"),
    [
        ({}, 3, "heads=4 and groups=2 and vocab=104 do not divide by 3 ranks; "),
        ({"num_key_value_heads": 3, "num_attention_heads": 12}, 2, "groups=3 do not divide by 2"),
        ({"vocab_size": 103}, 2, "vocab=103 do not divide by 2 ranks; use parallel.ranks=1"),
        ({"intermediate_size": 97}, 2, "ffn=97 do not divide by 2 ranks; use parallel.ranks=1"),
        ({}, 8, "heads=4 do not divide by 8 ranks; use parallel.ranks=1, 2 or 4"),
    ],
)
def test_sizes_that_do_not_divide(changed, ranks, sentence):
    """config.json alone is judged, before a graph is written."""
    said = Tensor(ranks=ranks).conflicts(plan(ranks, {**SHAPE, **changed}))
    assert len(said) == 1 and sentence in said[0]
    assert "use parallel.ranks=1" in said[0]


def test_names_of_a_family_are_known():
    """A description's own names of keys count."""
    sizes = {"n_head": 6, "hidden_size": 64, "vocab_size": 104}
    keys = {"model": {"keys": {"num_attention_heads": "n_head"}}}
    [said] = Tensor(ranks=4).conflicts(plan(4, sizes, **keys))
    assert said == "heads=6 and groups=6 do not divide by 4 ranks; use parallel.ranks=1 or 2"
    assert Tensor(ranks=2).conflicts(plan(2, sizes, **keys)) == []


def test_groups_that_would_straddle_ranks(llama):
    """Said before a graph is written where quant names its group, and by the pass in any case."""
    quant = {"name": "int4_wo", "group": 64}
    out, down = Tensor(ranks=2).conflicts(plan(2, SHAPE, quant=quant))
    assert "the 64 columns of layers.0.attention.out_DF give 32 to each of 2 ranks" in out
    assert "quant=int4_wo has one scale for 64 weights, but the 96 columns of layers.0.ffn" in down
    for settled in ({"group": 16}, {"skip": ["*.out_DF", "*.down_DF"]}):
        assert Tensor(ranks=2).conflicts(plan(2, SHAPE, quant={**quant, **settled})) == []
    model = in_groups(textbook(preset("llama2"), llama), 32, zero_points=False)
    with pytest.raises(PlanError, match=r"layers\.0\.ffn\.down_DF\.codes has one scale for 32"):
        ranked(model, 2)


def test_a_graph_that_does_not_divide(tmp_path):
    """What config.json does not show under a known name, the pass judges by the graph."""
    plugin, config, given = WORLDS["slopes, fused in groups"]
    drawn(tmp_path, config)
    with pytest.raises(PlanError, match="heads=4 and groups=4 do not divide by 3 ranks; use"):
        ranked(textbook(plugin(), tmp_path, **given), 3)


def test_layer_norms_over_all_heads_are_refused():
    """Means and squares of all heads would have to meet."""
    llama = yaml.safe_load((CONF / "llama2.yaml").read_text())
    norms = {"norm": {"kind": "layer", "bias": True}, "attention": {"norm": "width"}}
    with pytest.raises(PlanError, match=r"q_norm_TF normalises over all of layers\.0\.attention"):
        ranked(smallest(described({**llama, **norms})), 2)


def changed(change):
    model = smallest(dtype="float32")
    named = {value.name: value for node in model.graph for value in node.outputs}
    change(model.graph, named)
    return model


def test_weights_that_are_computed_are_refused():
    """A weight behind an op that is not DequantizeLinear is named, with the op."""

    def change(graph, named):
        turn = named["layers.0.attention.q_DF"].producer()
        new = ir.node("Neg", [turn.inputs[0]])
        new.outputs[0].name = "layers.0.attention.q_other_FD"
        graph.insert_before(turn, new)
        turn.replace_input_with(0, new.outputs[0])

    with pytest.raises(PlanError, match=r"q_other_FD is made by ai\.onnx::Neg; parallel=tensor"):
        ranked(changed(change), 2)


def test_ops_that_are_not_known_are_refused():
    """An op on what ranks have in part is not passed over."""

    def change(graph, named):
        hidden = named["layers.0.ffn.hidden_TF"]
        new = ir.node("Softmax", [hidden])
        new.outputs[0].name = "layers.0.ffn.other_TF"
        hidden.consumers()[0].replace_input_with(0, new.outputs[0])
        graph.insert_after(hidden.producer(), new)

    with pytest.raises(PlanError, match=r"other_TF \(ai\.onnx::Softmax\) reads layers\.0\.ffn"):
        ranked(changed(change), 2)


def test_attention_of_other_names_is_refused():
    """Where q's product has a name that is not ours, attention would be done by every rank."""

    def change(graph, named):
        for part in "qkv":
            value = named[f"layers.0.attention.{part}_TF"]
            value.name = value.name.replace("attention", "mixer")

    with pytest.raises(PlanError, match=r"are not shared out: their products have other names"):
        ranked(changed(change), 2)


@pytest.mark.parametrize("ranks", [0, -2, 1025])
def test_numbers_of_ranks(ranks):
    with pytest.raises(ConfigError, match=re.escape(f"parallel.ranks={ranks}: it must be from 1")):
        Tensor(ranks=ranks)


def test_suggested_ranks():
    """Numbers that fit all sizes, the smallest first."""
    assert (
        fitting({"heads": 32, "groups": 8, "ffn": 11008, "vocab": 32000}) == "1, 2, 4, 8, 16 or 32"
    )
    assert fitting({"heads": 7, "groups": 7}) == "1 or 7"
    assert json.dumps(fitting({"vocab": 1})) == '"1"'

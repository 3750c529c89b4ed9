"""attention=paged: the paged graph, run by onnxruntime, against the textbook graph and numpy."""

import json

import ml_dtypes
import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import onnxruntime
import pytest
import transformers
from checkpoints import (
    distance,
    drawn,
    packed_logits,
    plan_of,
    preset,
    session,
    textbook,
    tiny,
)
from paged_pool import Pool

from core import shapes
from core.command import ConfigError, PlanError
from plugins.attention.paged import Paged
from plugins.attention.paged_function import paged_attention

DISTANCE = 1e-4  # measured: at most 4e-6; the order of summation
SHAPE = dict(
    vocab_size=101,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=128,
)


WORLDS = {
    "full": (lambda: preset("llama2"), transformers.LlamaConfig(**SHAPE, head_dim=16), {}),
    "window": (
        lambda: preset("mistral"), transformers.MistralConfig(**SHAPE, sliding_window=7), {},
    ),
    "alibi": (
        lambda: preset("bloom"),
        transformers.BloomConfig(vocab_size=101, hidden_size=48, n_layer=2, n_head=6),
        {"max_length": 64},
    ),
    "softcap, both kinds of layers": (
        lambda: preset("gemma2"),
        transformers.Gemma2Config(
            **SHAPE, head_dim=16, query_pre_attn_scalar=24, sliding_window=6,
            attn_logit_softcapping=5.0, final_logit_softcapping=3.0,
        ),
        {},
    ),
    "sinks, both kinds of layers": (
        lambda: preset("gpt_oss"),
        transformers.GptOssConfig(
            **SHAPE, head_dim=16, num_local_experts=5, num_experts_per_tok=2, sliding_window=6,
            swiglu_limit=1.0, rope_parameters={"rope_type": "default", "rope_theta": 150000.0},
        ),
        {},
    ),
}  # fmt: skip


def paged(model, page=4):
    """`model` with types on its values, as the build gives them, and then with pages."""
    shapes.infer(model)
    [rewrite] = Paged(page=page).passes(None)
    assert rewrite(model).modified
    return model


def prompts():
    """Three sequences; the first two begin with the same 8 tokens."""
    rng = np.random.default_rng(0)
    start = rng.integers(3, 98, 8)
    return [np.concatenate([start, rng.integers(3, 98, n)]) for n in (33, 13)] + [
        rng.integers(3, 98, 29)
    ]


@pytest.mark.parametrize("page", [1, 4, 16])
@pytest.mark.parametrize("world", WORLDS)
def test_steps_equal_the_textbook_graph(world, page, tmp_path):
    """Prefill in chunks, decode, mixed, padded; pages shuffled, spoilt, gone from windows."""
    plugin, config, given = WORLDS[world]
    drawn(tmp_path, config)
    model = textbook(plugin(), tmp_path, **given)
    want_TV = packed_logits(model, prompts())
    model = paged(model, page)
    pool = Pool(model, session(model), prompts(), pages=160, longest=48)
    pool.step((0, 9))
    pool.step((0, 3), (1, 6), padding=2)
    pool.step((0, 1), (1, 3), (2, 4))
    pool.step((0, 1), (1, 1), (2, 7), padding=1)
    pool.step((0, 17), (1, 5))
    for _ in range(6):
        pool.step((0, 1), (1, 1), (2, 3))
    assert [len(rows) for rows in pool.logits] == [37, 21, 29]
    start = 0
    for sequence, rows in zip(prompts(), pool.logits, strict=True):
        for position, got_V in rows.items():
            assert distance(got_V, want_TV[start + position]) < DISTANCE
        start += len(sequence)


def test_prefix_pages_are_shared(tmp_path):
    """A sequence that starts with another's pages goes on as if it had computed them."""
    plugin, config, _ = WORLDS["full"]
    drawn(tmp_path, config)
    model = textbook(plugin(), tmp_path)
    want_TV = packed_logits(model, prompts()[:2])[len(prompts()[0]) :]
    model = paged(model)
    pool = Pool(model, session(model), prompts()[:2])
    pool.step((0, 11))
    pool.share(0, by=1, pages=2)
    pool.step((0, 1), (1, 5))
    pool.step((0, 3), (1, 1))
    assert list(pool.logits[1]) == list(range(8, 14))
    for position, got_V in pool.logits[1].items():
        assert distance(got_V, want_TV[position]) < DISTANCE


def test_layers_of_one_window_are_a_group(tmp_path):
    """Groups, inputs, outputs and metadata are those of the conventions."""
    plugin, config, _ = WORLDS["softcap, both kinds of layers"]
    drawn(tmp_path, config)
    model = textbook(plugin(), tmp_path)
    before = len(model.graph)
    paged(model, 8)
    assert len(model.graph) == before
    kinds = [node.op_type for node in model.graph]
    assert kinds.count("PagedAttention") == 2 and kinds.count("Attention") == 0
    assert json.loads(model.metadata_props["ingot.cache_groups"]) == [
        {
            "name": "window6", "kind": "window", "page_tokens": 8, "window": 6, "sharded": True,
            "tensors": ["cache_k0_PGWK", "cache_v0_PGWK"],
        },
        {
            "name": "full", "kind": "paged", "page_tokens": 8, "window": 0, "sharded": True,
            "tensors": ["cache_k1_PGWK", "cache_v1_PGWK"],
        },
    ]  # fmt: skip
    assert [value.name for value in model.graph.inputs][4:] == [
        "pages0_SM", "cells0_T", "cache_k0_PGWK", "cache_v0_PGWK",
        "pages1_SM", "cells1_T", "cache_k1_PGWK", "cache_v1_PGWK",
    ]  # fmt: skip
    assert [value.name for value in model.graph.outputs] == [
        "logits_NV", "new_k0_PGWK", "new_v0_PGWK", "new_k1_PGWK", "new_v1_PGWK",
    ]  # fmt: skip
    held = {value.name: value for value in model.graph.inputs}
    assert held["pages1_SM"].dtype == held["cells0_T"].dtype == ir.DataType.INT32
    assert str(held["cache_k1_PGWK"].shape) == "[P,2,8,16]"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_caches_have_the_dtype_of_keys(dtype):
    """The graph is legal ONNX in every dtype, and caches are as wide as what they hold."""
    plugin, checkpoint = tiny()
    model = paged(plugin.graph(plan_of(checkpoint, dtype=dtype), checkpoint))
    for tensor in (value.const_value for value in model.graph.initializers.values()):
        tensor.numpy = lambda tensor=tensor: np.zeros(tensor.shape, tensor.dtype.numpy())
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    word = {"float32": "FLOAT"}.get(dtype, dtype.upper())
    caches = [v for v in (*model.graph.inputs, *model.graph.outputs) if "PGWK" in v.name]
    assert len(caches) == 8 and {value.dtype.name for value in caches} == {word}


def numpy_attention(q, k, v, caches, pages, cells, positions, sequences, slopes, sinks, attributes):
    """One token, one head at a time; nothing unseen is touched."""
    heads, groups, window = (attributes[name] for name in ("heads", "groups", "window"))
    new_k, new_v = (cache.copy() for cache in caches)
    W, K = new_k.shape[2:]
    for token, cell in enumerate(cells):
        new_k[cell // W, :, cell % W] = k[token].reshape(groups, K)
        new_v[cell // W, :, cell % W] = v[token].reshape(groups, K)
    y = np.zeros((len(q), heads, K))
    for token, position in enumerate(positions):
        first = max(0, position - window + 1) if window else 0
        seen = np.arange(first, position + 1)
        where = pages[sequences[token], seen // W], seen % W
        for head in range(heads):
            group = head // (heads // groups)
            keys, values = (c[where[0], group, where[1]].astype(float) for c in (new_k, new_v))
            score = attributes["scale"] * (keys @ q[token].reshape(heads, K)[head].astype(float))
            if cap := attributes["softcap"]:
                score = cap * np.tanh(score / cap)
            score = np.append(score + slopes[head] * (seen - position), sinks[head])
            weight = np.exp(score - score.max())
            y[token, head] = (weight / weight.sum())[:-1] @ values
    return y.reshape(len(q), heads * K), new_k, new_v


def op_model(attributes, dtypes, shapes):
    """A graph of one ingot::PagedAttention."""
    function = paged_attention()
    inputs = [
        ir.val(value.name, dtype, shape)
        for value, dtype, shape in zip(function.inputs, dtypes, shapes, strict=True)
    ]
    node = ir.node(
        "PagedAttention", inputs, attributes, domain="ingot", num_outputs=3, name="attention"
    )
    for output, like in zip(node.outputs, (inputs[0], *inputs[3:5]), strict=True):
        output.name, output.type, output.shape = f"new_{like.name}", like.type, like.shape
    graph = ir.Graph(
        inputs, node.outputs, nodes=[node], opset_imports={"": 24, "ingot": 1}, name="one"
    )
    return ir.Model(graph, ir_version=11, functions=[function])


@pytest.mark.parametrize(("window", "softcap"), [(0, 0.0), (5, 0.0), (0, 2.0), (3, 1.5)])
def test_function_equals_numpy(window, softcap):
    """Window, softcap, slopes, sinks, groups; every cell that nobody may see is not a number."""
    rng = np.random.default_rng(window)
    heads, groups, K, W, P, M, lengths, steps = 6, 2, 8, 4, 23, 5, (18, 7, 1), (5, 3, 1)
    attributes = {
        "heads": heads, "groups": groups, "scale": 0.3, "softcap": softcap, "window": window,
    }  # fmt: skip
    pages = rng.permutation(np.arange(1, P))[: 3 * M].reshape(3, M)
    caches = [np.full((P, groups, W, K), np.nan, np.float32) for _ in "kv"]
    positions, sequences = [], []
    for sequence, (length, step) in enumerate(zip(lengths, steps, strict=True)):
        for position in range(length - step):
            for cache in caches:
                row = rng.normal(size=(groups, K))
                cache[pages[sequence, position // W], :, position % W] = row
        positions += range(length - step, length)
        sequences += [sequence] * step
    T, positions, sequences = len(positions), np.array(positions), np.array(sequences)
    cells = pages[sequences, positions // W] * W + positions % W
    q, k, v = (rng.normal(size=(T, n * K)).astype(np.float32) for n in (heads, groups, groups))
    slopes = rng.uniform(0, 0.5, heads).astype(np.float32)
    sinks = np.array([-np.inf, 0.5, 2, -1, -np.inf, 0], np.float32)
    arrays = [q, k, v, *caches, pages, cells, positions, sequences, slopes, sinks]
    arrays = [a.astype(np.int32) if a.dtype == np.int64 else a for a in arrays]
    model = op_model(
        attributes, [ir.DataType.from_numpy(a.dtype) for a in arrays], [a.shape for a in arrays]
    )
    feed = {value.name: a for value, a in zip(model.graph.inputs, arrays, strict=True)}
    y, new_k, new_v = session(model).run(None, feed)
    want, want_k, want_v = numpy_attention(
        q, k, v, caches, pages, cells, positions, sequences, slopes, sinks, attributes
    )
    np.testing.assert_array_equal(new_k, want_k)
    np.testing.assert_array_equal(new_v, want_v)
    np.testing.assert_allclose(y, want, atol=1e-5)


def test_function_rounds_once():
    """In bfloat16 the sums are float32's: y is the float32 result, rounded."""
    rng, to = np.random.default_rng(3), ml_dtypes.bfloat16
    attributes = {"heads": 2, "groups": 1, "scale": 0.5, "softcap": 0.0, "window": 0}
    q, k, v = (rng.normal(size=(6, n)).astype(to) for n in (16, 8, 8))
    cache = np.zeros((3, 1, 4, 8), to)
    integers = [np.array(a, np.int32) for a in ([[2, 1]], [8, 9, 10, 11, 4, 5], range(6), [0] * 6)]
    floats = [np.zeros(2, np.float32), np.full(2, -np.inf, np.float32)]
    wide = [q, k, v, cache, cache, *integers, *floats]
    got = {}
    for dtype in (to, np.float32):
        arrays = [a.astype(dtype) if a.dtype == to else a for a in wide]
        model = op_model(
            attributes, [ir.DataType.from_numpy(a.dtype) for a in arrays], [a.shape for a in arrays]
        )
        proto = ir.to_proto(model)
        feed = {i.name: a for i, a in zip(model.graph.inputs, arrays, strict=True)}
        if dtype == to:
            got[dtype] = onnx.reference.ReferenceEvaluator(proto).run(None, feed)[0]
        else:
            run = onnxruntime.InferenceSession(proto.SerializeToString()).run
            got[dtype] = run(None, feed)[0]
    assert got[to].dtype == to
    np.testing.assert_allclose(
        got[to].astype(np.float32), got[np.float32].astype(to).astype(np.float32), rtol=2**-7
    )


@pytest.mark.parametrize("page", [0, -1, 1025])
def test_page_out_of_range(page):
    """A page size that cannot be is refused with the range."""
    with pytest.raises(ConfigError, match=rf"attention\.page={page}: it must be from 1 to 1024"):
        Paged(page=page)


def test_graph_without_attention_is_not_modified():
    """Where there is no ingot::Attention, the pass says that it did nothing."""
    x = ir.val("x_TD", ir.DataType.FLOAT, ["T", 4])
    node = ir.node("Relu", [x], outputs=[ir.val("y_TD")])
    graph = ir.Graph([x], node.outputs, nodes=[node], opset_imports={"": 24}, name="g")
    assert not Paged(page=16).passes(None)[0](ir.Model(graph, ir_version=11)).modified


def test_keys_without_a_width():
    """A layer whose keys have no known width is refused by the name of its keys."""
    plugin, checkpoint = tiny()
    model = plugin.graph(plan_of(checkpoint), checkpoint)
    with pytest.raises(PlanError, match=r"2 heads of layers\.0\.attention\.k_rotated_T"):
        Paged(page=16).passes(None)[0](model)

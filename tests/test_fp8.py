"""quant=fp8: the scheme against numpy, the graph through onnxruntime, every refusal."""

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common
import pytest
import tokenizers
from checkpoints import drawn, packed_logits, plan_of, preset, session, textbook, tiny
from onnxscript.rewriter import RewriteRule, RewriteRuleSet
from transformers import MixtralConfig

from core import shapes, weights
from core.command import ConfigError, PlanError
from core.journal import Journal
from core.recipes import Weight
from core.report import Report
from plugins.quant.fp8 import Activations, Fp8, Weights

E4M3 = ml_dtypes.float8_e4m3fn
SCHEMES = [(w, a) for w in Weights for a in Activations]
SHAPE = dict(
    vocab_size=101,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=128,
)


def apply(plugin, model, typed=False) -> Report:
    """What the plugin's rewrites did to `model`, once it has types as the build gives them."""
    if not typed:
        shapes.infer(model)
    names, rule = plugin.passes(None)
    names.item(model)
    journal, report = Journal(model), Report(name="fp8", plugin="quant.fp8", required=True)
    made = RewriteRule(rule.pattern, rule.rewrite, rule.check, name=rule.name)
    RewriteRuleSet([journal.watch(made)]).apply_to_model(model)
    journal.fill(report)
    common.RemoveUnusedNodesPass()(model)
    return report


def products(x_dtype=np.float32, shapes=((48, 32), (24, 32)), arrays=None):
    """y{i}_TF = x_TD @ w{i}_FDᵀ for each shape, over one x."""
    rng = np.random.default_rng(0)
    dtype = ir.DataType.from_numpy(np.dtype(x_dtype))
    x = ir.val("x_TD", dtype, ["T", shapes[0][1]])
    nodes, held, outputs = [], [], []
    for i, shape in enumerate(shapes):
        array = (rng.normal(size=shape) / 4).astype(x_dtype) if arrays is None else arrays[i]
        w = ir.val(f"w{i}_FD", const_value=weights.constant(array, f"w{i}_FD"))
        turn = ir.node("Transpose", [w], {"perm": [1, 0]}, outputs=[ir.val(f"w{i}_DF")])
        y = ir.val(f"y{i}_TF", dtype, ["T", shape[0]])
        nodes += [turn, ir.node("MatMul", [x, turn.outputs[0]], outputs=[y])]
        held.append(w)
        outputs.append(y)
    graph = ir.Graph(
        [x], outputs, nodes=nodes, initializers=held, opset_imports={"": 24}, name="products"
    )
    return ir.Model(graph, ir_version=11)


def rounded(x, scale):
    """`x` through e4m3 by ml_dtypes."""
    return np.clip(x / scale, -448, 448).astype(E4M3).astype(np.float32) * scale


def scale_of(x, axis):
    """One scale a row with axis=1, one for all with axis=None."""
    largest = np.abs(x).max(axis=axis, keepdims=axis is not None)
    return np.maximum(largest / np.float32(448), np.float32(1e-12))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_weights_that_are_no_numbers(wrong, dtype):
    """A weight with an infinity is refused by name, when it is read and not before."""
    arrays = [np.ones((48, 32), dtype), np.ones((24, 32), dtype)]
    arrays[1][2, 5] = wrong
    model = products(dtype, arrays=arrays)
    apply(Fp8(skip=[]), model)
    model.graph.initializers["w0.codes_FD"].const_value.numpy()
    with pytest.raises(PlanError, match=r"w1_FD holds an infinity .* add w1_FD to quant\.skip"):
        model.graph.initializers["w1.codes_FD"].const_value.numpy()


@pytest.mark.parametrize(("kind", "activations"), SCHEMES)
def test_products_equal_numpy(kind, activations):
    """onnxruntime runs the rewritten graph to what numpy makes of the scheme, zero tokens too."""
    model = products()
    held = [value.const_value.numpy() for value in model.graph.initializers.values()]
    apply(Fp8(weights=kind, activations=activations, skip=[]), model)
    x_TD = np.random.default_rng(2).normal(size=(5, 32)).astype(np.float32)
    x_TD[2], x_TD[3], x_TD[4, 0] = 0, x_TD[3] * 1e-20, 3e4
    got = session(model).run(None, {"x_TD": x_TD})
    if activations is Activations.token:
        x_TD = rounded(x_TD, scale_of(x_TD, 1))
    for y_TF, w_FD in zip(got, held, strict=True):
        w_FD = rounded(w_FD, scale_of(w_FD, 1 if kind is Weights.channel else None))
        want_TF = x_TD.astype(np.float64) @ w_FD.T
        np.testing.assert_allclose(y_TF, want_TF, rtol=1e-5, atol=1e-6 * np.abs(want_TF).max())


def test_products_of_one_input_share_its_codes():
    """q, k, v, and gate, up read one quantized input: 4 in a layer of 7 products."""
    plugin, checkpoint = tiny()
    model = plugin.graph(plan_of(checkpoint), checkpoint)
    report = apply(Fp8(), model)
    kinds = [node.op_type for node in model.graph]
    layers = checkpoint.config["num_hidden_layers"]
    assert kinds.count("QuantizeLinear") == 4 * layers == len(report.rewritten) * 4 // 7
    assert [why for _, why in report.refused] == [
        "head_VD keeps its precision: quant.skip has head_VD"
    ]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("kind", "activations"), SCHEMES)
def test_rewritten_graph_is_legal(dtype, kind, activations, monkeypatch):
    """No weight is read; ONNX infers a type and shape for all values; activations keep theirs."""
    plugin, checkpoint = tiny()
    model = plugin.graph(plan_of(checkpoint, dtype=dtype), checkpoint)
    shapes.infer(model)
    before = {v.name: (v.dtype, str(v.shape)) for n in model.graph for v in n.outputs}

    def read(weight, start, stop):
        raise AssertionError(f"{weight.name} was read")

    monkeypatch.setattr(Weight, "read", read)
    apply(Fp8(weights=kind, activations=activations), model, typed=True)
    monkeypatch.undo()
    held = {name: value.const_value for name, value in model.graph.initializers.items()}
    codes, scale = (held[f"layers.1.ffn.{name}"] for name in (
        "down.codes_DF", "down.scale_D" if kind is Weights.channel else "down.scale"
    ))  # fmt: skip
    assert (codes.dtype, list(codes.shape)) == (ir.DataType.FLOAT8E4M3FN, [64, 176])
    assert scale.dtype == ir.DataType.FLOAT
    assert list(scale.shape) == ([64] if kind is Weights.channel else [])
    for tensor in held.values():  # random numbers need the compiled library; zeros do here
        tensor.numpy = lambda tensor=tensor: np.zeros(tensor.shape, tensor.dtype.numpy())
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    shapes.infer(model)
    for node in model.graph:
        for value in node.outputs:
            assert value.dtype is not None and value.shape is not None, value.name
            if value.name in before:
                assert (value.dtype, str(value.shape)) == before[value.name]


def test_siblings_are_written_from_one_reading():
    """Codes and scales stream together; per channel, in parts of rows."""
    model = products()
    apply(Fp8(skip=[], activations=Activations.none), model)
    held = model.graph.initializers
    [codes, scale] = (held[f"w0.{part}"].const_value for part in ("codes_FD", "scale_F"))
    assert codes.recipe == "fp8(constant(float32, [48, 32], sha256=" + codes.recipe[39:]
    assert codes.recipe.endswith("scale=channel)[0]") and not codes.whole
    parts = []
    weights.write([codes, scale], lambda w, start, rows: parts.append((w.name, start)), 2000)
    assert len(parts) > 4 and parts[:2] == [("w0.codes_FD", 0), ("w0.scale_F", 0)]


def test_tensor_scales_read_all_of_a_weight():
    """One scale for a tensor is known only when all of it has been read."""
    model = products()
    apply(Fp8(skip=[], weights=Weights.tensor), model)
    assert model.graph.initializers["w0.codes_FD"].const_value.whole


def test_skip_is_an_ordered_list():
    """The last pattern that matches decides, and `!` takes back."""
    plugin, checkpoint = tiny()
    model = plugin.graph(plan_of(checkpoint), checkpoint)
    report = apply(Fp8(skip=["*", "!layers.*.ffn.*", "layers.0.ffn.down_DF"]), model)
    assert [name for name, _ in report.rewritten] == [
        "layers.0.ffn.gate_TF", "layers.0.ffn.up_TF",
        "layers.1.ffn.gate_TF", "layers.1.ffn.up_TF", "layers.1.ffn.down_TD",
    ]  # fmt: skip
    reasons = dict(report.refused)
    assert reasons["layers.1.attention.q_TF"].endswith("keeps its precision: quant.skip has *")
    assert reasons["layers.0.ffn.down_TD"].endswith("quant.skip has layers.0.ffn.down_DF")


def test_pattern_that_matches_nothing():
    """A pattern without a weight is an error with the nearest names, each pattern a sentence."""
    plugin, checkpoint = tiny()
    model = plugin.graph(plan_of(checkpoint), checkpoint)
    with pytest.raises(ConfigError) as caught:
        apply(Fp8(skip=["head_DV", "head_VD", "!layers.7.*"]), model)
    first, second = str(caught.value).splitlines()
    assert first.startswith(
        "quant.skip: head_DV matches no weight of a product (nearest of 15: head_VD, "
    )
    assert second.startswith("quant.skip: !layers.7.* matches no weight")


def test_a_pattern_that_is_no_text():
    """A list within the list is told when the plugin is made."""
    with pytest.raises(ConfigError, match=r"quant\.skip=\[\['a'\]\]: write a list of names"):
        Fp8(skip=[["a"]])


def test_tied_head_is_refused():
    """A table that is both embedding and head keeps its precision, whatever `skip` says."""
    plugin, checkpoint = tiny(tie_word_embeddings=True)
    model = plugin.graph(plan_of(checkpoint), checkpoint)
    report = apply(Fp8(skip=[]), model)
    assert [why for _, why in report.refused] == [
        "head_VD is also read by Gather embedding_TD, so both forms would be kept"
    ]


def refusals(model):
    return [why for _, why in apply(Fp8(skip=[]), model).refused]


def test_narrow_weights_are_refused():
    """Fewer than 16 rows or columns stay as they are."""
    model = products(shapes=((15, 32), (16, 32)))
    assert refusals(model) == ["w0_FD is [15, 32], narrower than 16"]


def test_computed_weights_are_refused():
    """A right side that is no constant stays as it is."""
    model = products()
    w = model.graph.initializers.pop("w0_FD")
    w.const_value = None
    w.type, w.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([48, 32])
    model.graph.inputs.append(w)
    assert refusals(model) == ["w0_FD is not a constant"]


def test_experts_are_a_conflict(tmp_path):
    """Experts would stay in full precision without a word, so the build stops."""
    config = MixtralConfig(**SHAPE, num_local_experts=5, num_experts_per_tok=2)
    drawn(tmp_path, config)
    model = textbook(preset("mixtral"), tmp_path)
    with pytest.raises(PlanError, match="are Experts_silu, whose weights it does not reach"):
        apply(Fp8(), model)


# Measured on tiny-llama: the change of perplexity, and the distance of logits: the root of their
# mean squared difference over their standard deviation.
MEASURED = {
    (Weights.channel, Activations.token): (+0.0012, 0.060),
    (Weights.channel, Activations.none): (-0.0034, 0.042),
    (Weights.tensor, Activations.token): (+0.0033, 0.059),
    (Weights.tensor, Activations.none): (-0.0025, 0.041),
}


def negative_log_likelihood(logits_TV, sequences) -> float:
    """The mean over all tokens but the first of each sequence."""
    parts, start = [], 0
    for sequence in sequences:
        rows = logits_TV[start : start + len(sequence) - 1].astype(np.float64)
        top = rows.max(1, keepdims=True)
        rows -= top + np.log(np.exp(rows - top).sum(1, keepdims=True))
        parts.append(-rows[np.arange(len(rows)), sequence[1:]])
        start += len(sequence)
    return float(np.concatenate(parts).mean())


@pytest.mark.parametrize("scheme", MEASURED, ids=lambda s: f"{s[0].name}-{s[1].name}")
def test_built_in_model_keeps_its_quality(scheme, tiny_llama, heldout):
    """On 8 pieces of 128 tokens of the held-out text, in float32 by onnxruntime."""
    tokenizer = tokenizers.Tokenizer.from_file(str(tiny_llama / "tokenizer.json"))
    ids = np.array(tokenizer.encode(heldout.read_text()[:60_000]).ids)
    sequences = list(ids[: 8 * 128].reshape(8, 128))
    plain_TV = packed_logits(textbook(preset("llama2"), tiny_llama), sequences)
    model = textbook(preset("llama2"), tiny_llama)
    apply(Fp8(weights=scheme[0], activations=scheme[1]), model)
    got_TV = packed_logits(model, sequences)
    plain, got = (negative_log_likelihood(x_TV, sequences) for x_TV in (plain_TV, got_TV))
    change = np.exp(got - plain) - 1
    far = np.sqrt(np.mean((got_TV - plain_TV) ** 2)) / plain_TV.std()
    print(f"{scheme}: perplexity {np.exp(plain):.4f}, {change:+.4f}; distance {far:.4f}")
    assert abs(change) < 0.01
    assert 0 < far < 1.3 * MEASURED[scheme][1]

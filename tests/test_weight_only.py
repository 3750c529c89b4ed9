"""quant=int8_wo and int4_wo: codes against numpy, graphs through onnxruntime, engines, refusals.

T tokens, D width in, F width out, N groups of a row.
"""

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import tokenizers
from checkpoints import packed_logits, plan_of, preset, textbook, tiny
from test_fp8 import negative_log_likelihood, products

from core import Engine, passes, shapes, spec
from core.command import ConfigError, PlanError
from core.recipes import Weight
from plugins.attention.paged import Paged
from plugins.engine.cpu import Cpu
from plugins.quant.int4_wo import Int4Wo
from plugins.quant.int8_wo import Int8Wo

BF16 = np.dtype(ml_dtypes.bfloat16)
SCHEMES = {
    "int8": Int8Wo(skip=[]),
    "int8 zero points": Int8Wo(zero_point=True, skip=[]),
    "int8 groups": Int8Wo(group=8, skip=[]),
    "int4": Int4Wo(group=16, skip=[]),
    "int4 zero points": Int4Wo(group=16, zero_point=True, skip=[]),
    "int4 rows": Int4Wo(group=0, zero_point=True, skip=[]),
}
every_scheme = pytest.mark.parametrize("scheme", SCHEMES)


def exact_session(model):
    """onnxruntime without its own fusions: one of them quantizes x where a weight is int8."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options)


def quantized(plugin, model):
    """The report of the plugin's rewrite."""
    shapes.infer(model)
    return [passes.run(item, model, "quant") for item in plugin.passes(None)][-1]


def reference(w_FD, plugin, scale_dtype):
    """What the weight is after rounding to nearest, group by group, in float64 after the scale."""
    bits, zero_point = (8 if isinstance(plugin, Int8Wo) else 4), plugin.zero_point
    group = plugin.group or w_FD.shape[1]
    made = np.empty(w_FD.shape)
    for f, row in enumerate(w_FD.astype(np.float32)):
        for first in range(0, len(row), group):
            w = row[first : first + group]
            low, high = min(w.min(), 0), max(w.max(), 0)
            steps = np.float32(2**bits - 1 if zero_point else 2 ** (bits - 1) - 1)
            size = high - low if zero_point else max(high, -low)
            scale = float(np.float32(size / steps).astype(scale_dtype)) or 1.0
            zero = np.clip(np.rint(-low / scale), 0, 2**bits - 1) if zero_point else 0
            least, greatest = (0, 2**bits - 1) if zero_point else (-steps, steps)
            q = np.clip(np.rint(w.astype(np.float64) / scale) + zero, least, greatest)
            made[f, first : first + group] = (q - zero) * scale
    return made


def decoded(model, name="w0"):
    """The weight that a quantized graph holds, by its parts."""
    held = {key: value.const_value.numpy() for key, value in model.graph.initializers.items()}
    codes = held[f"{name}.codes_FD"].astype(np.float64)
    scale = held.get(f"{name}.scale_FN", held.get(f"{name}.scale_F")).astype(np.float64)
    scale = scale.reshape(len(codes), -1)
    zero = held.get(f"{name}.zero_FN", np.zeros(scale.shape)).astype(np.float64)
    each = codes.shape[1] // scale.shape[1]
    return (codes - np.repeat(zero, each, 1)) * np.repeat(scale, each, 1)


@every_scheme
@pytest.mark.parametrize("dtype", [np.float32, np.float16, BF16], ids=str)
def test_codes_are_the_nearest(scheme, dtype):
    """Each code is the nearest for its group's scale; groups of zeros stay zeros."""
    rng, plugin = np.random.default_rng(0), SCHEMES[scheme]
    w_FD = (rng.normal(size=(48, 32)) * rng.uniform(0.01, 1, (48, 1))).astype(dtype)
    w_FD[3, :16], w_FD[4], w_FD[5] = 0, 0, np.abs(w_FD[5])
    model = products(dtype, shapes=((48, 32),), arrays=[w_FD])
    quantized(plugin, model)
    got, by_row = decoded(model), scheme == "int8"
    want = reference(w_FD, plugin, np.float32 if by_row else dtype)
    # A number in the middle of two codes may fall to either side where the quotient is rounded.
    step = np.abs(got - want) > 1e-6
    assert step.mean() < 0.01
    np.testing.assert_array_equal(got[3, :16], 0 * got[3, :16])
    np.testing.assert_array_equal(got[4], 0 * got[4])
    limit = np.abs(w_FD.astype(np.float64)).max(1, keepdims=True) / (7 if "int4" in scheme else 127)
    assert np.all(np.abs(got - w_FD.astype(np.float64)) <= 1.05 * limit)


@every_scheme
def test_onnxruntime_multiplies_the_same(scheme):
    """By its DequantizeLinear, the rewritten graph gives the products that numpy makes."""
    model = products()
    quantized(SCHEMES[scheme], model)
    x_TD = np.random.default_rng(2).normal(size=(5, 32)).astype(np.float32)
    got = exact_session(model).run(None, {"x_TD": x_TD})
    for name, y_TF in zip(("w0", "w1"), got, strict=True):
        want_TF = x_TD.astype(np.float64) @ decoded(model, name).T
        np.testing.assert_allclose(y_TF, want_TF, rtol=1e-5, atol=1e-5)


def lowered(plugin):
    """The graph of a tiny llama of three layers, quantized, paged and fused; no weight is read."""
    model, checkpoint = tiny(num_hidden_layers=3)
    built = spec.verify(model.graph(plan_of(checkpoint), checkpoint), after="graph")
    for item in [*plugin.passes(None), *Paged(page=16).passes(None), *Cpu().passes(None, 0)]:
        built = passes.run(item, built, "test").model
    return built


@every_scheme
def test_layer_of_llama(scheme, monkeypatch):
    """A layer is 11 ops, q, k, v and gate, up one product each, whose weights are put together."""

    def read(weight, start, stop, plain=Weight.read):
        assert weight.recipe.startswith("constant("), f"{weight.name} was read"
        return plain(weight, start, stop)

    monkeypatch.setattr(Weight, "read", read)
    built = lowered(SCHEMES[scheme])
    kind = "ScaledLinear" if scheme == "int8" else "GroupedLinear"
    assert [node.op_type for node in built.graph][12:23] == [
        "AddRmsNorm", kind, "Split", "Rotate", "Rotate", "PagedAttention", kind, "AddRmsNorm",
        kind, "Gate", kind,
    ]  # fmt: skip
    held = {n: v.const_value for n, v in built.graph.initializers.items() if "layers.1.ffn" in n}
    codes, scale = held["layers.1.ffn.gate_up.codes_FD"], "layers.1.ffn.gate_up.scale_F"
    assert list(codes.shape) == [352, 64]
    if kind == "GroupedLinear":
        groups = 64 // (SCHEMES[scheme].group or 64)
        assert (held[f"{scale}N"].dtype, list(held[f"{scale}N"].shape)) == (
            ir.DataType.BFLOAT16, [352, groups],
        )  # fmt: skip
        zero = held.get("layers.1.ffn.gate_up.zero_FN")
        assert (zero is not None) == SCHEMES[scheme].zero_point
        assert zero is None or (zero.dtype, list(zero.shape)) == (ir.DataType.INT8, [352, groups])


def test_onnx_knows_the_op():
    """onnx's checker takes the fused graph; its functions' bodies are standard ONNX."""
    built = lowered(SCHEMES["int4 zero points"])
    for value in built.graph.initializers.values():
        tensor = value.const_value
        if tensor.dtype != ir.DataType.INT64:
            zeros = np.zeros(tensor.shape, tensor.dtype.numpy())
            value.const_value = ir.tensor(zeros, name=value.name, dtype=tensor.dtype)
    onnx.checker.check_model(ir.to_proto(built), full_check=True)
    [body] = [f for f in built.functions.values() if f.name == "GroupedLinear"][:1]
    assert "DequantizeLinear" in [node.op_type for node in body]


# What a bfloat16 engine adds to the mean negative log-likelihood of 8 pieces of 128 tokens of the
# held-out text, as measured.
MEASURED = {
    "int8": (["quant=int8_wo"], -0.0003),
    "int8 zero points": (["quant=int8_wo", "quant.zero_point=true"], 0.0007),
    "int4": (["quant=int4_wo"], 0.0645),
    "int4 zero points": (["quant=int4_wo", "quant.zero_point=true"], 0.0727),
}


@pytest.mark.parametrize("scheme", MEASURED)
def test_engines_keep_their_quality(scheme, build, tiny_llama, heldout, monkeypatch):
    """A float32 engine gives onnxruntime's logits; a bfloat16 one loses what was measured."""
    monkeypatch.setattr("checkpoints.session", exact_session)
    words, loss = MEASURED[scheme]
    tokenizer = tokenizers.Tokenizer.from_file(str(tiny_llama / "tokenizer.json"))
    ids = np.array(tokenizer.encode(heldout.read_text()[:60_000]).ids)
    sequences = list(ids[: 8 * 128].reshape(8, 128))
    before = negative_log_likelihood(
        packed_logits(textbook(preset("llama2"), tiny_llama), sequences), sequences
    )
    model = textbook(preset("llama2"), tiny_llama)
    cls = Int8Wo if "int8" in scheme else Int4Wo
    quantized(cls(zero_point="zero" in scheme), model)
    want_TV = packed_logits(model, sequences[:2])
    where = ["model=llama2", f"checkpoint={tiny_llama}", *words]
    with Engine(build(*where, "dtype=float32")) as engine:
        got_TV = np.concatenate([engine.logits(s) for s in sequences[:2]])
    assert np.abs(got_TV - want_TV).max() / want_TV.std() < 1e-4  # the order of summation
    with Engine(build(*where)) as engine:
        got_TV = np.concatenate([engine.logits(s) for s in sequences])
    after = negative_log_likelihood(got_TV, sequences)
    assert abs(after - before - loss) < 0.005  # bfloat16 activations


def test_groups_that_do_not_fit():
    """A size that does not divide a width is refused before a weight is read, with what would."""
    model = products(shapes=((48, 40), (24, 40)))
    with pytest.raises(ConfigError) as caught:
        quantized(Int4Wo(group=16, skip=[]), model)
    assert str(caught.value) == (
        "quant.group=16 does not divide the rows of 40 of w0_FD and 1 more; choose 8, "
        "0 (one group a row), or add it to quant.skip"
    )
    quantized(Int4Wo(group=16, skip=["w0_FD", "w1_FD", "!w1_FD"]), products(shapes=((48, 32),) * 2))


def test_odd_rows_of_half_bytes():
    """int4 wants rows of whole bytes, and int8 does not."""
    with pytest.raises(ConfigError, match=r"has rows of 33, .* whole bytes .* quant=int8_wo"):
        quantized(Int4Wo(group=0, skip=[]), products(shapes=((48, 33),)))
    assert quantized(Int8Wo(skip=[]), products(shapes=((48, 33),))).rewritten


@pytest.mark.parametrize("group", [-1, 1])
def test_groups_of_no_size(group):
    """A group has two weights at least."""
    with pytest.raises(ConfigError, match=f"quant.group is {group}; it is 0 .* or 2 or more"):
        Int8Wo(group=group).passes(None)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("plugin", [Int8Wo(skip=[]), Int4Wo(group=8, skip=[])], ids=type)
def test_weights_that_are_no_numbers(wrong, plugin):
    """A weight with an infinity is refused by name, when it is read."""
    array = np.ones((48, 32), np.float32)
    array[2, 5] = wrong
    model = products(shapes=((48, 32),), arrays=[array])
    quantized(plugin, model)
    with pytest.raises(PlanError, match=r"w0_FD holds an infinity.*add w0_FD to quant\.skip"):
        model.graph.initializers["w0.codes_FD"].const_value.numpy()

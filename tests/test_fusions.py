"""The CPU engine's rewrites: what they make of a layer, what they refuse, and that nothing changes.

T tokens, N rows that want logits, D width, F features out.
"""

import ml_dtypes
import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from checkpoints import plan_of, session, tiny
from onnx_ir.passes import common

from core import ops, optional, passes, spec
from core.recipes import Weight
from plugins.attention.paged import Paged
from plugins.engine.cpu import Cpu
from plugins.engine.interpreted.computed_shapes import ComputedShapes
from plugins.engine.interpreted.inlining import InlinedFunctions
from plugins.engine.interpreted.merging import GatedProduct, MergedProduct
from plugins.engine.interpreted.norms import SummedNorm
from plugins.engine.interpreted.products import LinearProduct, ProductBias, WeightScaledProduct
from plugins.engine.interpreted.quantization import QuantizedAtOnce, TokenQuantization
from plugins.engine.interpreted.rows import RowsEarlier
from plugins.quant.fp8 import Activations, Fp8, Weights

T, D, F = 7, 32, 48
E4M3 = ml_dtypes.float8_e4m3fn
RNG = np.random.default_rng(0)
x_TD = RNG.normal(size=(T, D)).astype(np.float32)
ARRAYS = {
    "w_FD": RNG.normal(size=(F, D)).astype(np.float32) / 6,
    "v_FD": RNG.normal(size=(F, D)).astype(np.float32) / 6,
    "n_D": RNG.normal(size=D).astype(np.float32),
    "b_F": RNG.normal(size=F).astype(np.float32),
    "c_F": RNG.normal(size=F).astype(np.float32),
    "one": np.array(1, np.float32),
    "codes_FD": RNG.normal(size=(F, D)).astype(E4M3),
    "more_FD": RNG.normal(size=(F, D)).astype(E4M3),
    "scale_F": RNG.random(F, np.float32),
    "scale": np.array(0.3, np.float32),
    "zero_F": np.zeros(F, E4M3),
    "axis": np.array([-1], np.int64),
    "most": np.array(448, np.float32),
    "least": np.array(1e-12, np.float32),
    "half": np.array([2, -1, 16], np.int64),
    "first": np.array(0, np.int64),
    "eight": np.array([8], np.int64),
    "wide": np.array([D], np.int64),
}
WD = "w_DF = Transpose <perm = [1, 0]> (w_FD)"
VD = "v_DF = Transpose <perm = [1, 0]> (v_FD)"
QUANTIZED = """
size_TD = Abs(x_TD)
most_T = ReduceMax <keepdims = 0> (size_TD, axis)
over_T = Div(most_T, most)
scale_T = Max(over_T, least)
"""


def model(body, output="y_TF", inputs="float[T, 32] x_TD", functions="", opsets='"" : 24'):
    """A graph of the nodes in `body`, one a line, over the arrays that it names."""
    lines = [line.strip() for line in body.strip().splitlines() if line.strip()]
    outputs = ", ".join(f"float[n{i}] {name}" for i, name in enumerate(output.split()))
    text = f"<ir_version: 11, opset_import: [{opsets}]> g ({inputs}) => ({outputs}) {{\n"
    proto = onnx.parser.parse_model(text + "\n".join(lines) + "\n}\n" + functions)
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")
    used = {name for node in proto.graph.node for name in node.input}
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in ARRAYS.items() if name in used
    )
    return spec.verify(ir.from_proto(proto), after="writing")


def run(built, *items):
    """The reports of these rewrites."""
    return [passes.run(optional(item), built, "engine.cpu") for item in items]


def kinds(built):
    return [node.op_type for node in built.graph]


def answers(built, **given):
    """What onnxruntime computes."""
    return session(built).run(None, {"x_TD": x_TD, **given})


def fused(body, *items, output="y_TF", **given):
    """(ops, report of the last item) of a graph whose results the rewrites do not change."""
    before, after = (model(body, output) for _ in range(2))
    report = run(after, *items)[-1]
    run(after, *Cpu().passes(None, 0)[-1:])  # the bodies of the fused ops
    want, got = answers(before, **given), answers(after, **given)
    for a, b in zip(want, got, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)
    return kinds(after), report


def refusals(report):
    assert not report.rewritten
    return [why for _, why in report.refused]


def unlikes(report):
    assert not report.rewritten and not report.refused
    return [why for _, why in report.unlike]


# A whole model.


def lowered(quant=None, **config):
    """The paged graph of a tiny llama, fused."""
    plugin, checkpoint = tiny(**config)
    built = spec.verify(plugin.graph(plan_of(checkpoint), checkpoint), after="graph")
    items = [*(quant.passes(None) if quant else []), *Paged(page=16).passes(None)]
    return passed(built, *items, *Cpu().passes(None, 0))


def passed(built, *items):
    for item in items:
        built = passes.run(item, built, "test").model
    return built


LAYERS = {
    "none": (
        None,
        "AddRmsNorm Linear Split Rotate Rotate PagedAttention Linear AddRmsNorm Linear Gate Linear",
    ),
    "fp8": (
        Fp8(),
        "AddRmsNormQuantize ScaledLinear Split Rotate Rotate PagedAttention QuantizeToken "
        "ScaledLinear AddRmsNormQuantize ScaledLinear GateQuantize ScaledLinear",
    ),
    "fp8 weights only": (
        Fp8(activations=Activations.none),
        "AddRmsNorm ScaledLinear Split Rotate Rotate PagedAttention ScaledLinear AddRmsNorm "
        "ScaledLinear Gate ScaledLinear",
    ),
}


@pytest.mark.parametrize("scheme", LAYERS)
def test_layer_of_llama(scheme):
    """A layer in the middle is 11 or 12 ops, its weights are few and large."""
    quant, layer = LAYERS[scheme]
    built = lowered(quant, num_hidden_layers=3)
    ops, size = kinds(built), len(layer.split())
    assert ops[size + 1 : 2 * size + 1] == layer.split()  # after the embedding and layer 0
    names = {n for n in built.graph.initializers if n.startswith("layers.1.") and "norm" not in n}
    parts = ("attention.qkv", "attention.out", "ffn.gate_up", "ffn.down")
    dims = ("FD", "DF", "FD", "DF")
    whole = {f"layers.1.{part}_{dim}" for part, dim in zip(parts, dims, strict=True)}
    if quant is not None:
        codes = {f"layers.1.{part}.codes_{d}" for part, d in zip(parts, dims, strict=True)}
        whole = codes | {f"layers.1.{p}.scale_{d[0]}" for p, d in zip(parts, dims, strict=True)}
    assert names == whole


@pytest.mark.parametrize("scheme", LAYERS)
def test_passes_read_no_weight(scheme, monkeypatch):
    """Fusing puts lazy tensors together and reads none; only constants that a rule wrote."""

    def read(weight, start, stop, plain=Weight.read):
        assert weight.recipe.startswith("constant("), f"{weight.name} was read"
        return plain(weight, start, stop)

    monkeypatch.setattr(Weight, "read", read)
    lowered(LAYERS[scheme][0])


def test_onnx_knows_the_fused_ops():
    """onnx's checker and inference follow the rows' schemas to the types that we find."""
    built = lowered(Fp8())
    for value in built.graph.initializers.values():  # checked are types, not random numbers
        tensor = value.const_value
        if tensor.dtype != ir.DataType.INT64:
            zeros = np.zeros(tensor.shape, tensor.dtype.numpy())
            value.const_value = ir.tensor(zeros, name=value.name)
    ops.register()
    proto = ir.to_proto(built)
    proto.graph.ClearField("value_info")
    onnx.checker.check_model(proto, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True).graph.value_info
    found = {value.name: value.type.tensor_type.elem_type for value in inferred}
    made = [value for node in built.graph for value in node.outputs if value.name in found]
    assert len(made) > 30
    assert {value.name: int(value.dtype) for value in made} == found


def test_last_layer_works_on_chosen_rows():
    """After the last attention every value has N rows, and only its two inputs are chosen from."""
    built = lowered(Fp8())
    nodes = list(built.graph)
    last = max(place for place, node in enumerate(nodes) if node.op_type == "PagedAttention")
    rows = {str(node.outputs[0].shape[0]) for node in nodes[last + 1 :]}
    assert rows == {"N"}
    assert kinds(built)[last + 1 :].count("Gather") == 2
    assert built.graph.outputs[0].name == "logits_NV"


def test_tensor_scales_are_repeated_where_products_merge():
    """Each part of a merged weight keeps its own scale, once for each of its rows."""
    built = lowered(Fp8(weights=Weights.tensor))
    scale = built.graph.initializers["layers.0.attention.qkv.scale_F"].const_value
    assert scale.shape == [128] and scale.recipe.count("repeat(") == 3
    assert built.graph.initializers["layers.0.ffn.down.scale"].const_value.shape == []


# Products.


def test_product_with_bias():
    """A product and the constant added to it are one op."""
    body = f"{WD}\np_TF = MatMul(x_TD, w_DF)\ny_TF = Add(p_TF, b_F)"
    ops, report = fused(body, LinearProduct(), ProductBias())
    assert ops == ["Linear"] and report.rewritten == [("y_TF", "bias of Linear")]


def test_what_is_no_bias():
    """One number for all columns is added by itself."""
    report = run(model(f"{WD}\np_TF = MatMul(x_TD, w_DF)\ny_TF = Add(p_TF, one)"),
                 LinearProduct(), ProductBias())[-1]  # fmt: skip
    assert refusals(report) == ["one is FLOAT [], not one per column"]


def test_products_of_one_input_are_one():
    """Two products, their biases with them, are one product and a Split."""
    body = f"""{WD}\n{VD}
    p_TF = MatMul(x_TD, w_DF)\nq_TF = MatMul(x_TD, v_DF)
    y_TF = Add(p_TF, b_F)\nz_TF = Add(q_TF, c_F)"""
    items = LinearProduct(), ProductBias(), MergedProduct()
    ops, report = fused(body, *items, output="y_TF z_TF")
    assert ops == ["Linear", "Split"]
    assert report.rewritten == [("y_TF", "yz_TF, one of 2 products")]


REFUSED_TOGETHER = {
    "bias": (
        f"""{WD}\n{VD}\np_TF = MatMul(x_TD, w_DF)\ny_TF = Add(p_TF, b_F)
        z_TF = MatMul(x_TD, v_DF)""",
        "of y_TF and z_TF only one has a bias",
    ),
    "precision": (
        f"""{WD}\ny_TF = MatMul(x_TD, w_DF)
        r_FD = DequantizeLinear <axis = 0> (codes_FD, scale_F)
        r_DF = Transpose <perm = [1, 0]> (r_FD)\nz_TF = MatMul(x_TD, r_DF)""",
        "y_TF and z_TF differ in precision: Linear of FLOAT and ScaledLinear of FLOAT8E4M3FN",
    ),
    "shared": (
        f"{WD}\ny_TF = MatMul(x_TD, w_DF)\nz_TF = MatMul(x_TD, w_DF)",
        "w_FD is also read elsewhere, so it would be kept twice",
    ),
}


@pytest.mark.parametrize("case", REFUSED_TOGETHER)
def test_products_that_stay_apart(case):
    """Products that differ are refused, each with the reason."""
    body, why = REFUSED_TOGETHER[case]
    built = model(body, "y_TF z_TF")
    items = WeightScaledProduct(), LinearProduct(), ProductBias(), MergedProduct()
    assert refusals(run(built, *items)[-1]) == [why, why]


def test_single_product_is_told():
    """A product without a companion is unlike the pattern."""
    report = run(model(f"{WD}\ny_TF = MatMul(x_TD, w_DF)"), LinearProduct(), MergedProduct())[-1]
    assert unlikes(report) == ["no other product reads x_TD"]


@pytest.mark.parametrize("scale", ["scale_F", "scale"])
def test_scaled_weights(scale):
    """Codes with a scale a row, or one for all, are multiplied as codes."""
    axis = "<axis = 0>" if scale == "scale_F" else ""
    body = f"""r_FD = DequantizeLinear {axis} (codes_FD, {scale})
    r_DF = Transpose <perm = [1, 0]> (r_FD)\ny_TF = MatMul(x_TD, r_DF)"""
    ops, _ = fused(body, WeightScaledProduct())
    assert ops == ["ScaledLinear"]


@pytest.mark.parametrize(
    ("node", "why"),
    [
        ("DequantizeLinear <axis = 0> (codes_FD, scale_F, zero_F)", "codes_FD has zero points"),
        (
            "DequantizeLinear <axis = 1> (codes_FD, wide_D)",
            "the scales of codes_FD are [32], neither one a row nor one for all",
        ),
    ],
)
def test_scales_that_are_not_covered(node, why, monkeypatch):
    """Zero points and scales by column keep the product as it is."""
    monkeypatch.setitem(ARRAYS, "wide_D", RNG.random(D, np.float32))
    body = f"r_FD = {node}\nr_DF = Transpose <perm = [1, 0]> (r_FD)\ny_TF = MatMul(x_TD, r_DF)"
    assert refusals(run(model(body), WeightScaledProduct())[-1]) == [why]


def test_computed_weights_are_no_linear():
    """A weight that is computed as it runs stays a MatMul."""
    report = run(model("v_DD = Transpose <perm = [1, 0]> (x_TD)\ny_TF = MatMul(x_TD, v_DD)"),
                 LinearProduct())[-1]  # fmt: skip
    assert refusals(report) == ["x_TD is computed as it runs, not a constant"]


# Gates.

GATE = f"{WD}\n{VD}\ng_TF = MatMul(x_TD, w_DF)\nu_TF = MatMul(x_TD, v_DF)\n"


@pytest.mark.parametrize(
    ("function", "word"),
    [
        ("Swish(g_TF)", "silu"),
        ("Gelu(g_TF)", "gelu"),
        ('Gelu <approximate = "tanh"> (g_TF)', "gelu_tanh"),
        ("Relu(g_TF)", "relu"),
    ],
)
@pytest.mark.parametrize("product", ["Mul(a_TF, u_TF)", "Mul(u_TF, a_TF)"])
def test_gates(function, word, product):
    """Two products, an activation function and their product are one product and a Gate."""
    body = f"{GATE}a_TF = {function}\ny_TF = {product}"
    ops, report = fused(body, LinearProduct(), GatedProduct())
    assert ops == ["Linear", "Gate"]
    assert report.rewritten == [("y_TF", "ingot::Gate of one Linear")]


@pytest.mark.parametrize(
    ("body", "output", "why"),
    [
        (f"{GATE}a_TF = Relu(g_TF)\ny_TF = Mul(a_TF, u_TF)", "y_TF g_TF",
         "g_TF is an output of the graph"),
        (f"{GATE}a_TF = Relu(g_TF)\ny_TF = Mul(a_TF, u_TF)\nz_TF = Abs(a_TF)", "y_TF z_TF",
         "a_TF is also read by z_TF"),
        (f"{GATE}a_TF = Relu(x_TD)\ny_TF = Mul(a_TF, x_TD)\nz_TF = Add(g_TF, u_TF)", "y_TF z_TF",
         "x_TD and x_TD are not two products of constant weights"),
    ],
)  # fmt: skip
def test_gates_that_are_refused(body, output, why):
    """Where somebody else reads a part, or the parts are no products, they stay."""
    assert refusals(run(model(body, output), LinearProduct(), GatedProduct())[-1]) == [why]


def test_swish_of_another_slope():
    """Swish with another alpha than 1 is no function that a Gate knows."""
    body = f"{GATE}a_TF = Swish <alpha = 2.0> (g_TF)\ny_TF = Mul(a_TF, u_TF)"
    report = run(model(body), LinearProduct(), GatedProduct())[-1]
    assert unlikes(report) == ["it multiplies no activation function"]


# Norms and quantization.

NORM = "s_TD = Add(x_TD, x_TD)\nh_TD = RMSNormalization <epsilon = 0.001> (s_TD, n_D)\n"


def test_sum_and_norm():
    """A sum, read again, and its norm are one op with two outputs."""
    ops, _ = fused(f"{NORM}y_TF = Add(s_TD, h_TD)", SummedNorm())
    assert ops == ["AddRmsNorm", "Add"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (f"{NORM}i_TD = RMSNormalization(s_TD, n_D)\ny_TF = Add(h_TD, i_TD)",
         "s_TD is already made together with another norm of it"),
        ("s_TD = Add(x_TD, n_D)\ny_TF = RMSNormalization(s_TD, n_D)",
         "x_TD and n_D differ in shape"),
    ],
)  # fmt: skip
def test_sums_that_stay_apart(body, why):
    """A second norm of one sum, and a sum that broadcasts."""
    [report] = run(model(body), SummedNorm())
    assert [reason for _, reason in report.refused] == [why]


@pytest.mark.parametrize(("dtype", "most"), [(17, 448), (3, 127)])
def test_quantization_by_token(dtype, most, monkeypatch):
    """The largest magnitude of a token over the largest code: one op, for e4m3 and int8."""
    monkeypatch.setitem(ARRAYS, "most", np.array(most, np.float32))
    body = f"""{QUANTIZED}q_TD = QuantizeLinear <axis = 0, output_dtype = {dtype}> (x_TD, scale_T)
    y_TF = DequantizeLinear <axis = 0> (q_TD, scale_T)"""
    ops, report = fused(body, TokenQuantization())
    assert ops == ["QuantizeToken", "DequantizeLinear"]
    assert report.rewritten == [("q_TD", "ingot::QuantizeToken")]


@pytest.mark.parametrize(
    ("node", "why"),
    [
        ("<axis = 1, output_dtype = 17> (x_TD, scale_F)",
         "x_TD is [T,32], its scales do not belong to its tokens"),
        ("<axis = 0, output_dtype = 17> (x_TD, scale)", "the scale scale is a constant"),
        ("<axis = 0, output_dtype = 19> (x_TD, scale_T)", "the codes are FLOAT8E5M2"),
    ],
)  # fmt: skip
def test_quantization_that_stays(node, why, monkeypatch):
    """Constant scales, scales by column, other codes."""
    monkeypatch.setitem(ARRAYS, "scale_F", RNG.random(D, np.float32))
    body = f"{QUANTIZED}q_TD = QuantizeLinear {node}\ny_TF = Cast <to = 1> (q_TD)"
    assert refusals(run(model(body), TokenQuantization())[-1]) == [why]


def test_quantization_by_another_scale(monkeypatch):
    """A scale that is not the largest magnitude over 448 is another quantization."""
    monkeypatch.setitem(ARRAYS, "most", np.array(240, np.float32))
    body = f"""{QUANTIZED}q_TD = QuantizeLinear <axis = 0, output_dtype = 17> (x_TD, scale_T)
    y_TF = DequantizeLinear <axis = 0> (q_TD, scale_T)"""
    why = "scale_T is not the largest magnitude of x_TD by token"
    assert unlikes(run(model(body), TokenQuantization())[-1]) == [why]


AT_ONCE = {
    "RmsNormQuantize": ("x_TD = RMSNormalization(in_TD, n_D)", "y_TF"),
    "AddRmsNormQuantize": (
        "s_TD = Add(in_TD, in_TD)\nx_TD = RMSNormalization(s_TD, n_D)",
        "y_TF s_TD",
    ),
    "GateQuantize": (
        f"{GATE.replace('x_TD', 'in_TD')}a_TF = Gelu(g_TF)\nx_TD = Mul(a_TF, u_TF)",
        "y_TF",
    ),
}


@pytest.mark.parametrize("kind", AT_ONCE)
@pytest.mark.parametrize("read_again", [False, True])
def test_quantized_where_it_is_made(kind, read_again):
    """What makes a value quantizes it too, unless somebody else reads it unquantized."""
    first, output = AT_ONCE[kind]
    body = f"""{first}\n{QUANTIZED}
    q_TD = QuantizeLinear <axis = 0, output_dtype = 17> (x_TD, scale_T)
    y_TF = DequantizeLinear <axis = 0> (q_TD, scale_T)"""
    output += " x_TD" if read_again else ""
    inputs = "float[T, 32] in_TD"
    before, after = (model(body, output, inputs) for _ in range(2))
    items = TokenQuantization(), LinearProduct(), GatedProduct(), SummedNorm(), QuantizedAtOnce()
    report = run(after, *items)[-1]
    assert (kind in kinds(after)) is not read_again
    if read_again:
        assert refusals(report) == ["x_TD is an output of the graph"]
    run(after, Cpu().passes(None, 0)[-1])
    wanted, found = (session(m).run(None, {"in_TD": x_TD}) for m in (before, after))
    for want, got in zip(wanted, found, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


# Rows.

ROWS = "float[T, 32] x_TD, int32[N] rows_N"


@pytest.mark.parametrize("repeated", [False, True])
def test_rows_are_chosen_first(repeated):
    """What works row by row is done for the rows that are wanted, chosen once a value."""
    body = f"""{WD}\ns_TD = Add(x_TD, {"x_TD" if repeated else "n_D"})
    h_TD = RMSNormalization(s_TD, n_D)\np_TF = MatMul(h_TD, w_DF)\ny_TF = Gather(p_TF, rows_N)"""
    before, after = (model(body, inputs=ROWS) for _ in range(2))
    report = run(after, LinearProduct(), RowsEarlier())[-1]
    assert kinds(after) == ["Gather", "Add", "RMSNormalization", "Linear"]
    assert report.rewritten == [("y_TF", "3 ops work on the rows of rows_N only")]
    run(after, Cpu().passes(None, 0)[-1])
    rows_N = np.array([6, 0, 6], np.int32)
    want, got = (answers(m, rows_N=rows_N)[0] for m in (before, after))
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_rows_of_what_others_read():
    """Where all rows are wanted as well, nothing would be saved."""
    body = "s_TD = Relu(x_TD)\ny_TF = Gather(s_TD, rows_N)"
    [report] = run(model(body, "y_TF s_TD", ROWS), RowsEarlier())
    assert refusals(report) == ["s_TD has other readers, or is not made row by row"]


def test_rows_of_what_mixes_rows():
    """A sum over tokens stays before the choice."""
    body = "s_TD = CumSum(x_TD, first)\ny_TF = Gather(s_TD, rows_N)"
    [report] = run(model(body, inputs=ROWS), RowsEarlier())
    assert refusals(report) == ["s_TD has other readers, or is not made row by row"]


# Strangers' graphs.

STRANGE = """
<domain: "acme", opset_import: ["" : 24]>
Twice (a) => (c) {
    two = Constant <value = float {2.0}> ()
    c = Mul(a, two)
}
"""


def test_strangers_functions_are_written_out():
    """A function that the engine has no op for becomes its body, each call for itself."""
    body = "h_TD = acme.Twice(x_TD)\ny_TF = acme.Twice(h_TD)"
    built = model(body, functions=STRANGE, opsets='"" : 24, "acme" : 1')
    lift = common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)
    first, _ = run(built, InlinedFunctions(), lift)
    assert first.rewritten == [(n, "the body of acme::Twice") for n in ("h_TD", "y_TF")]
    assert kinds(built) == ["Mul", "Mul"] and not built.functions
    np.testing.assert_array_equal(answers(built)[0], 4 * x_TD)


def test_functions_with_an_op_stay():
    """PagedAttention and Rotate are ops of the engine, whatever their functions say."""
    built = lowered()
    names = {function.name for function in built.functions.values()}
    assert {"Rotate", "PagedAttention", "Linear", "AddRmsNorm", "Gate"} == names


SHAPES = "shape = Shape(x_TD)\nT1 = Shape <end = 1> (x_TD)\nD1 = Shape <start = 1> (x_TD)\n"
COMPUTED = {
    "Reshape": ("to = Concat <axis = 0> (T1, half)\ny_TF = Reshape(x_TD, to)", [-1, 2, 1, 16]),
    "of sizes": (
        "D0 = Gather(shape, last)\nto = Concat <axis = 0> (minus, D0)\ny_TF = Reshape(x_TD, to)",
        [-1, D],
    ),
    "two that change": (
        "a_TDT = Unsqueeze(x_TD, axis)\nto = Concat <axis = 0> (T1, D1, D1)\n"
        "e_TDD = Expand(a_TDT, to)\ny_TF = Reshape(e_TDD, to)",
        [-1, D, D],
    ),
}


@pytest.mark.parametrize("case", COMPUTED)
def test_computed_shapes(case, monkeypatch):
    """The target of a Reshape is constant, but for the size that changes with the step."""
    monkeypatch.setitem(ARRAYS, "half", np.array([2, 1, 16], np.int64))
    monkeypatch.setitem(ARRAYS, "last", np.array([1], np.int64))
    monkeypatch.setitem(ARRAYS, "minus", np.array([-1], np.int64))
    body, target = COMPUTED[case]
    before, after = (model(SHAPES + body) for _ in range(2))
    run(after, ComputedShapes())
    assert not {"Shape", "Concat"} & set(kinds(after))
    reshape = [node for node in after.graph if node.op_type == "Reshape"][-1]
    assert reshape.inputs[1].const_value.numpy().tolist() == target
    np.testing.assert_array_equal(answers(after)[0], answers(before)[0])


def test_constants_that_a_graph_makes():
    """ConstantOfShape and what is made of fixed sizes are constants."""
    body = "D1 = Shape <start = 1> (x_TD)\nz_D = ConstantOfShape(D1)\ny_TF = Add(x_TD, z_D)"
    built = model(body)
    run(built, ComputedShapes())
    assert kinds(built) == ["Add"]
    np.testing.assert_array_equal(answers(built)[0], x_TD)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (
            "d_DT = Transpose <perm = [1, 0]> (x_TD)\nz_TT = MatMul(x_TD, d_DT)\n"
            "z_11TT = Unsqueeze(z_TT, front)\no = Concat <axis = 0> (T1, T1, one1)\n"
            "y_TF = Reshape(z_11TT, o)",
            "its shape [T,T,1] has more sizes that change with the step than a constant target "
            "can say; give it one at most",
        ),
    ],
)
def test_shapes_that_change(body, why, monkeypatch):
    """Two sizes that change with the step do not fit into one target."""
    monkeypatch.setitem(ARRAYS, "one1", np.array([1], np.int64))
    monkeypatch.setitem(ARRAYS, "front", np.array([0, 1], np.int64))
    [report] = run(model(SHAPES + body), ComputedShapes())
    assert [reason for _, reason in report.refused] == [why]


def test_least_of_two_sizes_is_no_constant():
    """min(T, 8) is 8 for every T that is tried, but not for a short step."""
    body = "m = Min(T1, eight)\nf = Cast <to = 1> (m)\ny_TF = Mul(x_TD, f)"
    built = model(SHAPES + body)
    [report] = run(built, ComputedShapes())
    assert "Min" in kinds(built) and "m" not in dict(report.rewritten)

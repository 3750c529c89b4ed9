"""What each fused op means, in standard ONNX: so that onnxruntime runs the lowered graph too.

Where an op has several forms (with a bias, with another activation function), each form is an
overload of the function. T tokens, D width in, F width out, E = 2 F.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from core.op_schemas import default_value
from core.ops import Rows

from .fusion import DOMAIN, attribute

OPSET = 24
INT, FLOAT, STRING = ir.AttributeType.INT, ir.AttributeType.FLOAT, ir.AttributeType.STRING
KINDS = {"int": INT, "dtype": INT, "float": FLOAT, "string": STRING}
BIAS = {"Linear": 2, "ScaledLinear": 4, "GroupedLinear": 4}  # which input it is


class FunctionBodies(ir.passes.InPlacePass):
    """Every fused op of the graph has its function."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in model.graph:
            if node.domain != DOMAIN or node.op_type not in BODIES:
                continue
            node.overload = overload(node)
            if node.op_identifier() not in model.functions:
                made = function(node)
                model.functions[made.identifier()] = made
                modified = True
        if modified:
            model.graph.opset_imports.setdefault(DOMAIN, 1)
        return ir.passes.PassResult(model, modified=modified)


def overload(node: ir.Node) -> str:
    """The name of this node's form; "" for the plainest."""
    parts = []
    if node.op_type.startswith("Gate"):
        parts.append(attribute(node, "activation", "silu"))
    if node.op_type == "QuantizeToken" and len(node.inputs) > 1:
        parts.append("largest")
    if node.op_type == "ScaledLinear" and node.inputs[1] is not None:
        parts.append("tokens")
    if node.op_type == "GroupedLinear":
        parts.append(f"group{_group(node)}")
        if any(value is not None for value in node.inputs[3:4]):
            parts.append("zero")
    if any(value is not None for value in node.inputs[BIAS.get(node.op_type, len(node.inputs)) :]):
        parts.append("bias")
    return "_".join(parts)


def function(node: ir.Node) -> ir.Function:
    """The function that `node` calls."""
    inputs = [ir.val(f"input{place}") for place in range(len(node.inputs))]
    given = [None if x is None else value for value, x in zip(inputs, node.inputs, strict=True)]
    body = Body(node)
    outputs = BODIES[node.op_type](body, *given)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    for place, value in enumerate(outputs):
        value.name = f"output{place}"
    graph = ir.Graph(
        inputs, outputs, nodes=body.tape.nodes, opset_imports={"": OPSET}, name=node.op_type
    )
    attributes = [
        ir.Attr(a.name, KINDS[a.type], None if a.default is None else default_value(a))
        for a in Rows().row(DOMAIN, node.op_type).attributes
    ]
    return ir.Function(DOMAIN, node.op_type, overload(node), graph=graph, attributes=attributes)


class Body:
    """The nodes of one function."""

    def __init__(self, node: ir.Node):
        self.node, self.tape = node, Tape()

    def op(self, op_type: str, *inputs: ir.Value, **attributes) -> ir.Value:
        return self.tape.op(op_type, inputs, attributes)

    def number(self, value: float) -> ir.Value:
        return self.op("Constant", value=ir.tensor(np.array(value, np.float32)))

    def integers(self, *values: int) -> ir.Value:
        return self.op("Constant", value=ir.tensor(np.array(values, np.int64)))

    def float32(self, x: ir.Value) -> ir.Value:
        return self.op("Cast", x, to=ir.DataType.FLOAT)

    def product(self, x_TD: ir.Value, weight_FD: ir.Value) -> ir.Value:
        """x · weightᵀ in float32."""
        turned_DF = self.op("Transpose", self.float32(weight_FD), perm=[1, 0])
        return self.op("MatMul", self.float32(x_TD), turned_DF)

    def biased(self, y_TF: ir.Value, bias_F: Sequence[ir.Value]) -> ir.Value:
        given = [bias for bias in bias_F if bias is not None]
        return self.op("Add", y_TF, self.float32(given[0])) if given else y_TF


def linear(b: Body, x_TD, weight_FD, *bias_F):
    """y = x · weightᵀ + bias, summed in float32."""
    return b.op("CastLike", b.biased(b.product(x_TD, weight_FD), bias_F), x_TD)


def scaled_linear(b: Body, x_TD, x_scale_T, weight_FD, scale, *bias_F):
    """y = x · (weight * scale)ᵀ, or for codes (x · weightᵀ) * x_scale * scale, + bias."""
    y_TF = b.product(x_TD, weight_FD)
    if x_scale_T is not None:
        y_TF = b.op("Mul", y_TF, b.op("Unsqueeze", x_scale_T, b.integers(1)))
    y_TF = b.biased(b.op("Mul", y_TF, scale), bias_F)
    return b.op("Cast", y_TF, to=ir.RefAttr("to", "dtype", INT))


def grouped_linear(b: Body, x_TD, codes_FD, scale_FN, zero_FN=None, *bias_F):
    """y = x · ((codes - zero) * scale)ᵀ + bias, summed in float32."""
    inputs = [codes_FD, b.float32(scale_FN)]
    if zero_FN is not None:
        inputs.append(b.op("CastLike", zero_FN, codes_FD))
    weight_FD = b.op("DequantizeLinear", *inputs, axis=1, block_size=_group(b.node))
    turned_DF = b.op("Transpose", weight_FD, perm=[1, 0])
    y_TF = b.biased(b.op("MatMul", b.float32(x_TD), turned_DF), bias_F)
    return b.op("CastLike", y_TF, x_TD)


def _group(node: ir.Node) -> int:
    """How many elements along D share a scale."""
    codes_FD, scale_FN = (node.inputs[place].shape for place in (1, 2))
    return codes_FD[1] // scale_FN[1]


def token_largest(b: Body, x_TD):
    """max|x| of each token."""
    return b.op("ReduceMax", b.op("Abs", b.float32(x_TD)), b.integers(-1), keepdims=0)


def quantize_token(b: Body, x_TD, *largest_T):
    """scale = max(max|x| / 448, 1e-12), or 127 for int8; codes = x / scale, to nearest even."""
    dtype = b.op("Constant", value_int=ir.RefAttr("value_int", "dtype", INT))
    eight = b.op("Constant", value_int=int(ir.DataType.INT8))
    largest = b.op("Where", b.op("Equal", dtype, eight), b.number(127), b.number(448))
    size_T = largest_T[0] if largest_T else token_largest(b, x_TD)
    scale_T = b.op("Max", b.op("Div", size_T, largest), b.number(1e-12))
    codes_TD = b.op(
        "QuantizeLinear", b.float32(x_TD), scale_T, axis=0,
        output_dtype=ir.RefAttr("output_dtype", "dtype", INT),
    )  # fmt: skip
    return codes_TD, scale_T


def rms_norm(b: Body, x_TD, weight_D):
    """x / sqrt(mean of squares + epsilon) * weight."""
    epsilon = ir.RefAttr("epsilon", "epsilon", FLOAT)
    return b.op("RMSNormalization", x_TD, weight_D, axis=-1, epsilon=epsilon)


def add_rms_norm(b: Body, x_TD, residual_TD, weight_D):
    """The sum, and the norm of it."""
    sum_TD = b.op("Add", x_TD, residual_TD)
    return sum_TD, rms_norm(b, sum_TD, weight_D)


def rms_norm_quantize(b: Body, x_TD, weight_D):
    return quantize_token(b, rms_norm(b, x_TD, weight_D))


def add_rms_norm_quantize(b: Body, x_TD, residual_TD, weight_D):
    sum_TD, y_TD = add_rms_norm(b, x_TD, residual_TD, weight_D)
    return sum_TD, *quantize_token(b, y_TD)


def gate(b: Body, gate_up_TE):
    """act(first half) * second half."""
    first_TF, second_TF = b.tape.op_multi_out(
        "Split", [gate_up_TE], {"axis": -1, "num_outputs": 2}, num_outputs=2
    )
    activation = attribute(b.node, "activation", "silu")
    if activation == "silu":
        active_TF = b.op("Swish", first_TF)
    elif activation == "relu":
        active_TF = b.op("Relu", first_TF)
    else:
        approximate = "tanh" if activation == "gelu_tanh" else "none"
        active_TF = b.op("Gelu", first_TF, approximate=approximate)
    return b.op("Mul", active_TF, second_TF)


def gate_quantize(b: Body, gate_up_TE):
    return quantize_token(b, gate(b, gate_up_TE))


BODIES = {
    "Linear": linear,
    "ScaledLinear": scaled_linear,
    "GroupedLinear": grouped_linear,
    "QuantizeToken": quantize_token,
    "TokenLargest": token_largest,
    "AddRmsNorm": add_rms_norm,
    "RmsNormQuantize": rms_norm_quantize,
    "AddRmsNormQuantize": add_rms_norm_quantize,
    "Gate": gate,
    "GateQuantize": gate_quantize,
}

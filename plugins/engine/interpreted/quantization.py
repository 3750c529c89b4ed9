"""Quantization of activations with one scale a token, alone and at the end of what makes them.

T tokens, D width.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from core import weights

from .fusion import DOMAIN, Fusion, Refused, Unlike, attribute, only_reader, producer, replace

LARGEST = {ir.DataType.FLOAT8E4M3FN: 448.0, ir.DataType.INT8: 127.0}
SMALLEST_SCALE = np.float32(1e-12)
QUANTIZING = {
    ("", "RMSNormalization"): "RmsNormQuantize",
    (DOMAIN, "AddRmsNorm"): "AddRmsNormQuantize",
    (DOMAIN, "Gate"): "GateQuantize",
}


class TokenQuantization(Fusion):
    """QuantizeLinear(x_TD, Max(ReduceMax(Abs(x_TD)) / 448, 1e-12))  ->  QuantizeToken(x_TD)

    int8 has 127 in the place of 448. The scales become the node's second output. Where the largest
    magnitude is that of all ranks, by AllReduce, it becomes QuantizeToken(x_TD, largest_T).
    """

    starts = (("", "QuantizeLinear"),)

    def fuse(self, node: ir.Node) -> str:
        x_TD, scale_T = node.inputs[:2]
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            raise Refused(f"{node.inputs[2].name} is a zero point")
        dtype = ir.DataType(attribute(node, "output_dtype", ir.DataType.UINT8))
        if dtype not in LARGEST:
            raise Refused(f"the codes are {dtype}")
        if x_TD.shape is None or len(x_TD.shape) != 2 or attribute(node, "axis", 1) != 0:
            raise Refused(f"{x_TD.name} is {x_TD.shape}, its scales do not belong to its tokens")
        if scale_T.is_initializer():
            raise Refused(f"the scale {scale_T.name} is a constant")
        measured, meeting = self._measured(scale_T, LARGEST[dtype])
        if measured is not x_TD:
            raise Unlike(f"{scale_T.name} is not the largest magnitude of {x_TD.name} by token")
        scale_node = scale_T.producer()
        inputs = [x_TD] if meeting is None else [x_TD, _largest_of_ranks(x_TD, meeting, scale_node)]
        new = ir.node("QuantizeToken", inputs, {"dtype": int(dtype)}, domain=DOMAIN, num_outputs=2)
        ir.convenience.replace_all_uses_with(
            [node.outputs[0], scale_T], new.outputs, replace_graph_outputs=True
        )
        for old, value in zip((node.outputs[0], scale_T), new.outputs, strict=True):
            value.name, value.type, value.shape = old.name, old.type, old.shape
        node.graph.insert_before(scale_node, new)
        node.graph.remove([node, scale_node], safe=True)
        return f"ingot::QuantizeToken{' of all ranks' if meeting else ''}"

    def _measured(self, scale_T: ir.Value, largest: float) -> tuple:
        """x where `scale_T` is Max(ReduceMax(Abs(x)) / largest, 1e-12), and an AllReduce in it."""
        most = producer(scale_T, "Max")
        if most is None or len(most.inputs) != 2:
            return None, None
        over_T, smallest = most.inputs
        if over_T.is_initializer():
            over_T, smallest = smallest, over_T
        quotient = producer(over_T, "Div")
        if not _is(smallest, SMALLEST_SCALE) or quotient is None:
            return None, None
        if not _is(quotient.inputs[1], largest):
            return None, None
        largest_T = quotient.inputs[0]
        if cast := producer(largest_T, "Cast"):
            largest_T = cast.inputs[0]
        if meeting := producer(largest_T, "AllReduce", domain=DOMAIN):
            largest_T = meeting.inputs[0] if attribute(meeting, "op", "sum") == "max" else None
        reduced = producer(largest_T, "ReduceMax")
        if reduced is None or attribute(reduced, "keepdims", 1) or len(reduced.inputs) < 2:
            return None, None
        if not (_is(reduced.inputs[1], -1) or _is(reduced.inputs[1], 1)):
            return None, None
        size_TD = producer(reduced.inputs[0], "Abs")
        return (size_TD.inputs[0], meeting) if size_TD else (None, None)


def _largest_of_ranks(x_TD: ir.Value, meeting: ir.Node, before: ir.Node) -> ir.Value:
    """AllReduce(TokenLargest(x_TD)), under the name of what `meeting` made."""
    own = ir.node("TokenLargest", [x_TD], domain=DOMAIN)
    new = ir.Node(DOMAIN, "AllReduce", own.outputs, meeting.attributes.values(), num_outputs=1)
    for node, old in ((own, meeting.inputs[0]), (new, meeting.outputs[0])):
        [value] = node.outputs
        value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([x_TD.shape[0]])
        value.name, old.name = old.name, f"{old.name}.before"
        before.graph.insert_before(before, node)
    return new.outputs[0]


class QuantizedAtOnce(Fusion):
    """QuantizeToken(norm or gate)  ->  RmsNormQuantize, AddRmsNormQuantize, GateQuantize

    Only where nobody else reads the norm or the gate.
    """

    starts = ((DOMAIN, "QuantizeToken"),)

    def fuse(self, node: ir.Node) -> str:
        y_TD = node.inputs[0]
        if len(node.inputs) > 1:
            raise Refused(f"the scales of {y_TD.name} are those of all ranks")
        maker = y_TD.producer()
        if maker is None or (maker.domain, maker.op_type) not in QUANTIZING:
            raise Unlike(f"{y_TD.name} is made by neither a norm nor a gate")
        check_norm(maker)
        only_reader(y_TD, node)
        kept = maker.outputs[:-1]  # the sum of AddRmsNorm
        if maker.op_type == "Gate":
            kept_attribute = maker.attributes["activation"]
        else:
            kept_attribute = maker.attributes.get("epsilon") or ir.AttrFloat32("epsilon", 1e-5)
        new = ir.Node(
            DOMAIN, QUANTIZING[maker.domain, maker.op_type], maker.inputs,
            [kept_attribute, node.attributes["dtype"]], num_outputs=len(kept) + 2,
        )  # fmt: skip
        replace([maker, node], [new], list(zip([*kept, *node.outputs], new.outputs, strict=True)))
        return f"{DOMAIN}::{new.op_type}"


def check_norm(node: ir.Node) -> None:
    """Raises Refused where `node` is a norm that is not over each token, with a constant weight."""
    if node.op_type == "Gate":
        return
    weight_D = node.inputs[-1]
    if attribute(node, "axis", -1) not in (-1, 1) or attribute(node, "stash_type", 1) != 1:
        raise Refused("it normalises over another axis, or in another precision")
    x_TD = node.inputs[0]
    if x_TD.shape is None or len(x_TD.shape) != 2:
        raise Refused(f"{x_TD.name} is {x_TD.shape}, not a row for each token")
    if not weight_D.is_initializer() or len(weight_D.shape) != 1 or weight_D.dtype != x_TD.dtype:
        raise Refused(f"{weight_D.name} is no vector of constants in the precision of {x_TD.name}")


def _is(value: ir.Value, number: float) -> bool:
    """Whether `value` is a constant that holds `number` and nothing else."""
    if not value.is_initializer() or np.prod(value.const_value.shape) != 1:
        return False
    tensor = value.const_value
    if isinstance(tensor, weights.Weight) and not tensor.recipe.startswith("constant("):
        return False  # of the checkpoint, which no pass reads
    return float(tensor.numpy().reshape(-1)[0]) == float(number)

"""The residual sum and the norm that follows it as one op. T tokens, N rows, D width."""

from __future__ import annotations

import onnx_ir as ir

from .fusion import DOMAIN, Fusion, Refused, Unlike, producer, replace
from .quantization import check_norm


class SummedNorm(Fusion):
    """s = Add(x, r), RMSNormalization(s, w)  ->  (s, y) = AddRmsNorm(x, r, w)

    The sum stays an output, since the next residual sum reads it too.
    """

    starts = (("", "RMSNormalization"),)

    def fuse(self, node: ir.Node) -> str:
        sum_TD, weight_D = node.inputs
        if producer(sum_TD, "AddRmsNorm", domain=DOMAIN):
            raise Refused(f"{sum_TD.name} is already made together with another norm of it")
        add = producer(sum_TD, "Add")
        if add is None:
            raise Unlike(f"{sum_TD.name} is no sum")
        check_norm(node)
        if not all(value.shape == sum_TD.shape for value in add.inputs):
            raise Refused(f"{add.inputs[0].name} and {add.inputs[1].name} differ in shape")
        epsilon = node.attributes.get("epsilon") or ir.AttrFloat32("epsilon", 1e-5)
        new = ir.Node(DOMAIN, "AddRmsNorm", [*add.inputs, weight_D], [epsilon], num_outputs=2)
        values = [(sum_TD, new.outputs[0]), (node.outputs[0], new.outputs[1])]
        replace([add, node], [new], values)
        return f"{DOMAIN}::AddRmsNorm"

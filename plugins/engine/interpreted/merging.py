"""Products that read the same activations as one product. T tokens, E = 2 F, F width out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir as ir

from core import weights

from .fusion import (
    DOMAIN,
    Fusion,
    Refused,
    Unlike,
    attribute,
    constant,
    merged_name,
    only_reader,
    producer,
    replace,
)
from .products import PRODUCTS

# Which inputs of a product: the tokens' scales, the weight, its scales, its zero points, the bias.
LINEAR_PLACES = {
    "Linear": (None, 1, None, None, 2),
    "ScaledLinear": (1, 2, 3, None, 4),
    "GroupedLinear": (None, 1, 2, 3, 4),
}


class GatedProduct(Fusion):
    """Mul(act(Linear(x, gate)), Linear(x, up))  ->  Gate(Linear(x, gate and up))

    Halves of one product: fewer, larger reads. The other products alike.
    """

    starts = (("", "Mul"),)

    def fuse(self, node: ir.Node) -> str:
        active, up = node.inputs
        if _activation(active) is None:
            active, up = up, active
        activation = _activation(active)
        if activation is None:
            raise Unlike("it multiplies no activation function")
        function = active.producer()
        gate = function.inputs[0]
        products = [producer(value, *PRODUCTS, domain=DOMAIN) for value in (gate, up)]
        if None in products:
            raise Refused(f"{gate.name} and {up.name} are not two products of constant weights")
        _check_alike(products)
        if gate.shape != up.shape:
            raise Refused(f"{gate.name} is {gate.shape}, {up.name} is {up.shape}")
        for value, reader in ((active, node), (gate, function), (up, node)):
            only_reader(value, reader)
        product = merged(products)
        new = ir.node("Gate", product.outputs, {"activation": activation}, domain=DOMAIN)
        replace([node], [new], [(node.outputs[0], new.outputs[0])])
        new.graph.insert_before(new, product)
        new.graph.remove([function, *products], safe=True)
        return f"{DOMAIN}::Gate of one {product.op_type}"


class MergedProduct(Fusion):
    """Linear(x, w1), Linear(x, w2), …  ->  Split(Linear(x, w1 and w2 and …))

    The other products alike.
    """

    starts = tuple((DOMAIN, kind) for kind in PRODUCTS)

    def fuse(self, node: ir.Node) -> str:
        x_TD = node.inputs[0]
        products = [other for other in x_TD.consumers() if _is_plain_product(other, x_TD)]
        if len(products) < 2:
            raise Unlike(f"no other product reads {x_TD.name}")
        order = {other: place for place, other in enumerate(node.graph)}
        products.sort(key=order.__getitem__)
        _check_alike(products)
        product = merged(products)
        sizes = [other.outputs[0].shape[-1] for other in products]
        name = f"sizes_{'_'.join(map(str, sizes))}"
        split = node.graph.initializers.get(name)
        if split is None:
            split = constant(node.graph, weights.constant(np.array(sizes, np.int64), name), name)
        new = ir.node("Split", [product.outputs[0], split], {"axis": 1}, num_outputs=len(products))
        values = [(p.outputs[0], y) for p, y in zip(products, new.outputs, strict=True)]
        replace(products, [product, new], values)
        return f"{product.outputs[0].name}, one of {len(products)} products"


def merged(products: Sequence[ir.Node]) -> ir.Node:
    """One product, not in the graph yet, whose columns are those of `products`."""
    first, graph = products[0], products[0].graph
    kind = first.op_type
    inputs = list(first.inputs)
    _, weight, scale, zero, bias = LINEAR_PLACES[kind]
    if kind == "ScaledLinear":
        for product in products:
            if product.inputs[weight].const_value.shape[0] and not len(product.inputs[scale].shape):
                product.replace_input_with(scale, _repeated(product, weight, scale))
    for place in (weight, scale, zero, bias):
        if place is None or place >= len(inputs) or inputs[place] is None:
            continue
        parts = [product.inputs[place] for product in products]
        name = merged_name([part.name for part in parts])
        inputs[place] = constant(
            graph, weights.concat([weights.lazy(part) for part in parts]), name
        )
    node = ir.Node(DOMAIN, kind, inputs, first.attributes.values(), num_outputs=1)
    [y_TE], outputs = node.outputs, [product.outputs[0] for product in products]
    y_TE.name, y_TE.type = merged_name([value.name for value in outputs]), outputs[0].type
    y_TE.shape = ir.Shape([outputs[0].shape[0], sum(value.shape[1] for value in outputs)])
    return node


def _repeated(product: ir.Node, weight: int, scale: int) -> ir.Value:
    """The one scale of a whole weight, once for each of its rows."""
    rows = product.inputs[weight].const_value.shape[0]
    value = product.inputs[scale]
    name = f"{value.name}_F"
    [tensor] = weights.derive(
        weights.lazy(value), partial(_filled, rows=rows), [(name, ir.DataType.FLOAT, [rows])],
        f"repeat(…, {rows})", rows=None,
    )  # fmt: skip
    return constant(product.graph, tensor, name)


def _filled(scale: np.ndarray, rows: int) -> np.ndarray:
    return np.full(rows, scale, np.float32)


def _check_alike(products: Sequence[ir.Node]) -> None:
    """Raises Refused where `products` cannot be one."""
    first = products[0]
    for other in products[1:]:
        names = f"{first.outputs[0].name} and {other.outputs[0].name}"
        if first.op_type != other.op_type or _precision(first) != _precision(other):
            raise Refused(f"{names} differ in precision: {_said(first)} and {_said(other)}")
        if first.inputs[0] is not other.inputs[0] or _scale_T(first) is not _scale_T(other):
            raise Refused(f"{names} do not read the same activations")
        if _has_bias(first) != _has_bias(other):
            raise Refused(f"of {names} only one has a bias")
    for product in products:
        weight = product.inputs[LINEAR_PLACES[product.op_type][1]]
        if len(weight.consumers()) > 1:
            raise Refused(f"{weight.name} is also read elsewhere, so it would be kept twice")


def _precision(product: ir.Node) -> tuple:
    weight = product.inputs[LINEAR_PLACES[product.op_type][1]]
    if product.op_type != "GroupedLinear":
        return weight.const_value.dtype, attribute(product, "dtype", None)
    scale, zero = product.inputs[2].const_value, [z for z in product.inputs[3:4] if z is not None]
    groups = f"{scale.shape[1]} groups of scales in {scale.dtype}"
    return weight.const_value.dtype, f"{groups}, zero points" if zero else groups


def _said(product: ir.Node) -> str:
    dtype, more = _precision(product)
    return f"{product.op_type} of {dtype}" + (f" in {more}" if isinstance(more, str) else "")


def _scale_T(product: ir.Node) -> ir.Value | None:
    place = LINEAR_PLACES[product.op_type][0]
    return None if place is None else product.inputs[place]


def _has_bias(product: ir.Node) -> bool:
    place = LINEAR_PLACES[product.op_type][-1]
    return len(product.inputs) > place and product.inputs[place] is not None


def _is_plain_product(node: ir.Node, x_TD: ir.Value) -> bool:
    """A product of `x_TD` that no gate reads: a gate wants its two halves alone."""
    if node.domain != DOMAIN or node.op_type not in PRODUCTS or node.inputs[0] is not x_TD:
        return False
    return not any(reader.op_type == "Gate" for reader in node.outputs[0].consumers())


def _activation(value: ir.Value) -> str | None:
    """The word for the activation function that makes `value`."""
    node = producer(value, "Swish", "Gelu", "Relu")
    if node is None:
        return None
    if node.op_type == "Swish":
        return "silu" if attribute(node, "alpha", 1.0) == 1.0 else None
    if node.op_type == "Gelu":
        return {"none": "gelu", "tanh": "gelu_tanh"}[attribute(node, "approximate", "none")]
    return "relu"

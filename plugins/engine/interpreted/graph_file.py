"""graph.onnx: the lowered graph, whose large constants lie in the file of weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import onnx_ir as ir


def write(
    path: Path,
    model: ir.Model,
    location: str,
    offsets: Mapping[str, int],
    made: Collection[str] = (),
) -> None:
    """`path` holds `model`; constants called as in `offsets` begin there in the file `location`.

    Those called as in `made` lie nowhere: they are inputs of the graph.
    """
    held, graph = {}, model.graph
    missing = [graph.initializers.pop(name) for name in made]
    graph.inputs.extend(missing)
    for value in model.graph.initializers.values():
        if value.name not in offsets:
            continue
        tensor = held[value] = value.const_value
        value.const_value = ir.ExternalTensor(
            location, offsets[value.name], tensor.nbytes, tensor.dtype,
            shape=tensor.shape, name=value.name,
        )  # fmt: skip
    try:
        path.write_bytes(ir.to_proto(model).SerializeToString())
    finally:
        for value, tensor in held.items():
            value.const_value = tensor
        for value in missing:
            graph.inputs.remove(value)
            graph.register_initializer(value)

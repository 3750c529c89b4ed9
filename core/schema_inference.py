"""Types and shapes for ONNX's own inference, as far as the words of an op row say them.

core.shapes knows more; this is for other tools in the same process, to whom an op with a schema is
no function any more.
"""

from __future__ import annotations

import onnx
from onnx.shape_inference import InferenceContext

from .op_line import DTYPES
from .ops import Argument, Row


def inference(row: Row):
    """What `onnx.defs` calls for a node of `row`."""

    def infer(context: InferenceContext) -> None:
        types = {
            place: context.get_input_type(place).tensor_type
            for place in range(context.get_num_inputs())
            if context.has_input(place) and context.get_input_type(place) is not None
        }
        letters, words = _bound(row, types)
        for place in range(context.get_num_outputs()):
            output = row.output(place)
            if output is None:
                continue
            made = onnx.TypeProto()
            made.tensor_type.elem_type = _dtype(output, letters, context)
            if made.tensor_type.elem_type and "..." not in output.shape:
                made.tensor_type.shape.dim.extend(
                    words.get(word, onnx.TensorShapeProto.Dimension()) if word.isidentifier()
                    else _fixed(word) for word in output.shape.split()
                )  # fmt: skip
            if made.tensor_type.elem_type:
                context.set_output_type(place, made)

    return infer


def _bound(row: Row, types) -> tuple[dict[str, int], dict[str, onnx.TensorShapeProto.Dimension]]:
    """The types of letters and the sizes of words, from the first input that has each."""
    letters: dict[str, int] = {}
    words: dict[str, onnx.TensorShapeProto.Dimension] = {}
    for place, tensor in types.items():
        argument = row.input(place)
        if argument is None:
            continue
        letters.setdefault(argument.letter, tensor.elem_type)
        names = argument.shape.split()
        if tensor.HasField("shape") and len(names) == len(tensor.shape.dim):
            for word, size in zip(names, tensor.shape.dim, strict=True):
                words.setdefault(word, size)
    return letters, words


def _dtype(output: Argument, letters: dict[str, int], context: InferenceContext) -> int:
    """The type of an output; 0 where the row leaves it open."""
    if output.type.startswith("="):
        given = context.get_attribute(output.type[1:])
        return given.i if given is not None else 0
    if output.letter:
        return letters.get(output.letter, 0)
    return DTYPES[output.dtypes[0]] if len(output.dtypes) == 1 else 0


def _fixed(word: str) -> onnx.TensorShapeProto.Dimension:
    """A number as a size; arithmetic stays open."""
    if word.isdigit():
        return onnx.TensorShapeProto.Dimension(dim_value=int(word))
    return onnx.TensorShapeProto.Dimension()

"""The leaves of the graph: a tensor read from the checkpoint, a constant, a product, a norm.

A tensor that is missing or has another shape is noted and stood in for, so that everything that
does not fit is told at once. T tokens, D width in, F width out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from core import weights
from core.command import PlanError

from .config import Section
from .expression import ExpressionError

GELU_TANH = ("gelu_tanh", "gelu_new", "gelu_pytorch_tanh", "gelu_fast")
ACTIVATIONS = ("silu", "swish", "gelu", "relu", *GELU_TANH)


class Writer:
    """A graph in the making. Values are named after what they are; weights are never read."""

    def __init__(self, checkpoint, dtype: ir.DataType, length: int):
        self.checkpoint, self.dtype, self.length = checkpoint, dtype, length
        self.tape = Tape()
        self.functions: set[str] = set()  # of domain ingot, that the graph calls
        self.read_names: set[str] = set()
        self.missing: list[str] = []
        self.misshapen: list[str] = []
        self.tables: dict[Any, tuple[ir.Value, ...]] = {}  # by what they were computed from
        self._constants: dict[tuple, ir.Value] = {}
        self._names: set[str] = set()

    def op(self, op_type: str, *inputs: ir.Value | None, name: str, domain="", **attributes):
        """The output, called `name`, of a new node."""
        value = self.tape.op(op_type, inputs, attributes, domain=domain, name=self._unique(name))
        value.name = name
        if domain:
            self.functions.add(op_type)
        return value

    def ops(self, op_type: str, *inputs: ir.Value, names: Sequence[str], **attributes):
        """The outputs, called `names`, of a new node."""
        node = self._unique(names[0])
        count = len(names)
        values = self.tape.op_multi_out(op_type, inputs, attributes, num_outputs=count, name=node)
        for value, name in zip(values, names, strict=True):
            value.name = name
        return values

    def read(self, name: str, shape: Sequence[int]) -> weights.Weight:
        """A tensor of the checkpoint, by the checkpoint's name, in its own dtype."""
        self.read_names.add(name)
        if name not in self.checkpoint:
            self.missing.append(name)
        else:
            try:
                weight = self.checkpoint.tensor(name, list(shape))
                if weight.dtype.is_floating_point():
                    return weight
                self.misshapen.append(
                    f"{name} is stored as {weight.dtype.name}, which is no floating-point type: "
                    "the checkpoint is quantized already; give the one it was made from"
                )
            except PlanError as error:
                self.misshapen.append(str(error))
        return weights.Weight(name, self.dtype, shape, name)  # stands in, and is never written

    def initializer(self, weight: weights.Weight, name: str, dtype=None) -> ir.Value:
        """`weight` in the graph, called `name`, in the graph's dtype or another."""
        tensor = weights.rename(weights.cast(weight, dtype or self.dtype), self._unique(name))
        return self.tape.initializer(tensor, name)

    def constant(self, array: np.ndarray, stem: str, dims: str = "") -> ir.Value:
        """A small array in the graph, called stem_dims; equal ones are one."""
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        key = (array.dtype, array.shape, hashlib.sha256(array.tobytes()).digest())
        if key not in self._constants:
            end = f"_{dims}" if dims else ""
            name, number = f"{stem}{end}", 1
            while name in self._names:
                number += 1
                name = f"{stem}{number}{end}"
            tensor = weights.constant(array, self._unique(name))
            self._constants[key] = self.tape.initializer(tensor, name)
        return self._constants[key]

    def scalar(self, number: float, stem: str) -> ir.Value:
        """A number in the graph's dtype."""
        return self.constant(np.array(number, self.dtype.numpy()), stem)

    def integers(self, *numbers: int) -> ir.Value:
        """A shape or an axis."""
        return self.constant(np.array(numbers, np.int64), "integers")

    def product(self, x, weight_FD, bias_F, name: str, dims: str = "FD") -> ir.Value:
        """x · weightᵀ + bias; `name` and `dims`, out and in, make the names of weights."""
        w = self.initializer(weight_FD, f"{name}_{dims}")
        return self.times_transposed(x, w, bias_F, name, dims)

    def times_transposed(self, x, w: ir.Value, bias_F, name: str, dims: str) -> ir.Value:
        """x · wᵀ + bias for a weight that stands in the graph."""
        turned = self.op("Transpose", w, name=f"{name}_{dims[::-1]}", perm=[1, 0])
        if bias_F is None:
            return self.op("MatMul", x, turned, name=f"{name}_T{dims[0]}")
        y = self.op("MatMul", x, turned, name=f"{name}_product_T{dims[0]}")
        bias = self.initializer(bias_F, f"{name}_bias_{dims[0]}")
        return self.op("Add", y, bias, name=f"{name}_T{dims[0]}")

    def matrix(self, tensors: Section, theirs: str, rows: int, columns: int) -> weights.Weight:
        """The linear weight `theirs` as [rows, columns], however the checkpoint keeps it."""
        if tensors.transposed:
            return weights.transpose(self.read(f"{theirs}.weight", [columns, rows]))
        return self.read(f"{theirs}.weight", [rows, columns])

    def vector(self, theirs: str, size: int, wanted: bool) -> weights.Weight | None:
        """The bias of `theirs`, or None."""
        return self.read(f"{theirs}.bias", [size]) if wanted else None

    def project(self, x, tensors, theirs: str, ours: str, sizes, bias=False, dims="FD") -> ir.Value:
        """x through the linear layer `theirs`, of sizes (out, in)."""
        weight = self.matrix(tensors, theirs, *sizes)
        return self.product(x, weight, self.vector(theirs, sizes[0], bias), ours, dims)

    def norm(self, x, norm: Section, theirs: str | None, ours: str, size: int, letters="TD"):
        """x normalised over its last axis; x itself where the family has no such norm."""
        if theirs is None:
            return x
        if norm.weight:
            weight = weights.add(self.read(f"{theirs}.weight", [size]), norm.number("offset"))
            bias = self.vector(theirs, size, norm.bias)
        else:
            weight, bias = weights.constant(np.ones(size, np.float32), ours), None
        epsilon = norm.number("epsilon", least=0)
        return self.normalise(x, norm.kind, epsilon, weight, bias, ours, letters)

    def normalise(self, x, kind: str, epsilon: float, weight, bias, ours: str, letters: str):
        scale = self.initializer(weight, f"{ours}_{letters[-1]}")
        name = f"{ours}_{letters}"
        if kind == "rms":
            return self.op("RMSNormalization", x, scale, name=name, epsilon=epsilon, axis=-1)
        if kind != "layer":
            raise ExpressionError(f"model.norm.kind gives {kind!r} (known: rms, layer)")
        more = [] if bias is None else [self.initializer(bias, f"{ours}_bias_{letters[-1]}")]
        return self.op("LayerNormalization", x, scale, *more, name=name, epsilon=epsilon, axis=-1)

    def activate(self, x, kind: str, name: str) -> ir.Value:
        if kind in ("silu", "swish"):
            return self.op("Swish", x, name=name)
        if kind == "gelu":
            return self.op("Gelu", x, name=name)
        if kind in GELU_TANH:
            return self.op("Gelu", x, name=name, approximate="tanh")
        if kind == "relu":
            return self.op("Relu", x, name=name)
        raise ExpressionError(
            f"model.feed_forward.activation gives {kind!r}, which this description does not cover "
            f"({', '.join(ACTIVATIONS)})"
        )

    def times(self, x, factor: float, name: str, dims: str = "TD") -> ir.Value:
        if factor == 1:
            return x
        return self.op("Mul", x, self.scalar(factor, "factor"), name=f"{name}_{dims}")

    def _unique(self, name: str) -> str:
        if name in self._names:
            raise AssertionError(f"two values are called {name}")
        self._names.add(name)
        return name

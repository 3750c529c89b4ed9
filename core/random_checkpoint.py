"""checkpoint=random: a full-size model with seeded weights, made as they are read.

Every tensor is a function of (seed, name) and every element of that and its index, so the weights
do not depend on the order or the chunks in which they are read. Vectors that are norm weights are
1; everything else is uniform with variance 1 / (size of the last axis), which keeps the size of
activations as they pass through a product.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from .command import PlanError
from .recipes import Weight

DTYPES = {
    "float32": ir.DataType.FLOAT,
    "bfloat16": ir.DataType.BFLOAT16,
    "float16": ir.DataType.FLOAT16,
}


class Random(Weight):
    """Rows of a random tensor."""

    def __init__(self, name: str, dtype: ir.DataType, shape: Sequence[int], seed: int):
        super().__init__(name, dtype, shape, f"random({name}, seed={seed})")
        digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
        self.seed = int.from_bytes(digest[:8], "little")
        self.columns = math.prod(self.shape[1:])  # of the matrix of its rows
        ones = len(self.shape) == 1 and "norm" in name and name.endswith(".weight")
        # Numbers are uniform in ±scale; None: they are 1.
        self.scale = None if ones else math.sqrt(3 / self.shape[-1]) if len(self.shape) else 1.0

    def _rows(self, start, stop):
        from .native import random_fill

        shape = (stop - start, *self.shape[1:]) if len(self.shape) else ()
        if self.scale is None:
            return np.ones(shape, self.dtype.numpy())
        array = np.empty(shape, self.dtype.numpy())
        random_fill(self.seed, start * self.columns, array, self.scale)
        return array


class RandomCheckpoint:
    """Has every tensor that is asked for, in the dtype that its config names."""

    folder: Path | None = None
    files: Sequence[Path] = ()

    def __init__(self, config: Mapping[str, Any], seed: int):
        self.config = dict(config)
        said = self.config.get("dtype") or self.config.get("torch_dtype") or "bfloat16"
        if said not in DTYPES:
            raise PlanError(
                f"checkpoint=random: the config says dtype {said}; random weights are made in "
                f"{', '.join(DTYPES)}"
            )
        self._dtype, self._seed = DTYPES[said], seed
        self._asked: set[str] = set()
        self.generation: dict[str, Any] = {}

    def names(self) -> set[str]:
        """The tensors that have been asked for so far."""
        return set(self._asked)

    def __contains__(self, name: str) -> bool:
        return True

    def tensor(self, name: str, shape: Sequence[int] | None = None) -> Weight:
        if shape is None:
            raise PlanError(f"checkpoint=random: the shape of {name} is not known")
        self._asked.add(name)
        return Random(name, self._dtype, shape, self._seed)

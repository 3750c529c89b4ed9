"""The textbook graph of a decoder-only transformer, from a description, a config and tensors.

T tokens of all sequences, N rows that want logits, D width, V vocabulary, L positions. Inputs:
ids_T, positions_T, sequences_T (which sequence a token belongs to), rows_N. Output: logits_NV,
float32. Standard ONNX, and functions of it in the domain `ingot`; nothing is fused here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

from core import weights
from core.command import PlanError

from .attention import Place, read_heads, write_attention
from .config import Section, contradictions, leaves, read_config, unread
from .experts import write_experts
from .expression import ExpressionError, Missing, is_expression, names
from .feed_forward import write_feed_forward
from .functions import OPSET, library
from .limits import max_length
from .positions import fixed_for
from .tensor_names import extra, listing
from .writer import Writer

DTYPES = {
    "float32": ir.DataType.FLOAT,
    "bfloat16": ir.DataType.BFLOAT16,
    "float16": ir.DataType.FLOAT16,
}
MOST_LAYERS = 4096
MOST_MISSING_KEYS = 100


def graph(description, plan, checkpoint) -> ir.Model:
    """The model, its weights lazy.

    Raises:
        PlanError: with every sentence about what does not fit.
    """
    raw = checkpoint.config
    config = read_config(raw, description)
    wrong = list(contradictions(config, description))
    decoder, more = _written(description, plan, checkpoint, config)
    wrong += more
    asked = decoder.asked if decoder else _keys(description)
    wrong += unread(raw, config, description, asked)
    wrong += decoder.misfits() if decoder else ()
    if wrong:
        raise PlanError("\n".join(dict.fromkeys(wrong)))
    return decoder.model()


def _written(description, plan, checkpoint, config) -> tuple[Decoder | None, list[str]]:
    """The graph as written, or None and why it could not be.

    A key that config.json lacks is stood in for, so that all that are missing are found.
    """
    lacking: dict[str, int] = {}
    for _ in range(MOST_MISSING_KEYS):
        try:
            decoder = Decoder(description, plan, checkpoint, {**config, **lacking})
            decoder.write()
        except Missing as error:
            if error.key in lacking:
                break
            lacking[error.key] = 1
            continue
        except ExpressionError as error:
            if not lacking:
                return None, [str(error)]
        else:
            if not lacking:
                return decoder, []
        break
    return None, [f"config.json does not say {k}, which this description needs" for k in lacking]


def _keys(description) -> set[str]:
    """Every key of config.json that a leaf of the description may read."""
    texts = [value for _, value in leaves(description) if is_expression(value)]
    return {name.split(".")[0] for text in texts for name in names(text)}


class Decoder:
    """One writing of the graph."""

    def __init__(self, description, plan, checkpoint, config: dict[str, Any]):
        self.description, self.config, self.checkpoint = description, config, checkpoint
        self.asked: set[str] = set()  # keys of config.json that were read
        self.dtype = activation_dtype(plan, checkpoint, config)
        self.w = Writer(checkpoint, DTYPES[self.dtype], max_length(plan, config))
        self.inputs = [
            ir.val(name, ir.DataType.INT32, [name[-1]])
            for name in ("ids_T", "positions_T", "sequences_T", "rows_N")
        ]
        self.first = self.section(0)
        self.width = self.first.whole("width")
        self.vocab = self.first.whole("vocab")
        self.layers = self.first.whole("layers", most=MOST_LAYERS)

    def section(self, layer: int) -> Section:
        return Section(self.description, {**self.config, "layer": layer}, self.asked)

    def write(self) -> None:
        """The nodes, from ids to logits."""
        x_TD, table = self.embed()
        for layer in range(self.layers):
            x_TD = self.layer(x_TD, layer)
        self.logits = self.head(x_TD, table)

    def embed(self) -> tuple[ir.Value, ir.Value | None]:
        """Token vectors, and their table if the head reads it too."""
        w, d = self.w, self.first
        t, ids_T, positions_T = d.tensors, self.inputs[0], self.inputs[1]
        D = d.tensors.embedding_width or self.width
        weight = w.read(f"{t.embedding}.weight", [self.vocab, D])
        shared = d.head.tied and not d.head.normalised
        table = w.initializer(weight, "head_VD" if shared else "embedding_VD")
        x = w.op("Gather", table, ids_T, name="embedding_TD")
        x = w.times(x, d.embedding.number("scale"), "embedding_scaled")
        if t.embedding_in:
            x = w.project(x, t, t.embedding_in, "embedding_in", (self.width, D), dims="DE")
        if d.embedding.choice("positions", None, "learned"):
            x = w.op("Add", x, self.learned_positions(positions_T), name="embedding_sum_TD")
        x = w.norm(x, d.norm, t.embedding_norm, "embedding_norm", self.width)
        return x, table if shared else None

    def learned_positions(self, positions_T: ir.Value) -> ir.Value:
        w, d, offset = self.w, self.first, self.first.embedding.whole("offset", least=0)
        size = self.config["max_position_embeddings"]
        weight = w.read(f"{d.tensors.positions}.weight", [size + offset, self.width])
        weight = weights.slice(weight, 0, offset, offset + w.length)
        table = w.initializer(weight, "positions_LD")
        return w.op("Gather", table, positions_T, name="positions_TD")

    def layer(self, x_TD: ir.Value, layer: int) -> ir.Value:
        d, w = self.section(layer), self.w
        t, b, ours = d.tensors, d.block, f"layers.{layer}."
        place = Place(ours, t.layer.replace("{layer}", str(layer)), self.width, *self.inputs[1:3])

        def norm(x: ir.Value, kind: str) -> ir.Value:
            name = getattr(t, kind)
            theirs = None if name is None else place.theirs + name
            return w.norm(x, d.norm, theirs, ours + kind, self.width)

        def feed_forward(x: ir.Value) -> ir.Value:
            if d.experts.count:
                return write_experts(w, d, place, x)
            return write_feed_forward(w, d, place, x)

        normed = norm(x_TD, "attention_norm")
        y_TD = norm(write_attention(w, d, place, normed, self.config), "attention_post")
        if b.parallel:
            again = normed if t.ffn_norm is None else norm(x_TD, "ffn_norm")
            sum_TD = self.add(b, x_TD, normed, y_TD, f"{ours}attention.sum")
            z_TD = w.times(feed_forward(again), b.number("residual_scale"), f"{ours}ffn.scaled")
            return w.op("Add", sum_TD, z_TD, name=f"{ours}sum_TD")
        x_TD = norm(self.add(b, x_TD, normed, y_TD, f"{ours}attention.sum"), "attention_sum")
        normed = norm(x_TD, "ffn_norm")
        y_TD = norm(feed_forward(normed), "ffn_post")
        return norm(self.add(b, x_TD, normed, y_TD, f"{ours}sum"), "ffn_sum")

    def add(self, b: Section, x_TD, normed_TD, y_TD, name: str) -> ir.Value:
        """The residual sum."""
        w = self.w
        onto = normed_TD if b.choice("residual", "input", "normed") == "normed" else x_TD
        onto = w.times(onto, b.number("input_scale"), f"{name}_input")
        y_TD = w.times(y_TD, b.number("residual_scale"), f"{name}_output")
        return w.op("Add", onto, y_TD, name=f"{name}_TD")

    def head(self, x_TD: ir.Value, table: ir.Value | None) -> ir.Value:
        """float32 logits of the rows that want them."""
        w, d = self.w, self.first
        t, h = d.tensors, d.head
        x_ND = w.op("Gather", x_TD, self.inputs[3], name="rows_ND")
        x_ND = w.norm(x_ND, d.norm, t.norm, "norm", self.width, "ND")
        D = t.embedding_width or self.width
        if t.head_out:
            x_ND = w.project(x_ND, t, t.head_out, "head_in", (D, self.width), dims="ED")
        if table is None:
            table = w.initializer(self.head_weight(D), "head_VD")
        w.read_names |= {f"{t.head}.weight"} if h.tied else set()
        turned = w.op("Transpose", table, name="head_DV", perm=[1, 0])
        y = w.op("MatMul", x_ND, turned, name="head_NV")
        if h.bias:
            bias = w.initializer(w.read(f"{t.head}.bias", [self.vocab]), "head_V")
            y = w.op("Add", y, bias, name="head_sum_NV")
        y = w.times(y, h.number("scale"), "head_scaled", "NV")
        if h.softcap:
            cap = w.scalar(h.number("softcap"), "head_cap")
            y = w.op("Tanh", w.op("Div", y, cap, name="head_over_cap_NV"), name="head_tanh_NV")
            y = w.op("Mul", y, cap, name="head_capped_NV")
        if self.w.dtype != ir.DataType.FLOAT:
            y = w.op("Cast", y, name="head_float_NV", to=ir.DataType.FLOAT)
        y.name, y.type = "logits_NV", ir.TensorType(ir.DataType.FLOAT)
        y.shape = ir.Shape(["N", self.vocab])
        return y

    def head_weight(self, D: int) -> weights.Weight:
        t, h = self.first.tensors, self.first.head
        name = t.embedding if h.tied else t.head
        weight = self.w.read(f"{name}.weight", [self.vocab, D])
        if not h.normalised:
            return weight
        outputs = [(name, weight.dtype, [self.vocab, D])]
        return weights.derive(weight, _unit_rows, outputs, "unit_rows(…)")[0]

    def misfits(self) -> Iterator[str]:
        """Tensors that are missing, have another shape, or are not read."""
        for name in listing(self.w.missing):
            yield f"the checkpoint has no tensor {name}"
        yield from self.w.misshapen
        patterns = self.first.tensors.ignore
        for name in listing(extra(self.checkpoint.names() - self.w.read_names, patterns)):
            yield (
                f"the checkpoint has {name}, which this description does not read; if it carries "
                "nothing, add its pattern to model.tensors.ignore"
            )

    def model(self) -> ir.Model:
        tape, functions = self.w.tape, library(self.w.functions)
        imports = {"": OPSET, "ingot": 1}
        graph = ir.Graph(
            self.inputs, [self.logits], nodes=tape.nodes, initializers=tape.initializers,
            opset_imports=imports, name="decoder",
        )  # fmt: skip
        model = ir.Model(graph, ir_version=11, functions=functions, producer_name="ingot")
        model.metadata_props["ingot.model"] = json.dumps(self.facts(), sort_keys=True)
        return model

    def facts(self) -> dict[str, Any]:
        """What runtime and manifest want to know of the model."""
        heads, p = read_heads(self.first.attention), self.first.positions
        rope = {}
        if p.kind == "rope":
            rope = {"theta": p.theta, "scaling": p.scaling}
            if length := fixed_for(p.scaling, self.w.length):
                rope["fixed_for_length"] = length
        return {
            "layers": self.layers, "width": self.width, "vocab": self.vocab,
            "heads": heads.heads, "groups": heads.groups, "head_size": heads.size,
            "max_length": self.w.length, "dtype": self.dtype, "rope": rope,
            "end_ids": end_ids(self.checkpoint, self.config, self.vocab),
        }  # fmt: skip


def activation_dtype(plan, checkpoint, config) -> str:
    """The word of the dtype that `dtype=` asks for."""
    if plan.dtype != "auto":
        return plan.dtype
    said = config.get("dtype") or config.get("torch_dtype")
    if said is None:
        kinds = {checkpoint.tensor(name).dtype for name in checkpoint.names()}
        said = next((word for word, dtype in DTYPES.items() if dtype in kinds), None)
    if said not in DTYPES:
        raise ExpressionError(
            f"dtype=auto: the checkpoint is in {said}; choose dtype=float32, dtype=bfloat16 or "
            "dtype=float16"
        )
    return said


def end_ids(checkpoint, config, vocab: int) -> list[int]:
    """Tokens that end a text: of generation_config.json, else of config.json."""
    said = checkpoint.generation.get("eos_token_id")
    said = config.get("eos_token_id") if said is None else said
    ids = said if isinstance(said, list) else [] if said is None else [said]
    if not all(isinstance(i, int) and not isinstance(i, bool) for i in ids):
        raise PlanError(f"eos_token_id: {said!r} is neither a token id nor a list of them")
    return sorted({i for i in ids if 0 <= i < vocab})  # one outside can never come


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    rows32 = rows.astype(np.float32)
    return (rows32 / np.linalg.norm(rows32, axis=1, keepdims=True)).astype(rows.dtype)

"""The pass that gives every layer a cache of pages; layers with one window share page tables.

Page 0 is the null page: what it holds is never seen.
"""

from __future__ import annotations

import json

import onnx_ir as ir

from core.command import PlanError

from .cache_row import CacheRow, one, rows_of
from .paged_function import paged_attention


class PagedAttention(ir.passes.InPlacePass):
    """Attention(q, k, v, …)  ->  PagedAttention(q, k, v, caches, pages, cells, …)

    It starts from ingot::Attention. The caches become inputs and outputs of the graph, and every
    window a cache group with inputs pages{i}_SM and cells{i}_T. Where k or v comes from codes by
    DequantizeLinear(QuantizeLinear(x, scale), scale), the cache holds the codes.
    """

    def __init__(self, page: int):
        self.page = page

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        nodes = [n for n in model.graph if n.op_identifier()[:2] == ("ingot", "Attention")]
        rows = [rows_of(node) for node in nodes]
        scaled = any(row.is_scaled for pair in rows for row in pair)
        groups: dict[int, dict] = {}
        for layer, (node, pair) in enumerate(zip(nodes, rows, strict=True)):
            window = node.attributes["window"].as_int()
            if window not in groups:
                groups[window] = self._open_group(model.graph, len(groups), window)
            self._replace(model.graph, node, layer, groups[window], pair, scaled)
        if nodes:
            function = paged_attention(scaled)
            model.functions[function.identifier()] = function
            facts = [group["facts"] for group in groups.values()]
            model.metadata_props["ingot.cache_groups"] = json.dumps(facts)
        return ir.passes.PassResult(model, modified=bool(nodes))

    def _open_group(self, graph: ir.Graph, index: int, window: int) -> dict:
        """A new group, whose page table and cells are inputs of the graph."""
        pages = ir.val(f"pages{index}_SM", ir.DataType.INT32, ["S", "M"])
        cells = ir.val(f"cells{index}_T", ir.DataType.INT32, ["T"])
        graph.inputs.extend([pages, cells])
        facts = {
            "name": f"window{window}" if window else "full",
            "kind": "window" if window else "paged",
            "page_tokens": self.page,
            "window": window,
            "sharded": True,
            "tensors": [],
        }
        return {"facts": facts, "inputs": [pages, cells]}

    def _replace(self, graph, node, layer: int, group: dict, rows, scaled: bool) -> None:
        q, _, _, *rest = node.inputs
        count = node.attributes["groups"].as_int()
        caches = [
            self._cache(f"cache_{x}{layer}_PGWK", row, count)
            for x, row in zip("kv", rows, strict=True)
        ]
        scales = [row.scale or one(graph) for row in rows] if scaled else []
        graph.inputs.extend(caches)
        group["facts"]["tensors"] += [cache.name for cache in caches]
        paged = ir.Node(
            "ingot",
            "PagedAttention",
            [q, *(row.value for row in rows), *caches, *group["inputs"], *rest, *scales],
            node.attributes.values(),
            num_outputs=3,
            name=node.name,
        )
        for x, cache, new in zip("kv", caches, paged.outputs[1:], strict=True):
            new.name, new.type, new.shape = f"new_{x}{layer}_PGWK", cache.type, cache.shape
        graph.outputs.extend(paged.outputs[1:])
        ir.convenience.replace_nodes_and_values(
            graph, node, [node], [paged], node.outputs, paged.outputs[:1]
        )

    def _cache(self, name: str, row: CacheRow, groups: int) -> ir.Value:
        """A graph input of pages that hold such rows."""
        x_TY = row.value
        width = x_TY.shape[-1] if x_TY.shape is not None else None
        if not isinstance(width, int) or width % groups or x_TY.dtype is None:
            raise PlanError(
                f"{name}: pages must hold {groups} heads of {x_TY.name}, but it has the shape "
                f"{x_TY.shape} and dtype {x_TY.dtype}; the model must give it a type and a fixed "
                "width that these heads divide"
            )
        return ir.val(name, row.dtype, ["P", groups, self.page, width // groups])

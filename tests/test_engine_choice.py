"""Which engine a build takes: engine=cuda without a GPU; what engine=auto makes of a machine."""

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from conftest import command

from core import manifest, native, weights
from core.command import PlanError
from core.ops import Rows
from core.resolution import Plan
from plugins.engine.auto import Auto
from plugins.engine.cuda import Cuda
from plugins.engine.interpreted import coverage

TINY = ("model=llama2", "model.size=tiny", "checkpoint=random")
CONFIG = {"parallel": {"name": "none"}}


@pytest.fixture
def machine(monkeypatch):
    """machine(*devices, why=…): what native.devices says of this machine from now on."""

    def machine(*devices, why=""):
        monkeypatch.setattr(native, "devices", lambda: list(devices))
        monkeypatch.setattr(native, "no_devices", lambda: why)

    return machine


def plan(ranks=1):
    return Plan(checkpoint="random", out=Path("unused"), ranks=ranks)


def graph_of(node):
    """A graph of one node whose inputs are x_TD or constants."""
    for value in node.outputs:
        value.name, value.type = "y_TD", node.inputs[0].type
        value.shape = ir.Shape(["T", 8])
    inputs = [value for value in node.inputs if value.const_value is None]
    constants = [value for value in node.inputs if value.const_value is not None]
    graph = ir.Graph(
        inputs, node.outputs, nodes=[node], initializers=constants,
        opset_imports={"": 24, "ingot": 1}, name="g",
    )  # fmt: skip
    return ir.Model(graph, ir_version=11)


def x_TD(dtype=ir.DataType.FLOAT):
    return ir.val("embeddings_TD", dtype, ["T", 8])


@pytest.mark.parametrize("quant", ["none", "fp8"])
def test_engine_cuda_builds_without_a_gpu(build, quant):
    """The manifest names it; its pages hold 64 tokens, its steps are large."""
    folder = build(*TINY, f"quant={quant}", "engine=cuda")
    facts = manifest.read(folder)
    assert facts["engine"] == {"name": "cuda", "library": None}
    assert [group["page_tokens"] for group in facts["cache_groups"]] == [64]
    assert facts["limits"]["max_tokens"] == 8192 and facts["limits"]["max_sequences"] == 256
    lines = (folder / "rank0" / "plan.txt").read_text().splitlines()
    assert any(line.startswith("max T=8192 S=256 N=256 Q=8192 ") for line in lines)


def test_what_the_config_says_stands_before_the_engines_own(build):
    folder = build(*TINY, "engine=cuda", "max_tokens=96", "max_sequences=3", "attention.page=32")
    facts = manifest.read(folder)
    assert (facts["limits"]["max_tokens"], facts["limits"]["max_sequences"]) == (96, 3)
    assert [group["page_tokens"] for group in facts["cache_groups"]] == [32]


def test_ranks_on_cuda_are_refused(tmp_path):
    """It says what can go together, with exit code 3."""
    done = command(
        "build", *TINY, "engine=cuda", "parallel=tensor", "parallel.ranks=2", f"out={tmp_path}/e"
    )
    assert done.returncode == 3
    assert "engine=cuda runs on one GPU, but parallel.ranks=2: build with parallel" in done.stderr


def test_auto_is_the_cpu_without_a_gpu(machine, monkeypatch, tmp_path):
    """And says what is missing."""
    machine(why="no NVIDIA driver is loaded")
    assert Auto().defaults(CONFIG) == {"max_tokens": 512, "max_sequences": 32, "page": 16}
    assert chosen(monkeypatch, tmp_path) == (
        "cpu", "no GPU can be used: no NVIDIA driver is loaded",
    )  # fmt: skip


def test_auto_is_cuda_where_a_gpu_covers_the_graph(machine, monkeypatch, tmp_path):
    machine({"name": "NVIDIA H200"})
    assert Auto().defaults(CONFIG) == Cuda().defaults(CONFIG)
    assert chosen(monkeypatch, tmp_path) == ("cuda", "this machine has the GPU NVIDIA H200")


def test_auto_is_the_cpu_for_several_ranks(machine, monkeypatch, tmp_path):
    machine({"name": "NVIDIA H200"})
    config = {"parallel": {"name": "tensor", "ranks": 2}}
    assert Auto().defaults(config)["page"] == 16
    engine, because = chosen(monkeypatch, tmp_path, ranks=2)
    assert engine == "cpu" and because.startswith("parallel.ranks=2, and engine=cuda runs on one")


def test_auto_is_the_cpu_for_an_op_without_kernels(machine, monkeypatch, tmp_path):
    """It names the op and the node."""
    machine({"name": "NVIDIA H200"})
    engine, because = chosen(monkeypatch, tmp_path, op="LogSoftmax")
    assert engine == "cpu"
    assert "no kernel for ai.onnx::LogSoftmax, which y_TD use" in because


def chosen(monkeypatch, folder, ranks=1, op="Identity"):
    """(engine, why) that Auto lowers a graph of one node with."""
    from plugins.engine.interpreted import lowering

    seen = []
    monkeypatch.setattr(lowering, "lower", lambda plan, model, out, *said: seen.append(said))
    model = graph_of(ir.node(op, [x_TD()]))
    Auto().lower(plan(ranks), 0, model, folder)
    return seen[0]


def test_the_summary_of_a_build_says_why(build, tmp_path):
    done = command("build", *TINY, f"out={tmp_path}/e", "engine=auto")
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "e" / "engine.json").read_text())
    name, because = facts["engine"]["name"], facts["engine"]["because"]
    assert f"engine={name}: {because}" in done.stdout


def test_an_op_without_a_kernel_for_cuda_is_refused():
    model = graph_of(ir.node("LogSoftmax", [x_TD()]))
    assert not [text for text in coverage.lacks(model, "cpu") if "LogSoftmax" in text]
    with pytest.raises(PlanError, match=r"no kernel for ai\.onnx::LogSoftmax, which y_TD use; build with"):
        coverage.check(model, "cuda")


def test_types_that_cuda_does_not_take_are_refused(monkeypatch):
    """Where the row takes more types than the kernels for CUDA."""
    row = Rows().row("", "RMSNormalization")
    monkeypatch.setitem(row.cuda, "X", ("f16", "bf16"))
    scale = ir.val("w_D", ir.DataType.FLOAT, [8])
    scale.const_value = weights.constant(np.ones(8, np.float32), "w_D")
    model = graph_of(ir.node("RMSNormalization", [x_TD(), scale]))
    [text] = [text for text in coverage.lacks(model, "cuda") if "on CUDA" in text]
    assert "X embeddings_TD is FLOAT, on CUDA it takes f16, bf16" in text


def test_the_list_of_covered_ops_is_that_of_the_library():
    """What a build believes is what the CUDA half has, where it is built."""
    table = native.op_table()["ops"]
    having = {(row["domain"], row["name"]) for row in table if row["cuda_kernels"]}
    if not having:
        pytest.skip("the CUDA half is not built here: nvcc is needed")
    assert {(row["domain"], row["name"]) for row in table if "cuda" in row} == having

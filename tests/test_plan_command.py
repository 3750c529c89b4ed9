"""core.plan: the build's own numbers, exactly, before any weight is read."""

import json
import os
import re
import subprocess
import sys

import onnx_ir as ir
import pytest
import safetensors
from conftest import command
from onnx import load

from core import Engine, byte_size, cache_pages, op_workspace
from core.command import ConfigError, PlanError
from core.memory import Memory
from core.resolution import Plan


def planned(folder, *overrides, code=0):
    """(the plan as JSON, the page) of core.plan with `overrides`, run in `folder`."""
    done = command("plan", *overrides, "json=plan.json", cwd=folder)
    assert done.returncode == code, done.stdout + done.stderr
    assert [path.name for path in folder.iterdir()] == ["plan.json"]
    return json.loads((folder / "plan.json").read_text()), done.stdout


@pytest.mark.parametrize(
    "overrides",
    [["quant=fp8"], ["max_tokens=64", "max_sequences=4"], ["quant=int8_wo", "quant.cache=fp8"]],
)
def test_a_built_engine_has_what_was_planned(overrides, build, tiny_llama, tmp_path):
    """Bytes on disk, tensors, memory and pages of a built and opened engine equal the plan's."""
    choice = ["model=llama2", f"checkpoint={tiny_llama}", *overrides]
    plan, page = planned(tmp_path, *choice)
    folder = build(*choice)
    for name, size in plan["disk"].items():
        assert (folder / name).stat().st_size == size, name
    [rank] = plan["ranks"]
    with safetensors.safe_open(folder / "rank0/weights.safetensors", "np") as file:
        found = {
            n: file.get_slice(n).get_shape() for n in list(file.keys()) if not n.startswith("pad.")
        }
    assert found == {name: entry["shape"] for name, entry in rank["tensors"].items()}
    graph = load(folder / "rank0/graph.onnx", load_external_data=False).graph
    assert len(graph.node) == rank["nodes"]
    with Engine(folder) as engine:
        memory, groups = engine.facts["memory"], engine.facts["cache_groups"]
    assert memory["weights"] == rank["memory"]["weights"]
    assert memory["activations"] == rank["memory"]["activations, at most about"]
    assert memory["cache"] == rank["cache"]["bytes"] == rank["cache"]["full bytes"]
    assert [group["pages"] for group in groups] == [g["pages"] for g in rank["cache"]["groups"]]
    assert f"{rank['memory']['weights']:,} bytes" in page
    manifest = json.loads((folder / "engine.json").read_text())
    for entry, told in zip(plan["passes"], manifest["passes"], strict=True):
        assert {**entry, "unlike": len(entry["unlike"])} == told


@pytest.mark.parametrize("model", ["llama2", "mistral"])
def test_a_cache_budget_gives_the_pages_that_the_runtime_takes(model, build, tmp_path):
    """cache_bytes is divided among groups, with and without windows, as the runtime divides it."""
    choice = [f"model={model}", "model.size=tiny", "checkpoint=random", "max_sequences=3"]
    plan, _ = planned(tmp_path, *choice, "cache_bytes=300KB")
    with Engine(build(*choice), cache_bytes=300_000) as engine:
        opened = [group["pages"] for group in engine.facts["cache_groups"]]
    cache = plan["ranks"][0]["cache"]
    assert [group["pages"] for group in cache["groups"]] == opened
    assert cache["tokens"] == 16 * (opened[0] - 1)


def test_every_rank_has_what_was_planned(build, tiny_llama, tmp_path):
    """Two ranks: weights, files and activations of each, with what collectives need besides."""
    choice = ["model=llama2", "parallel=tensor", "parallel.ranks=2", f"checkpoint={tiny_llama}"]
    plan, _ = planned(tmp_path, *choice)
    folder = build(*choice)
    with Engine(folder) as engine:
        opened = engine.facts["rank_memory"]
    assert [rank["rank"] for rank in plan["ranks"]] == [0, 1]
    for rank, memory in zip(plan["ranks"], opened, strict=True):
        assert rank["memory"]["weights"] == memory["weights"]
        assert rank["memory"]["activations, at most about"] == memory["activations"]
        assert rank["cache"]["bytes"] == memory["cache"]
    for name, size in plan["disk"].items():
        assert (folder / name).stat().st_size == size, name


def test_memory_leaves_its_rest_to_the_cache(tiny_llama, tmp_path):
    """What weights and activations leave of `memory` is cache; too little is an error with 3."""
    choice = ["model=llama2", f"checkpoint={tiny_llama}"]
    plan, _ = planned(tmp_path, *choice, "memory=20MiB")
    rank = plan["ranks"][0]
    fixed = rank["memory"]["weights"] + rank["memory"]["activations, at most about"]
    left = 20 * 2**20 - fixed - rank["memory"]["step fields"]
    assert left - 2 * 49152 < rank["cache"]["bytes"] <= left  # pages are whole, 48 KiB each
    assert rank["cache"]["tokens"] == 16 * (left // 49152 - 1)
    (tmp_path / "plan.json").unlink()
    done = command("plan", *choice, "memory=12MiB", cwd=tmp_path)
    assert done.returncode == 3
    assert re.search(r"rank 0 needs [\d,]+ bytes .* more", done.stderr)


def test_no_weight_is_read(tiny_llama, tmp_path):
    """A checkpoint whose tensors cannot be read is planned; building it fails."""
    source = (
        "import sys\n"
        "from core import tensor_file\n"
        "def refuse(*_): raise OSError(5, 'the weights were read')\n"
        "tensor_file.Stored._rows = refuse\n"
        "import importlib; importlib.import_module(f'core.{sys.argv.pop(1)}').main()"
    )
    choice = ["model=llama2", "quant=fp8", f"checkpoint={tiny_llama}", "out=engine"]
    done = [
        subprocess.run(
            [sys.executable, "-c", source, name, *choice],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        for name in ("plan", "build")
    ]
    assert done[0].returncode == 0 and "f8e4m3" in done[0].stdout, done[0].stderr
    assert done[1].returncode != 0 and "the weights were read" in done[1].stderr
    assert not list(tmp_path.iterdir())


def test_70b_takes_seconds(tmp_path):
    """70 billion parameters are planned in under 5 s of processor time, imports included."""
    before = os.times()
    plan, page = planned(tmp_path, "model=llama2", "model.size=70b", "checkpoint=random")
    after = os.times()
    spent = after.children_user + after.children_system
    assert spent - before.children_user - before.children_system < 5  # 2.6 s where nobody else runs
    published = 68_976_648_192  # parameters of Llama 2 70B
    tables = sum(t["bytes"] for t in plan["ranks"][0]["tensors"].values() if t["dtype"] == "f32")
    assert plan["ranks"][0]["memory"]["weights"] == 2 * published + tables
    assert plan["ranks"][0]["memory"]["cache, a token"] == 2 * 80 * 8 * 128 * 2
    assert "layers.0…79.attention.qkv_FD (80)  f16 [10240, 8192]" in page


def test_refusals_and_unlike_nodes_are_told(tiny_llama, tmp_path):
    """The page says of every pass what it rewrote, refused and left, where and why."""
    skip = ["quant=fp8", "quant.skip=['*.down_DF']"]
    plan, page = planned(tmp_path, "model=llama2", *skip, f"checkpoint={tiny_llama}")
    [fp8] = [entry for entry in plan["passes"] if entry["pass"] == "Fp8Product"]
    refused = {node for node, _ in fp8["refused"]}
    assert len(refused) == 6 and all("down" in node for node in refused)
    assert "refused layers.0…5.ffn.down_TD (6): " in page
    assert any(entry["unlike"] for entry in plan["passes"])


@pytest.mark.parametrize(
    ("given", "code", "part"),
    [
        (["memory=1GiB", "cache_bytes=1GiB"], 2, "both given"),
        (["memory=lots"], 2, "memory=lots: it must be a number of bytes"),
        (["cache_bytes=1"], 3, "needs two at the very least"),
        (["+memroy=1", "quant=fp9"], 2, "did you mean memory?"),
        (["checkpoint=nowhere"], 3, "nowhere"),
        (["json=no/such/folder.json"], 2, "cannot be written"),
    ],
)
def test_refusals(given, code, part, tiny_llama, tmp_path):
    """What a build refuses, and budgets that are none, end with a sentence and its code."""
    whole = ["model=llama2", f"checkpoint={tiny_llama}", *given]
    done = command("plan", *whole, cwd=tmp_path)
    assert (done.returncode, part in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


def test_a_sweep_plans_each(tmp_path):
    """-m plans several sizes with one `out`, which a plan does not write; one json is refused."""
    sweep = ["-m", "model=llama2", "model.size=tiny", "checkpoint=random", "max_length=64,128"]
    done = command("plan", *sweep, "dump=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "32 sequences of 64 tokens" in done.stdout and "32 sequences of 128" in done.stdout
    assert done.stdout.count("a plan writes none") == 2 and not list(tmp_path.iterdir())
    done = command("plan", *sweep, "json=p.json", cwd=tmp_path)
    assert (
        done.returncode == 2 and "2 of the 2 plans would be written to json=p.json" in done.stderr
    )
    done = command("plan", *sweep, "json=${max_length}.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"64.json", "128.json"}


def test_every_key_of_a_build_is_one_of_a_plan(tmp_path):
    """The composed config of plan is build's, and three keys more."""
    both = [
        set(re.findall(r"^\w+", command(name, "--cfg", "job", cwd=tmp_path).stdout, re.M))
        for name in ("build", "plan")
    ]
    assert both[1] - both[0] == {"memory", "cache_bytes", "json"} and both[0] < both[1]


def test_sizes_are_read_as_written():
    """Binary and decimal units, and plain numbers."""
    said = ["1", "512MiB", "1.5 GiB", "80GB", "7 B", 12, None]
    read = [byte_size.parse("memory", text) for text in said]
    assert read == [1, 512 << 20, 3 << 29, 80 * 10**9, 7, 12, None]
    for wrong in ("0", "GiB", "1 gib", "1e9", True, 1 << 80, "9" * 400):
        with pytest.raises(ConfigError, match="number of bytes"):
            byte_size.parse("memory", wrong)


def test_a_group_without_a_window_decides_the_tokens():
    """Tokens are those of the group that keeps everything; windows count where all have one."""
    full = {"window": 0, "page_tokens": 16, "bytes_per_page": 64}
    window = {"window": 64, "page_tokens": 16, "bytes_per_page": 64}
    assert cache_pages.tokens([full, window], [11, 6]) == 160
    assert cache_pages.tokens([window], [6]) == 80
    assert cache_pages.tokens([], []) == 0


def test_workspace_is_that_of_the_kernel():
    """Rows gathered from ranks need a place to come to, a sum needs none; errors are sentences."""
    line = "op y ingot::AllGather@1 in=x out=y axis=i:1 ranks=i:4"
    assert op_workspace.needed(line, [("f32", (3, 5), None)], 1) == 3 * 5 * 4 * 4
    assert op_workspace.needed("op y ::Add@24 in=a,b out=y", [("f32", (3,), None)] * 2, 1) == 0
    with pytest.raises(ValueError, match="Nothing"):
        op_workspace.needed("op y ::Nothing@24 in=a out=y", [("f32", (3,), None)], 1)


@pytest.mark.parametrize(
    ("op", "dtype", "part"),
    [("Tan", ir.DataType.FLOAT, "y_TD uses ai.onnx::Tan, for which there is no kernel"),
     ("Tanh", ir.DataType.DOUBLE, "y_TD (ai.onnx::Tanh) cannot run: DOUBLE"),
     ("Tanh", ir.DataType.INT8, "y_TD (ai.onnx::Tanh)")],
)  # fmt: skip
def test_what_cannot_run_is_named(op, dtype, part):
    """A graph with an op or a type that no kernel takes has no memory, but a sentence."""
    x_TD = ir.val("x_TD", dtype, ["T", 4])
    node = ir.node(op, [x_TD])
    node.outputs[0].name = "y_TD"
    graph = ir.Graph([x_TD], node.outputs, nodes=[node], opset_imports={"": 24}, name="g")
    model = ir.Model(graph, ir_version=11, metadata_props={"ingot.model": '{"max_length": 8}'})
    node.outputs[0].type, node.outputs[0].shape = ir.TensorType(dtype), ir.Shape(["T", 4])
    plan = Plan(checkpoint="random", out=None)
    with pytest.raises(PlanError, match=re.escape(part)):
        Memory(model, plan).activation_bytes()

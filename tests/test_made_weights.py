"""Random weights that plan.txt describes: what is made of the words equals what a build writes."""

import json
import shutil

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from conftest import command

from core import Engine, made_weight, manifest, weights
from core.checkpoint import open_checkpoint
from core.command import PlanError

TINY = ["model=llama2", "model.size=tiny", "checkpoint=random", "max_length=64"]
QUANTS = {
    "none": [],
    "fp8": ["quant=fp8"],
    "fp8 tensor": ["quant=fp8", "quant.weights=tensor"],
    "int8_wo": ["quant=int8_wo"],
    "int8_wo zeros": ["quant=int8_wo", "quant.group=16", "quant.zero_point=true"],
    "int4_wo": ["quant=int4_wo", "quant.group=16"],
    "int4_wo zeros": ["quant=int4_wo", "quant.group=16", "quant.zero_point=true"],
}


def for_the_cpu(folder, out):
    """A copy of an engine for a GPU that the CPU's engine opens."""
    shutil.copytree(folder, out)
    facts = json.loads((out / "engine.json").read_bytes())
    del facts["sha256"]
    facts["engine"]["name"] = "cpu"
    (out / "engine.json").write_bytes(manifest.sealed(facts))
    return out


@pytest.mark.parametrize("quant", QUANTS)
def test_made_weights_are_those_of_a_build_that_writes_them(build, tmp_path, quant):
    """Logits are equal bit for bit, so all numbers, codes, scales and zero points are."""
    steps = ["attention.page=16", "max_tokens=64", "max_sequences=4"]
    written = build(*TINY, *QUANTS[quant], *steps, "engine=cpu")
    made = for_the_cpu(build(*TINY, *QUANTS[quant], *steps, "engine=cuda"), tmp_path / "made")
    assert " random=" in (made / "rank0" / "plan.txt").read_text()
    ids, found = list(range(40)), []
    for folder in (written, made):
        with Engine(folder, threads=1) as engine:
            found.append(engine.logits(ids))
    assert np.isfinite(found[0]).all() and found[0].std() > 0
    np.testing.assert_array_equal(*found)


def test_only_what_is_not_made_is_stored(build):
    """The file holds rope tables and the like; manifest, show and graph say what is missing."""
    folder = build(*TINY, "quant=fp8", "engine=cuda")
    facts = manifest.read(folder)
    tensors = facts["tensors"]["rank0"]
    made = {name for name, tensor in tensors.items() if tensor.get("made")}
    stored = {name for name, tensor in tensors.items() if "sha256" in tensor}
    assert made | stored == set(tensors) and not made & stored
    assert {"cos_LR", "sin_LR"} <= stored and "head_VD" in made
    assert all("random(" in tensors[name]["recipe"] for name in made)
    content = (folder / "rank0" / "weights.safetensors").read_bytes()
    assert "head_VD" not in content[:4096].decode(errors="replace")
    assert len(content) < sum(tensors[name]["bytes"] for name in made)
    graph = ir.load(folder / "rank0" / "graph.onnx").graph
    assert made <= {value.name for value in graph.inputs}
    assert not made & set(graph.initializers)
    shown = command("show", f"engine={folder}").stdout
    assert f"{len(made)} weights are random and made when the engine is opened" in shown


def test_a_plan_counts_what_is_stored(build, tmp_path):
    """core.plan says the bytes on disk, and that the rest is made."""
    folder = build(*TINY, "quant=fp8", "engine=cuda")
    given = [*TINY, "quant=fp8", "engine=cuda", "json=plan.json"]
    done = command("plan", *given, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "weights are random and made when the engine is opened" in done.stdout
    plan = json.loads((tmp_path / "plan.json").read_text())
    size = (folder / "rank0" / "weights.safetensors").stat().st_size
    assert plan["disk"]["rank0/weights.safetensors"] == size


def test_what_is_no_rows_of_random_numbers_is_stored():
    """Slices and concatenations of rows are described, other changes are not."""
    config = {"dtype": "bfloat16"}
    random = open_checkpoint("random", config, 7)
    a, b = random.tensor("a", [6, 4]), random.tensor("b", [2, 4])
    rows = weights.concat([weights.slice(a, 0, 1, 5), b])
    made = made_weight.made_of(weights.rename(rows, "rows"))
    assert [(part.offset, part.rows, part.columns) for part in made.parts] == [(4, 4, 4), (0, 2, 4)]
    made = made_weight.made_of(weights.slice(rows, 0, 3, 5))
    assert [(part.offset, part.rows) for part in made.parts] == [(16, 1), (0, 1)]
    stored = weights.constant(np.zeros((2, 4), ml_dtypes.bfloat16), "zeros")
    others = [
        weights.transpose(a), weights.slice(a, 1, 0, 2), weights.concat([a, a], 1),
        weights.concat([a, stored]), weights.add(a, 1.0), weights.cast(a, ir.DataType.FLOAT),
        weights.stack([a, a]),
    ]  # fmt: skip
    assert [made_weight.made_of(other) for other in others] == [None] * len(others)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("random=1:0:256:64", "SEED:OFFSET:ROWS:COLUMNS:SCALE"),
        ("random=1:0:256:63:0.5", "its parts give 16128 elements, its dimensions are of 16384"),
        ("random=1:0:256:64:nan", "a scale is a number from 0"),
        ("random=-1:0:256:64:0.5", "numbers below 2^64"),
        ("random=1:0:4398046511104:17592186044416:0.5", "absurdly large"),
        ("random=1:0:256:64:0.5 made=codes:bf16:f8e4m3:64:f32:0", "bf16 cannot be made so"),
        ("random=1:0:256:64:0.5 made=sums:bf16:f8e4m3:64:f32:0", "the part is codes"),
        ("random=1:0:256:64:0.5 made=scales:bf16:i4:48:bf16:0", "groups divide the columns"),
        ("random=1:0:256:64:0.5 made=codes:bf16:i4:16:f32:1", "nor has i4"),
        ("random=1:0:256:64:0.5 made=codes:i8:i4:16:f32:0", "numbers and scales are f32"),
        ("random=1:0:256:64:0.5 made=codes:bf16:i4:16:f32:0 x", "should have 6 words"),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(build, tmp_path, words, part):
    """A plan whose words do not give the weight's type and sizes is named with its line."""
    folder = for_the_cpu(build(*TINY, "engine=cuda"), tmp_path / "engine")
    plan = folder / "rank0" / "plan.txt"
    lines = plan.read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("weight embedding_VD "))
    lines[place] = f"weight embedding_VD bf16 256,64 {words}"
    plan.write_text("\n".join(lines) + "\n")
    facts = json.loads((folder / "engine.json").read_bytes())
    del facts["sha256"]
    entry = facts["files"]["rank0/plan.txt"]
    entry |= {"bytes": plan.stat().st_size, "sha256": manifest.file_sha256(plan)}
    (folder / "engine.json").write_bytes(manifest.sealed(facts))
    with pytest.raises(PlanError, match=rf"plan\.txt:{place + 1}: ") as caught:
        Engine(folder)
    assert part in str(caught.value)

"""core.bench: times beside the machine's limits, comparisons of like with like, a plot."""

import ctypes
import json
import xml.etree.ElementTree as xml

import numpy as np
import pytest
from conftest import command

from core import bench_page, manifest, native, step_cost
from core.command import PlanError

SMALL = ["model=llama2", "model.size=tiny", "checkpoint=random", "max_sequences=4"]
BATCH = ["workloads=[1x20/8,3x20/8,2x20/1,9x20/2]", "repeats=3", "warmup=1", "profile=true"]
WIDTH, INNER, LAYERS, HEADS, GROUPS, SIZE, VOCAB = 64, 176, 2, 4, 2, 16, 256  # of that model


@pytest.fixture(scope="module")
def engine(build):
    return build(*SMALL)


@pytest.fixture(scope="module")
def measured(engine, tmp_path_factory):
    """(folder with results.json and plot.svg, the results, the page)."""
    folder = tmp_path_factory.mktemp("bench")
    done = command(
        "bench", f"engine={engine}", *BATCH, "json=results.json", "plot=plot.svg", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.iterdir()} == {"results.json", "plot.svg"}
    return folder, json.loads((folder / "results.json").read_text()), done.stdout


def test_the_page_and_the_file_say_the_same(measured, engine):
    """Rows, hardware, versions, command and config are there; medians are those of the samples."""
    _, results, page = measured
    assert [row["workload"] for row in results["rows"]] == ["1x20/8", "3x20/8", "2x20/1", "9x20/2"]
    assert results["hardware"]["processor"] in page
    assert results["tools"]["numpy"] == np.__version__
    assert results["command"][-3:] == ["profile=true", "json=results.json", "plot=plot.svg"]
    assert results["config"]["warmup"] == 1
    assert results["engine"]["opening_s"] > 0 and results["engine"]["memory"]["weights"] > 0
    assert results["engine"]["built"]["model"]["size"] == "tiny"
    for row in results["rows"]:
        assert row["cached_tokens"] == 0 == row["preemptions"]
        for key in ("first_token_s", "between_tokens_s"):
            if row[key] is None:
                continue
            assert row[key]["median"] == pytest.approx(np.median(row[key]["samples"]))
            assert row[key]["p90"] == pytest.approx(np.percentile(row[key]["samples"], 90))
        waiting = row["concurrency"] > 4  # more than this engine holds in flight
        assert (row["first_token_s"] is None) == waiting
        assert (row["between_tokens_s"] is None) == (waiting or row["output_tokens"] == 1)
        assert len(row["tokens_per_second"]["samples"]) == (1 if waiting else 3)
        if not waiting:
            assert len(row["first_token_s"]["samples"]) == 3 * row["concurrency"]
        assert f"{row['tokens_per_second']['median']:.1f}" in page


def test_limits_are_bytes_and_operations_over_the_measured_rates(measured):
    """Each limit is the larger of bytes over the read rate and operations over the product rate."""
    _, results, _ = measured
    read = results["machine"]["read_bytes_per_second"]
    product = results["machine"]["operations_per_second"]
    assert read == max(results["machine"]["read_samples"])
    layer = 2 * WIDTH * SIZE * (HEADS + GROUPS) + 3 * WIDTH * INNER
    weights = LAYERS * (layer + 2 * WIDTH) + WIDTH + VOCAB * WIDTH
    tables = 4 * (HEADS + HEADS)  # slopes and sinks, float32
    assert results["engine"]["weight_bytes_a_step"] == 2 * weights + tables
    for row in results["rows"][:2]:
        count, length = row["concurrency"], 20 + 4
        cache = 2 * LAYERS * GROUPS * SIZE * 2 * length
        step = row["between_tokens_s"]
        assert step["bytes_a_step"] == 2 * weights + tables + count * cache
        pairs = 4 * HEADS * SIZE * LAYERS * length
        assert step["operations_a_step"] == count * (2 * (LAYERS * layer + VOCAB * WIDTH) + pairs)
        slower = max(step["bytes_a_step"] / read, step["operations_a_step"] / product)
        assert step["limit"] == pytest.approx(slower)
        # On a busy machine a longer answer can take less than a short one: no time, so no share.
        share = slower / step["median"] if step["median"] > 0 else 0
        assert step["share"] == pytest.approx(share)


@pytest.mark.parametrize("window", [0, 5])
def test_pairs_of_attention_are_counted(window):
    """Operations of a prompt equal a count over every query and every key that it sees."""
    group = step_cost.Group(window, 1.0, 7)
    cost = step_cost.StepCost(0, 0, 0, "bf16", (group,))
    for tokens in (1, 4, 5, 6, 23):
        pairs = sum(1 for q in range(tokens) for k in range(q + 1) if not window or q - k < window)
        assert cost.prefill_operations(tokens) == 7 * pairs


def test_ops_are_timed_with_their_kernels(measured):
    """profile=true lists what a step runs, ops of equal layers together, the slowest first."""
    _, results, page = measured
    assert [step["workload"] for step in results["ops"]] == ["1x20/8", "3x20/8", "2x20/1", "9x20/2"]
    ops = results["ops"][1]["ops"]
    gates = [op for op in ops if op["op"] == "ingot::Gate"]
    assert sum(gate["count"] for gate in gates) == LAYERS
    assert all(gate["kernel"] and "#" in gate["name"] for gate in gates)
    assert [op["seconds"] for op in ops] == sorted((op["seconds"] for op in ops), reverse=True)
    assert "3x20/8: the ops of a step of 3 sequences" in page and gates[0]["name"] in page


def test_codes_count_as_they_are_stored(build, tiny_llama):
    """Of an fp8 engine a step reads the bytes of the file, without embedding and rope tables."""
    folder = build("model=llama2", "quant=fp8", f"checkpoint={tiny_llama}")
    facts = manifest.read(folder)
    tensors = facts["tensors"]["rank0"]
    idle = ("embedding_VD", "cos_LR", "sin_LR")
    whole = sum(tensor["bytes"] for name, tensor in tensors.items() if name not in idle)
    assert step_cost.of(folder, facts).weight_bytes == whole
    assert step_cost.of(folder, facts).codes == "f8e4m3"
    (folder / "rank0" / "none").mkdir(exist_ok=True)
    with pytest.raises(PlanError, match="does not say what a step does"):
        step_cost.of(folder / "rank0" / "none", facts)
    (folder / "rank0" / "none").rmdir()


def test_the_plot_is_a_drawing_of_the_results(measured):
    """The SVG is well-formed, draws nothing from elsewhere and names every batch."""
    folder, _, _ = measured
    text = (folder / "plot.svg").read_text()
    root = xml.fromstring(text)
    words = [element.text for element in root.iter() if element.text]
    assert "tokens a second" in words and {"1x20/8", "9x20/2"} <= set(words)
    assert text.count("http") == text.count("http://www.w3.org/2000/svg") and "script" not in text


def test_runs_are_compared_row_by_row(measured, engine):
    """Ratios to a run of the same batches on the same machine; others are refused unless asked."""
    folder, results, _ = measured
    slow = json.loads(json.dumps(results))
    for row in slow["rows"][:3]:
        row["first_token_s"]["median"] *= 1e6
    (folder / "slow.json").write_text(json.dumps(slow))
    fast = ["repeats=1", "warmup=0", BATCH[0]]
    done = command("bench", f"engine={engine}", *fast, "compare=slow.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "  1x20/8: time to first token 0.000, time between tokens " in done.stdout
    slow["hardware"]["processor"] = "another"
    slow["rows"][0]["workload"] = "1x21/8"
    (folder / "slow.json").write_text(json.dumps(slow))
    done = command("bench", f"engine={engine}", *fast, "compare=slow.json", cwd=folder)
    assert done.returncode == 3
    assert "hardware, processor: " in done.stderr and "another there" in done.stderr
    assert "workloads: ['1x20/8', " in done.stderr and "['1x21/8', " in done.stderr
    done = command(
        "bench", f"engine={engine}", *fast, "compare=slow.json", "compare_anyway=true", cwd=folder
    )
    assert done.returncode == 0 and "3x20/8: time to first token 0.000" in done.stdout


@pytest.mark.parametrize(
    ("given", "code", "part"),
    [
        (["workloads=8"], 2, "write a list of rows: [1x128/256,8x512/256]"),
        (["workloads=[]"], 2, "write a list of rows"),
        (["workloads=[2x3/4,2x3/4]"], 2, "2x3/4 is there twice"),
        (["workloads=[0x3/4]"], 2, "'0x3/4' is not REQUESTSxPROMPT/OUTPUT"),
        (["workloads=[8]"], 2, "8 is not REQUESTSxPROMPT/OUTPUT"),
        (["workloads=[99999x3/4]"], 2, "99999x3/4 is too large"),
        (["workloads=[1x250/64]"], 2, "314 tokens a sequence, and one of this engine holds 256"),
        (["workloads=[1x2/3]", "compare=no.json"], 2, "compare=no.json cannot be read"),
    ],
)
def test_refusals(given, code, part, engine, tmp_path):
    """Batches that cannot run are refused before anything is measured."""
    done = command("bench", f"engine={engine}", *given, cwd=tmp_path)
    assert (done.returncode, part in done.stderr) == (code, True), done.stderr


def test_no_results_are_refused(tmp_path):
    """A file that core.bench did not write is named."""
    file = tmp_path / "other.json"
    for content in ("{}", "nonsense", "[1]", '{"format": "ingot-bench", "version": 9}'):
        file.write_text(content)
        with pytest.raises(PlanError, match=r"compare=.*other\.json"):
            bench_page.read(str(file))


def test_the_machine_is_measured():
    """Reading is measured in bytes a second, and what is asked wrongly is refused."""
    result = ctypes.c_double()
    measure = native.library().ingot_measure
    assert measure(b"read", 1, 0.05, ctypes.byref(result)) == 0
    assert 1e8 < result.value < 1e13
    for given in ((b"write", 1, 0.1), (b"read", 0, 0.1), (b"read", 1, float("nan"))):
        assert measure(*given, ctypes.byref(result)) == 2
    assert measure(None, 1, 0.1, ctypes.byref(result)) == 2
    assert measure(b"read", 1, 0.1, None) == 2

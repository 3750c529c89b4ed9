"""The readers of files, lines and messages under random changes of real inputs.

A short run of what `make fuzz` does at length: each target of tests/fuzz runs its seeds, the inputs
that failed once (tests/fuzz/regressions) and seeded random changes of both, as a program of its
own; a failure prints the seed and the input.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FUZZ = ROOT / "tests" / "fuzz"
TARGETS = sorted(path.stem for path in FUZZ.glob("fuzz_*.cc"))
SECONDS = 1  # of processor time, a target


@pytest.fixture(scope="module")
def corpus(small_engines, tmp_path_factory):
    """Seeds of every target."""
    out = tmp_path_factory.mktemp("corpus")
    engines = small_engines[0].parent
    subprocess.run([sys.executable, ROOT / "tests" / "fuzz_corpus.py", engines, out], check=True)
    return out


@pytest.mark.parametrize("target", TARGETS)
def test_target(programs, corpus, target, tmp_path):
    """It reads or refuses every input, within its memory and ten seconds."""
    folders = [
        folder for folder in (corpus / target, FUZZ / "regressions" / target) if folder.exists()
    ]
    assert (corpus / target).is_dir()
    command = [programs / target, *folders, f"seconds={SECONDS}", "runs=100000", "seed=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    crashes = {path.name: path.read_bytes()[:2000] for path in tmp_path.glob("crash-*")}
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-5000:]}{crashes}"
    assert int(done.stdout.split(" changed inputs")[0].split()[-1]) > 100, done.stdout


PLANTED = """
#include <cstdint>
#include <cstdlib>
#include <cstring>
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size > 3 && data[size / 2] == 0xff) abort();
  return 0;
}
"""


def test_a_failure_names_its_seed_and_keeps_its_input(tmp_path):
    """A planted mistake is found; run on the input that was kept, the program fails again."""
    (tmp_path / "planted.cc").write_text(PLANTED)
    (tmp_path / "seed").write_text("a harmless input")
    compiler = os.environ.get("CXX", "c++")
    sources = [FUZZ / "driver.cc", "planted.cc"]
    subprocess.run([compiler, "-std=c++20", *sources, "-o", "planted"], cwd=tmp_path, check=True)

    def run(*arguments):
        command = ["./planted", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    done = run("seed", "seed=7", "seconds=20")
    assert done.returncode != 0 and "seed=7, run " in done.stderr
    (kept,) = tmp_path.glob("crash-7-*")
    assert f"run ./planted {kept.name} runs=0" in done.stderr
    assert run(kept.name, "runs=0").returncode != 0
    assert run("seed", "runs=0").returncode == 0
    assert "neither a file" in run("no such file").stderr

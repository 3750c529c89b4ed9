"""Worlds that several test files share: the built-in model, and engines built by the command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import small_engines as small

ROOT = Path(__file__).parent.parent
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def command(name, *arguments, cwd=None, timeout=600):
    """Runs `python -m core.<name>` as a user would; the completed process, output as text."""
    return subprocess.run(
        [sys.executable, "-m", f"core.{name}", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.fixture(scope="session")
def tiny_llama():
    """The built-in checkpoint."""
    return ROOT / "models" / "tiny-llama"


@pytest.fixture(scope="session")
def heldout():
    """A text that tiny-llama was not trained on."""
    return ROOT / "tests" / "data" / "heldout.txt"


@pytest.fixture(scope="session")
def build(tmp_path_factory):
    """build(*overrides) -> engine folder, built once for equal overrides."""
    made = {}

    def build(*overrides):
        key = tuple(map(str, overrides))
        if key not in made:
            out = tmp_path_factory.mktemp("engine") / "engine"
            done = command("build", *key, f"out={out}", cwd=out.parent)
            assert done.returncode == 0, done.stdout + done.stderr
            made[key] = out
        return made[key]

    return build


@pytest.fixture(scope="session")
def small_engines(tmp_path_factory):
    """The folders of small engines of every kind, with text."""
    return small.build(tmp_path_factory.mktemp("engines"))


@pytest.fixture(scope="session")
def programs():
    """The folder of the compiled C++ tests; kept between runs: only what changed is compiled."""
    folder = ROOT / "build" / "tests"
    configure = ["cmake", "-S", ROOT / "kernels", "-B", folder, "-DINGOT_TESTS=ON", "-G", "Ninja"]
    for command in (configure, ["cmake", "--build", folder, "-j", str(os.cpu_count())]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return folder


@pytest.fixture(scope="session")
def prompts(heldout):
    """20 pieces of the held-out text, as text."""
    text = heldout.read_text()
    return [text[i * 19_000 : i * 19_000 + 40 + 23 * i] for i in range(20)]

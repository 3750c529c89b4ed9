"""The C++ tests of tests/cpp and the simulation, each built and run as a program of its own."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMES = [*sorted(path.stem for path in (ROOT / "tests" / "cpp").glob("*.cc")), "simulation"]


@pytest.mark.parametrize("name", NAMES)
def test_program(programs, name, request):
    """It ends without a failed assertion."""
    engines = request.getfixturevalue("small_engines") if name.startswith("test_engine") else []
    done = subprocess.run([programs / name, *engines], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]

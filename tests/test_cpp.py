"""The C++ tests of tests/cpp and the simulation, each built and run as a program of its own."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMES = [*sorted(path.stem for path in (ROOT / "tests" / "cpp").glob("*.cc")), "simulation"]


@pytest.fixture(scope="session")
def programs():
    """The folder of the compiled tests; kept between runs: only what changed is compiled."""
    folder = ROOT / "build" / "tests"
    configure = ["cmake", "-S", ROOT / "kernels", "-B", folder, "-DINGOT_TESTS=ON", "-G", "Ninja"]
    for command in (configure, ["cmake", "--build", folder, "-j", str(os.cpu_count())]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_program(programs, name):
    """It ends without a failed assertion."""
    done = subprocess.run([programs / name], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]

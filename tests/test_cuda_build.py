"""Whether the CUDA half is built: what CMake says with and without nvcc."""

import os
import subprocess

import pytest
from conftest import ROOT


def configured(folder, *settings, **environment):
    """The finished `cmake` on a fresh folder; output as text, one line a message."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CUDA", "INGOT"))}
    return subprocess.run(
        ["cmake", "-S", ROOT / "kernels", "-B", folder, *settings],
        capture_output=True, text=True, timeout=300, env={**kept, **environment},
    )  # fmt: skip


def test_without_nvcc_it_is_left_out(tmp_path):
    """The rest is configured, and a line says what is missing."""
    done = configured(tmp_path, "-DINGOT_NVCC=/nonexistent/nvcc")
    assert done.returncode == 0, done.stderr
    assert "CUDA half: not built, no nvcc that works was found" in done.stdout


def test_nvcc_that_was_demanded_is_missed(tmp_path):
    """INGOT_CUDA=ON makes its absence an error that says what to do."""
    done = configured(tmp_path, "-DINGOT_NVCC=/nonexistent/nvcc", "-DINGOT_CUDA=ON")
    assert done.returncode != 0
    assert "put CUDA 12.8 or newer on PATH" in " ".join(done.stderr.split())


def test_it_can_be_switched_off(tmp_path):
    done = configured(tmp_path, "-DINGOT_CUDA=off")
    assert done.returncode == 0 and "CUDA half: not built (INGOT_CUDA=off)" in done.stdout


def test_a_setting_that_is_none_is_refused(tmp_path):
    done = configured(tmp_path, "-DINGOT_CUDA=perhaps")
    assert done.returncode != 0 and "say ON, OFF or AUTO" in done.stderr


def test_the_environment_names_the_gpus(tmp_path):
    """INGOT_CUDA_ARCHITECTURES counts before what the folder was configured with."""
    done = configured(
        tmp_path, "-DINGOT_CUDA_ARCHITECTURES=80-real", INGOT_CUDA_ARCHITECTURES="90a-real"
    )
    if "not built" in done.stdout:
        pytest.skip("nvcc is needed")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" for 90a-real") == 1


def test_tests_and_sanitizers_leave_it_out(tmp_path):
    """They run on the CPU."""
    done = configured(tmp_path, "-DINGOT_TESTS=ON")
    assert done.returncode == 0 and "CUDA half: not built" in done.stdout

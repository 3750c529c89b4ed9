"""Signals and closed streams, at every moment: one line, the right exit code, nothing left."""

import os
import signal
import subprocess
import sys

import pytest

import core


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_terminated_while_a_plugin_is_imported(number, tmp_path):
    """The end is the end: it is not taken for a plugin that exits when it is imported."""
    source = (
        "import os, signal, sys\nfrom core import build, command, lookup\n"
        f"def load(kind, name):\n    try: os.kill(os.getpid(), {int(number)}); import time\n"
        "    except (Exception, SystemExit): print('taken for the plugin')\n"
        "lookup.load = load\nsys.argv = ['build', 'model=llama2', 'checkpoint=x']\nbuild.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "")


@pytest.mark.parametrize("moment", [0.1, 0.2, 0.3])
def test_interrupted_start(moment, tmp_path):
    """Ctrl-C while the command is still being imported is no traceback either."""
    process = subprocess.Popen(
        [sys.executable, "-m", "core.build", "model=llama2", "checkpoint=x"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    if process.returncode != 130:  # before Python had come to our code, or after the end
        assert process.returncode in (-signal.SIGINT, 3)
        return
    assert told == "interrupted\n"


def test_an_ignored_interrupt_stays_ignored():
    """What a shell started in the background ignores Ctrl-C, as other programs do."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        core.end_on_interrupt()
        core.raise_on_interrupt()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_closed_output(tmp_path):
    """A command whose standard output is closed still says what is wrong, with its code."""
    line = f"{sys.executable} -m core.show engine=nowhere >&-"
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 3 and done.stderr.startswith("engine=nowhere")


def test_a_traceback_is_added_not_put_in_place(tmp_path):
    """HYDRA_FULL_ERROR=1 shows where, then the sentence, and keeps the exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "core.show", "engine=nowhere"], cwd=tmp_path, capture_output=True,
        text=True, env={**os.environ, "HYDRA_FULL_ERROR": "1"},
    )  # fmt: skip
    assert done.returncode == 3 and done.stderr.startswith("Traceback")
    assert done.stderr.splitlines()[-1].startswith("engine=nowhere: engine.json cannot be read")

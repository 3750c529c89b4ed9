"""Values that no command and no caller should give: a sentence that names them, and code 2."""

import os
import signal
import subprocess
import sys

import pytest
from conftest import ROOT
from omegaconf import OmegaConf

import core
from core import Engine, Sampling, run
from core.command import ArgumentError, sentence


@pytest.fixture(scope="module")
def folder(build, tiny_llama):
    return build("model=llama2", f"checkpoint={tiny_llama}")


def told(task, name, **given):
    """(sentence, exit code) of a command's task with these values; None where it succeeds."""
    cfg = OmegaConf.load(ROOT / "conf" / "use" / f"{name}.yaml")
    cfg = OmegaConf.merge(cfg, OmegaConf.create(given))
    try:
        task(cfg)
    except Exception as error:
        return sentence(error)
    return None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("temperature", -1), ("temperature", "abc"), ("temperature", None), ("temperature", 10**40),
        ("top_p", 0), ("top_p", "x"), ("top_k", -1), ("top_k", 1.5), ("seed", -1), ("seed", 2**64),
        ("seed", "x"), ("max_tokens", "abc"), ("max_tokens", -1), ("max_tokens", None),
        ("stop", ""), ("stop", [1]), ("stop", [None]), ("stop", ["\udcff"]),
        ("logprobs", "x"), ("logprobs", 65), ("logprobs", True), ("ignore_eos", "maybe"),
        ("ignore_eos", None), ("cache_bytes", 1), ("cache_bytes", -1), ("cache_bytes", "x"),
        ("cache_bytes", 1.5), ("cache_bytes", 2**64 + 1), ("threads", -1), ("threads", 100_000),
        ("threads", "x"), ("threads", None), ("threads", 2**32 + 1), ("kernels", "nonsense"),
        ("kernels", None), ("kernels", 3),
    ],
)  # fmt: skip
def test_values_of_run(folder, key, value):
    """Every value of core.run that is out of range or of another type is refused by its name."""
    said, code = told(run.run, "run", engine=str(folder), prompt="x", **{key: value})
    assert code == 2 and said.startswith(key), said


@pytest.mark.parametrize(
    ("prompt", "part"),
    [("def " * 3000, "the prompt has "), ("\udcff", "the text is no Unicode at character 0")],
)
def test_prompts_of_run(folder, prompt, part):
    """A prompt that is too long or that is no Unicode is refused before anything is printed."""
    said, code = told(run.run, "run", engine=str(folder), prompt=prompt)
    assert code == 2 and said.startswith(part)


@pytest.mark.parametrize("prompt", [[1.5], ["a"], [None], 5, None, [[1]]])
def test_what_is_no_prompt(folder, prompt):
    """Neither a text nor token ids: told with what was given."""
    with Engine(folder) as engine, pytest.raises(ArgumentError, match="give a text, or a list of"):
        engine.submit(prompt)


@pytest.mark.parametrize("ids", [[-1], [2**40]])
def test_ids_that_are_no_tokens_are_not_decoded(folder, ids):
    """decode refuses what the vocabulary does not have."""
    with Engine(folder) as engine, pytest.raises(ArgumentError, match=str(ids[0])):
        engine.decode(ids)


def test_a_path_is_taken_whole(folder):
    """A NUL does not cut a path short: the folder before it is not opened."""
    with pytest.raises(ArgumentError, match="without NUL"):
        Engine(f"{folder}\0else")


def test_a_path_that_is_no_unicode(tmp_path, folder):
    """Folders may have names that are not UTF-8."""
    (tmp_path / os.fsdecode(b"\xff")).symlink_to(folder)
    with Engine(tmp_path / os.fsdecode(b"\xff")) as engine:
        assert engine.generate([[1]], Sampling(max_tokens=1))[0].token_ids


def test_an_engine_stays_where_it_was(folder, monkeypatch, tmp_path):
    """A relative path names the same folder after the process has changed its directory."""
    monkeypatch.chdir(folder.parent)
    with Engine(folder.name) as engine:
        monkeypatch.chdir(tmp_path)
        assert engine.encode("import os")


@pytest.mark.parametrize("moment", [0.03, 0.1, 0.2, 0.3])
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
        assert "/core/" not in told
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

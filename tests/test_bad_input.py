"""Values that no command and no caller should give: a sentence that names them, and code 2."""

import errno
import json
import os
import signal
import subprocess
import sys

import pytest
from conftest import ROOT
from omegaconf import OmegaConf

import core
from core import Engine, Sampling, engine_folder, eval, manifest, options, resolution, run, show
from core.checkpoint import open_checkpoint
from core.command import ArgumentError, ConfigError, MachineError, PlanError, sentence


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
        ("kernels", None), ("kernels", 3), ("min_p", 2), ("min_p", None), ("repetition_penalty", 0),
        ("presence_penalty", 3), ("frequency_penalty", "x"), ("no_repeat_ngram_size", -1),
        ("logit_bias", {-1: 2}), ("logit_bias", "x"), ("bad_words", ""), ("bad_words", [[]]),
        ("bad_words", 5), ("min_tokens", 65), ("prompt_logprobs", 65),
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


def test_more_cache_than_memory(folder):
    """cache_bytes beyond the machine's memory is told, instead of a book of pages that fills it."""
    said, code = told(run.run, "run", engine=str(folder), prompt="x", cache_bytes=2**62)
    assert code == 4 and said.startswith(f"cache_bytes is {2**62}; this machine has ")


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


@pytest.mark.parametrize(
    ("key", "value"),
    [("window", "abc"), ("window", None), ("window", 1), ("window", True), ("threads", "x"),
     ("kernels", "x"), ("text", "/no/such/file"), ("text", "/")],
)  # fmt: skip
def test_values_of_eval(folder, key, value, tmp_path):
    """core.eval judges its values like core.run."""
    (tmp_path / "text").write_text("def f(x):")
    given = {"engine": str(folder), "text": str(tmp_path / "text"), key: value}
    said, code = told(eval.evaluate, "eval", **given)
    assert code == 2 and said.startswith(key), said


def test_only_newlines_part_prompts(tmp_path):
    """A prompt may hold what else Unicode calls a line break."""
    (tmp_path / "prompts").write_bytes("a\u2028b\x0cc\r\n\n d\n".encode())
    assert run.read_prompts(str(tmp_path / "prompts")) == ["a\u2028b\x0cc", " d"]


def test_home_in_a_path(tmp_path, monkeypatch):
    """`~` is the home in every path, where a shell has not replaced it, and no folder's name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "prompts").write_text("x")
    assert run.read_prompts("~/prompts") == ["x"]
    assert options.folder("~/e") == tmp_path / "e"
    assert resolution._values(BUILD | {"out": "~/e"}, [])["out"] == tmp_path / "e"
    with pytest.raises(PlanError, match=f"{tmp_path}/c does not exist"):
        open_checkpoint("~/c", None, 0)
    with pytest.raises(PlanError, match="~nobody-at-all/c does not exist"):
        open_checkpoint("~nobody-at-all/c", None, 0)


BUILD = {
    "checkpoint": "c", "out": "e", "dtype": "auto", "max_tokens": 1, "max_sequences": 1,
    "max_length": None, "seed": 0, "dump": False,
}  # fmt: skip


@pytest.mark.parametrize("key", ["max_tokens", "max_sequences", "max_length"])
def test_no_engine_that_cannot_be_opened(key):
    """A limit beyond what the runtime opens is refused before anything is built."""
    most = resolution.MOST[key]
    errors = []
    resolution._values(BUILD | {key: most}, errors)
    assert errors == []
    resolution._values(BUILD | {key: most + 1}, errors)
    assert len(errors) == 1 and errors[0].startswith(f"{key}={most + 1}: it must be a number of")


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (["model=null"], "model=null: a preset has a name (there are: decoder, llama2"),
        (["=x"], "=x: values are given as key=value"),
        (["-m", "--cfg", "job"], "--multirun and --cfg: only one of them at a time"),
        (["-m", "model=llama2", "checkpoint=x", "max_length=8,16"], "2 of the 2 builds would be"),
        (["model=llama2", "model.size=[a]", "checkpoint=random"], "model.size=['a']: this preset"),
    ],
)
def test_what_hydra_says_otherwise(given, part, tmp_path):
    """Overrides that Hydra takes, or refuses with an exception of another kind."""
    done = subprocess.run(
        [sys.executable, "-m", "core.build", *given], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2 and part in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_numbers_that_json_lacks(tmp_path):
    """A manifest with an infinity in it can be read again, by every reader of JSON."""
    content = manifest.sealed({"a": [float("inf")], "b": {"c": float("nan")}})
    read = json.loads(content, parse_constant=lambda word: pytest.fail(word))
    assert (read["a"], read["b"]) == (["inf"], {"c": "nan"})


def engine_at(place, **more):
    """The smallest folder that counts as an engine."""
    place.mkdir()
    (place / "weights").write_text("w")
    (place / "engine.json").write_bytes(
        manifest.sealed({"files": {"weights": {"bytes": 1}}, **more})
    )


def refusal(out, error=ConfigError):
    with pytest.raises(error) as refused, engine_folder.appearing(out):
        pass
    return str(refused.value)


def test_nothing_of_others_is_replaced(tmp_path):
    """A folder stays that holds other files too, or another program's engine.json."""
    engine_at(tmp_path / "e")
    (tmp_path / "e" / "thesis.txt").write_text("x")
    assert "what is no part of the engine there (thesis.txt)" in refusal(tmp_path / "e")
    (tmp_path / "game").mkdir()
    (tmp_path / "game" / "engine.json").write_text("{}")
    assert "it has no engine.json of Ingot" in refusal(tmp_path / "game")
    assert (tmp_path / "e" / "thesis.txt").exists() and (tmp_path / "game").exists()


def test_a_damaged_engine_can_be_built_again(tmp_path):
    """An engine whose manifest was cut, and one with dumped graphs, are replaced."""
    for name, cut in (("a", 30), ("b", None)):
        engine_at(tmp_path / name)
        content = (tmp_path / name / "engine.json").read_bytes()
        (tmp_path / name / "engine.json").write_bytes(content[:cut])
        (tmp_path / name / "dump").mkdir()
        (tmp_path / name / "dump" / "graph.txt").write_text("x")
        with engine_folder.appearing(tmp_path / name) as hidden:
            (hidden / "new").write_text("x")
        assert [path.name for path in (tmp_path / name).iterdir()] == ["new"]


def test_places_where_no_folder_can_be(tmp_path):
    """`out` below a file is the config's mistake; a name that the disk refuses, the machine's."""
    (tmp_path / "file").write_text("x")
    for out in ("file/e", "file/a/b"):
        assert f"out={tmp_path / out}: {tmp_path}/file" in refusal(tmp_path / out)
    assert "the folder cannot be made (File name too long)" in refusal(
        tmp_path / ("x" * 300), MachineError
    )


def test_a_full_disk(tmp_path):
    """Whoever runs out of space is told where, and nothing is left."""
    with (
        pytest.raises(MachineError, match=r"out=.*no space is left on its disk .*nothing was kept"),
        engine_folder.appearing(tmp_path / "e"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())


FACTS = {"format": "ingot-engine", "format_version": 1}


@pytest.mark.parametrize(
    ("facts", "part"),
    [
        ({}, "does not say which files there are"),
        ({"files": []}, "does not say which files there are"),
        ({"files": {"a": {}}}, "does not say which files there are"),
        ({"files": {}}, "is sealed, but does not say what this version shows (KeyError: 'model')"),
        ({"files": {}, "model": 3}, "does not say what this version shows"),
    ],
)
def test_a_sealed_manifest_of_something_else(tmp_path, facts, part):
    """What a manifest lacks is told by show, whoever sealed it."""
    (tmp_path / "engine.json").write_bytes(manifest.sealed(FACTS | facts))
    with pytest.raises(PlanError) as error:
        show.show(tmp_path)
    assert part in str(error.value)


@pytest.mark.parametrize("value", ["maybe", None, 1])
def test_verify_of_show(tmp_path, value):
    """verify=maybe is not taken for true."""
    said, code = told(show._hydra_main.__wrapped__, "show", engine=str(tmp_path), verify=value)
    assert code == 2 and said.startswith("verify is ")

"""Values that no command and no caller should give: a sentence that names them, and code 2."""

import subprocess
import sys

import pytest
from conftest import ROOT
from omegaconf import OmegaConf

from core import Engine, eval, options, resolution, run, show
from core.checkpoint import open_checkpoint
from core.command import ArgumentError, PlanError, sentence


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
        (["model=null"], "model=null: a preset has a name (there are: baichuan, bloom"),
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


@pytest.mark.parametrize("value", ["maybe", None, 1])
def test_verify_of_show(tmp_path, value):
    """verify=maybe is not taken for true."""
    said, code = told(show._hydra_main.__wrapped__, "show", engine=str(tmp_path), verify=value)
    assert code == 2 and said.startswith("verify is ")

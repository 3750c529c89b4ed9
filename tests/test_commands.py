"""The commands from outside: exit codes, sentences instead of tracebacks, no litter, quick help."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from core import arguments, engine_folder, free_text, manifest
from core.command import ConfigError, MachineError, PlanError

TINY = Path(__file__).parent.parent / "models" / "tiny-llama"


def run(command, *given, cwd, **environment):
    """The finished process of `python -m core.<command> …` in another folder."""
    return subprocess.run(
        [sys.executable, "-m", f"core.{command}", *given],
        cwd=cwd, capture_output=True, text=True, timeout=300,
        env={**os.environ, "HYDRA_FULL_ERROR": "", **environment},
    )  # fmt: skip


@pytest.mark.parametrize("command", ["build", "plan", "run", "show", "eval", "bench"])
def test_help_is_quick_and_has_examples(command, tmp_path):
    """--help takes under a second, ends with 0, shows how to call it and leaves nothing behind."""

    def processor_seconds():  # what a busy machine does not stretch
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = processor_seconds()
    done = run(command, "--help", cwd=tmp_path)
    assert processor_seconds() - before < 1
    assert done.returncode == 0
    assert f"python -m core.{command} " in done.stdout
    assert not list(tmp_path.iterdir())


def test_nothing_heavy_before_composition():
    """--help imports no numpy, onnx, onnxscript or torch."""
    source = (
        "import sys\nsys.argv = ['build', '--help']\nfrom core.build import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'onnx', 'onnx_ir', 'onnxscript', 'torch', 'transformers', 'tensorrt'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_config_is_shown_resolved(tmp_path):
    """--cfg job --resolve prints the composed config, with flags between the overrides."""
    done = run("build", "model=llama2", "--cfg", "job", "quant=fp8", "--resolve", cwd=tmp_path)
    assert done.returncode == 0
    assert OmegaConf.create(done.stdout).out == "engines/llama2-fp8"
    assert not list(tmp_path.iterdir())


def test_search_path_is_shown(tmp_path):
    """--info searchpath lists our configs."""
    done = run("build", "--info", "searchpath", cwd=tmp_path)
    assert done.returncode == 0 and "pkg://conf" in done.stdout


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (["model=lama2"], "did you mean llama2?"),
        (["model=llama2", "+typo=1"], "typo: no such key"),
        (["fp8"], "values are given as key=value"),
        (["--quant=fp8"], "no such flag; values are given as quant=fp8"),
        (["--resolv"], "did you mean --resolve?"),
        (["--cfg", "jobs"], "it takes one of job, hydra, all"),
        (["--config-path=x"], "add a folder with --config-dir"),
        (["hydra.run.dir=x"], "only hydra.searchpath has a meaning"),
        (["--config-dir", "nowhere", "model=llama2"], "there is no such folder"),
        (["model=llama2", "quant=none,fp8"], "add -m"),
        (["model=llama2", "dtype=[1"], "dtype=[1"),
    ],
)
def test_wrong_config_is_code_2(given, part, tmp_path):
    """A wrong command line ends with 2 and a sentence, and leaves nothing behind."""
    done = run("build", *given, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert part in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["run", "show", "eval", "bench"])
def test_unknown_key_of_every_command(command, tmp_path):
    """`+typo=1` is refused by every command."""
    done = run(command, "engine=x", "+engin=1", cwd=tmp_path)
    assert done.returncode == 2 and "did you mean engine?" in done.stderr


def test_traceback_on_request(tmp_path):
    """HYDRA_FULL_ERROR=1 shows where an error is from."""
    done = run("build", "model=lama2", cwd=tmp_path, HYDRA_FULL_ERROR="1")
    assert done.returncode != 0 and "Traceback" in done.stderr


def test_missing_checkpoint_is_code_3(tmp_path):
    """A checkpoint that is not there ends with 3, and no folder appears."""
    done = run("build", "model=llama2", "checkpoint=nowhere/at all", "out=e", cwd=tmp_path)
    assert done.returncode == 3 and "nowhere/at all" in done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


def test_sweep_builds_each_and_leaves_only_engines(tmp_path):
    """-m builds every combination into a folder of its own name, without Hydra's own files."""
    done = run("build", "-m", "model=llama2", "quant=none,fp8", f"checkpoint={TINY}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["engines"]
    assert sorted(p.name for p in (tmp_path / "engines").iterdir()) == ["llama2-fp8", "llama2-none"]
    written = manifest.read(tmp_path / "engines" / "llama2-fp8")
    assert written["provenance"]["checkpoint"].startswith("command line: ")


@pytest.mark.parametrize("moment", ["checkpoint", "quant.fp8", "lowered"])
def test_interrupted_build_leaves_nothing(moment, tmp_path):
    """Ctrl-C ends a build with 130, one line and no folder, whenever it comes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "core.build", "model=llama2", "quant=fp8",
         f"checkpoint={TINY}", "out=e"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stdout:
        if moment in line:
            process.send_signal(signal.SIGINT)
            break
    _, told = process.communicate(timeout=60)
    if process.returncode == 0:  # the interrupt came after the end: the engine is whole
        manifest.read(tmp_path / "e")
        return
    assert (process.returncode, told.strip()) == (130, "interrupted")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    [
        "def f(x):", "a=b, c='d' \"e\"", "{x: [1, 2", "\\", "\\\\'", "it's", "${x} \\${y} $z",
        "???", "null", "[a]", "  spaced  ", "two\nlines\t", "ü–漢字🙂", "~a +b", "key=\\'v\\'", "",
    ],
)  # fmt: skip
def test_prompt_is_verbatim(text):
    """What was typed comes out of Hydra's grammar and OmegaConf unchanged."""
    [override] = OverridesParser.create().parse_overrides(
        [free_text.quoted(f"prompt={text}", "run")]
    )
    assert OmegaConf.create({"prompt": override.value()}).prompt == text


def test_stop_takes_a_list_and_a_string():
    """stop=[a,b] is a list; anything else is one string, verbatim."""
    parse = OverridesParser.create().parse_overrides
    values = [parse([free_text.quoted(t, "run")])[0].value() for t in ("stop=[a,b]", "stop=a=,b")]
    assert values[0] == ["a", "b"] and values[1] == "a=,b"


def test_only_free_texts_are_quoted():
    """A choice named like a path keeps Hydra's grammar: engine=cpu of a build."""
    assert free_text.quoted("engine=cpu", "build") == "engine=cpu"
    assert free_text.quoted("engine=a=b", "run") == "engine='a=b'"


def test_flags_may_stand_anywhere():
    """Overrides and flags are told apart whatever their order."""
    flags, overrides = arguments.split(["a=1", "-c", "job", "b=2", "--info", "c=3"], "build")
    assert (flags, overrides) == (["--cfg", "job", "--info"], ["a=1", "b=2", "c=3"])


def test_folder_appears_whole_or_not(tmp_path):
    """While it is written nothing stands at its place; after a failure nothing is left."""
    out = tmp_path / "e"
    with pytest.raises(ZeroDivisionError), engine_folder.appearing(out) as folder:
        (folder / "x").write_text("x")
        assert not out.exists()
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_old_engine_is_replaced_at_once(tmp_path):
    """An engine folder stays until its successor is complete; other folders are not touched."""
    out = tmp_path / "e"
    for number in "12":
        with engine_folder.appearing(out) as folder:
            (folder / "engine.json").write_bytes(manifest.sealed({"number": number, "files": {}}))
            if number == "2":
                assert json.loads((out / "engine.json").read_bytes())["number"] == "1"
    assert json.loads((out / "engine.json").read_bytes())["number"] == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["e"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with (
        pytest.raises(ConfigError, match="not an engine folder"),
        engine_folder.appearing(tmp_path / "mine"),
    ):
        pass
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"


def test_two_builds_of_one_folder(tmp_path):
    """The second build is refused while the first runs, and what a killed one left is cleared."""
    out = tmp_path / "e"
    with engine_folder.appearing(out) as folder:
        (folder / "engine.json").write_bytes(manifest.sealed({"files": {}}))
        with pytest.raises(MachineError, match="another process"), engine_folder.appearing(out):
            pass
        assert (folder / "engine.json").exists()
    (tmp_path / ".e.building").mkdir()
    (tmp_path / ".e.building" / "rest").write_text("of a killed build")
    with engine_folder.appearing(out) as folder:
        assert not (folder / "rest").exists()
        (folder / "engine.json").write_bytes(manifest.sealed({"files": {}}))
    assert [path.name for path in tmp_path.iterdir()] == ["e"]


def test_manifest_is_judged(tmp_path):
    """A manifest that is missing, edited, of another version or without its files is refused."""
    good = {"format": "ingot-engine", "format_version": 1, "files": {"a": {"bytes": 3}}}
    (tmp_path / "a").write_text("abc")
    file = tmp_path / "engine.json"
    with pytest.raises(PlanError, match="cannot be read"):
        manifest.read(tmp_path)
    file.write_bytes(manifest.sealed(good))
    assert manifest.read(tmp_path)["files"] == good["files"]
    assert json.loads(file.read_bytes())["sha256"]
    file.write_bytes(manifest.sealed(good).replace(b'"bytes": 3', b'"bytes": 4'))
    with pytest.raises(PlanError, match="edited"):
        manifest.read(tmp_path)
    file.write_bytes(manifest.sealed({**good, "format_version": 9}))
    with pytest.raises(PlanError, match="version 9"):
        manifest.read(tmp_path)
    file.write_bytes(manifest.sealed(good))
    (tmp_path / "a").write_text("ab")
    with pytest.raises(PlanError, match="has 2 bytes, the manifest says 3"):
        manifest.read(tmp_path)
    (tmp_path / "a").unlink()
    with pytest.raises(PlanError, match="incomplete"):
        manifest.read(tmp_path)
    file.write_bytes(b"[" * 100000)
    with pytest.raises(PlanError, match="not a manifest"):
        manifest.read(tmp_path)


@pytest.mark.parametrize("how", ["version", "names"])
def test_another_owner_of_core_is_named(how, tmp_path):
    """Where another distribution's core/__init__.py stands in ours, it is named, with code 4."""
    change = "core.__version__ = '9'" if how == "version" else "del core.DISTRIBUTION"
    info = tmp_path / "intruder-3.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: intruder\nVersion: 3.0\n")
    (info / "top_level.txt").write_text("core\n")
    source = f"import core, core.command\n{change}\ncore.command.run(lambda: None)"
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "HYDRA_FULL_ERROR": ""},
    )  # fmt: skip
    assert done.returncode == 4 and "also owned by intruder" in done.stderr

"""Folders that a build may not replace or cannot make, and engines that are not as they were."""

import errno
import json
import os
import shutil

import pytest

from core import Engine, Sampling, engine_folder, manifest, show
from core.command import ArgumentError, ConfigError, MachineError, PlanError


@pytest.fixture(scope="module")
def folder(build, tiny_llama):
    return build("model=llama2", f"checkpoint={tiny_llama}")


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


def test_an_engine_that_was_moved(folder, tmp_path):
    """Tokens go on; text, whose tokenizer was not read yet, is told why not."""
    shutil.copytree(folder, tmp_path / "e")
    with Engine(tmp_path / "e") as engine:
        (tmp_path / "e").rename(tmp_path / "f")
        assert engine.generate([[1]], Sampling(max_tokens=1))[0].token_ids
        with pytest.raises(PlanError, match="was moved or removed after it was opened"):
            engine.encode("x")


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

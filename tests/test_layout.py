"""What the tree promises a reader: sizes, names, directions of imports."""

import ast
import re
from pathlib import Path

import pytest
from conftest import ROOT

# Design section and style: a file over its limit hides a second noun.
LIMITS = {"core/*.py": 325, "plugins/**/*.py": 300, "kernels/**/*.cc": 400, "kernels/**/*.h": 320}
VAGUE = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "base"}


@pytest.mark.parametrize("pattern", LIMITS)
def test_files_are_small(pattern):
    """No file is longer than its kind may be."""
    long = {
        str(path.relative_to(ROOT)): count
        for path in ROOT.glob(pattern)
        if (count := len(path.read_text("utf-8").splitlines())) > LIMITS[pattern]
    }
    assert long == {}


def test_names_say_something():
    """No module is called utils, helpers, common, …"""
    folders = ("core", "plugins", "kernels", "tests", "conf")
    found = [p for folder in folders for p in (ROOT / folder).rglob("*.*") if p.stem in VAGUE]
    assert found == []


def test_no_python_in_kernels():
    """kernels/ holds no Python: a package `kernels` would shadow one that transformers imports."""
    assert list((ROOT / "kernels").rglob("*.py")) == []


def test_core_does_not_know_the_plugins():
    """Nothing in core/ imports plugins; they are reached through entry points."""
    for path in (ROOT / "core").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                assert not [a for a in node.names if a.name.split(".")[0] == "plugins"], path
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] != "plugins", path


def test_lines_fit():
    """Python has lines of at most 100 columns, C++ of 120."""
    wide = []
    for folder, suffixes, most in [
        ("core", (".py",), 100), ("plugins", (".py",), 100), ("tests", (".py",), 110),
        ("kernels", (".cc", ".h"), 121),
    ]:  # fmt: skip
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in suffixes and "_native" not in path.parts:
                lines = path.read_text("utf-8").splitlines()
                wide += [f"{path}:{i}" for i, line in enumerate(lines, 1) if len(line) > most]
    assert wide == []


def test_the_map_names_what_is_there():
    """Every file and folder that README's map names exists."""
    text = (ROOT / "README.md").read_text("utf-8")
    section = text.partition("## The map")[2].partition("\n## ")[0]
    folder, missing = Path(), []
    for line in section.splitlines():
        if match := re.match(r"    ([a-z]+)/ ", line):
            folder = ROOT / match[1]
            if not folder.is_dir():
                missing.append(match[1])
        for name in re.findall(r"\b[a-z_]+\.(?:py|md|cc|h)\b", line):
            if not list(folder.rglob(name)):
                missing.append(f"{folder.name}/{name}")
    assert missing == []

"""What the papers say is so: README's commands and code run, every hook and op is described."""

import inspect
import os
import re
import shlex
import subprocess
import sys

import pytest
from conftest import ROOT

from core import hookspecs, model_reference, op_reference, ops

README = (ROOT / "README.md").read_text("utf-8")
# What stands in for things that a test machine does not have.
INSTEAD = {"/path/to/hf/folder": "models/tiny-llama", "model.size=7b": "model.size=tiny"}


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands():
    """Every line `$ …` of README, in order, without its comment."""
    lines = [line for block in blocks("console") for line in block.splitlines()]
    return [shlex.join(shlex.split(line[2:], comments=True)) for line in lines if line[:2] == "$ "]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the built-in model and the tests' data, as in the source tree."""
    place = tmp_path_factory.mktemp("readme")
    for name in ("models", "tests"):
        (place / name).symlink_to(ROOT / name)
    (place / "prompts.txt").write_text("import os\nclass Reader:\ndef f(x):\n")
    return place


def test_commands_run_as_written(folder):
    """Each command of README ends without an error, in the order of the page."""
    assert len(commands()) > 12
    for command in commands():
        if command.startswith("pip install"):
            continue  # test_third_party.py installs that package, in an environment of its own
        for said, meant in INSTEAD.items():
            command = command.replace(said, meant)
        if "quant=nf4" in command:
            continue  # test_third_party.py
        line = command.replace("python -m", f"{shlex.quote(sys.executable)} -m", 1)
        done = subprocess.run(
            ["bash", "-c", line], cwd=folder, capture_output=True, text=True, timeout=300,
            env={**os.environ, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"},
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_code_runs_as_written(folder):
    """README's first Python block runs on the engine that its commands built."""
    [code] = [block for block in blocks("python") if "from core import Engine" in block]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_every_hook_is_described():
    """README and the design name each hook with its arguments."""
    for page in ("README.md", "docs/design.md"):
        text = (ROOT / page).read_text("utf-8")
        for name in hookspecs.HOOKS:
            arguments = ", ".join(inspect.signature(getattr(hookspecs, name)).parameters)
            assert f"`{name}({arguments})`" in text, f"{page}: {name}({arguments})"


def test_every_preset_is_named():
    """README's table of choices names each preset."""
    for path in (ROOT / "conf").glob("*/*.yaml"):
        if path.parent.name != "use":
            assert f"`{path.stem}`" in README, path


def test_the_page_of_models_is_made_of_the_presets():
    """docs/models.md is what the presets say; INGOT_GOLDEN=1 writes it anew."""
    page, path = model_reference.page((ROOT / "conf/model").glob("*.yaml")), ROOT / "docs/models.md"
    if os.environ.get("INGOT_GOLDEN"):
        path.write_text(page, "utf-8")
    assert path.read_text("utf-8") == page


def test_the_op_page_is_made_of_the_rows():
    """docs/ops.md is what the rows say; INGOT_GOLDEN=1 writes it anew."""
    page, path = op_reference.page(ops.register()), ROOT / "docs" / "ops.md"
    if os.environ.get("INGOT_GOLDEN"):
        path.write_text(page, "utf-8")
    assert path.read_text("utf-8") == page

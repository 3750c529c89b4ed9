"""Presets and plugins agree: whoever bears a plugin's name lists its fields, nobody more."""

from dataclasses import fields
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from core import lookup, search_path
from core.hookspecs import KINDS
from core.resolution import SPARED

CONF = Path(str(files("conf")))
PRESETS = sorted(path for kind in KINDS for path in (CONF / kind).glob("*.yaml"))


def names(path):
    return f"{path.parent.name}={path.stem}"


@pytest.mark.parametrize("path", PRESETS, ids=names)
def test_preset_fits_its_plugin(path):
    """Every key of a preset is a field; the preset of the plugin's own name lists every field."""
    kind, preset = path.parent.name, path.stem
    search_path.register()
    with initialize_config_module("conf", version_base="1.3"):
        node = compose("build", [f"{kind}={preset}"])[kind]
    values = OmegaConf.to_container(node, resolve=False)
    name = values.pop("name")
    if name == "none" and kind in SPARED:
        assert not values
        return
    cls, _ = lookup.load(kind, name)
    known = {field.name for field in fields(cls)}
    assert values.keys() <= known
    if preset == name:
        assert values.keys() == known


@pytest.mark.parametrize("path", PRESETS, ids=names)
def test_preset_begins_with_its_command(path):
    """The first line of a preset is the command that uses it."""
    first = path.read_text().splitlines()[0]
    assert first.startswith("# python -m core.build ")
    if path.parent.name == "model":
        assert f"model={path.stem}" in first
    else:
        assert f"{path.parent.name}={path.stem}" in first


@pytest.mark.parametrize("command", ["build", "plan", "run", "show", "eval", "bench"])
def test_every_command_composes(command):
    """Each command's own YAML composes without a choice, so that --help works."""
    module = search_path.module(command)
    with initialize_config_module(module, version_base="1.3"):
        cfg = compose(command)
    text = files(module).joinpath(f"{command}.yaml").read_text()
    listed = yaml.safe_load(text).keys() - {"defaults", "hydra"}
    assert listed <= set(cfg)


def test_no_code_in_config():
    """No preset has a `_target_`: config holds values only."""
    assert not [path for path in CONF.rglob("*.yaml") if "_target_" in path.read_text()]

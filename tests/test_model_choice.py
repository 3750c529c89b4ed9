"""model=auto: the checkpoint's config.json chooses among the presets' `matches`."""

import json
from pathlib import Path

import pytest
import yaml

from core import model_choice
from core.command import ConfigError, PlanError

CONF = Path(__file__).parent.parent / "conf" / "model"
PRESETS = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "decoder")


def written(folder, config):
    (folder / "config.json").write_text(json.dumps(config))
    return f"checkpoint='{folder}'"


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_found_by_its_published_sizes(name):
    """config.json of each size leads to the preset, or to one that reads it in the same way."""
    found = model_choice.presets()
    for config in yaml.safe_load((CONF / f"{name}.yaml").read_text())["sizes"].values():
        chosen, why = model_choice.chosen(config, found)
        assert chosen == ("llama2" if name == "llama3" else name)
        assert config["model_type"] in why


def test_the_checkpoint_decides(tmp_path):
    """Where model is not given, or is auto, a preset is put in its place."""
    checkpoint = written(tmp_path, {"model_type": "qwen3"})
    for overrides in ([checkpoint], ["model=auto", checkpoint], [checkpoint, "model=auto"]):
        assert model_choice.decided(overrides) == ["model=qwen3", checkpoint]


def test_a_named_model_stays(tmp_path):
    """A preset that is named is not questioned, and random weights decide nothing."""
    checkpoint = written(tmp_path, {"model_type": "qwen3"})
    for overrides in (["model=llama2", checkpoint], ["quant=fp8"], ["checkpoint='random'"]):
        assert model_choice.decided(overrides) == overrides


def test_presets_of_packages_and_folders_count(tmp_path):
    """--config-dir may bring a preset; of two that match, the one that asks for more is taken."""
    (tmp_path / "model").mkdir()
    own = {"name": "decoder", "matches": {"model_type": "llama", "rope.kind": ["own", "other"]}}
    (tmp_path / "model" / "own.yaml").write_text(yaml.safe_dump(own))
    (tmp_path / "model" / "broken.yaml").write_text("a: [")
    config = {"model_type": "llama", "rope": {"kind": "own"}}
    chosen, why = model_choice.chosen(config, model_choice.presets(tmp_path))
    assert chosen == "own" and why == "config.json says model_type llama, rope.kind own"
    chosen, _ = model_choice.chosen({"model_type": "llama"}, model_choice.presets(tmp_path))
    assert chosen == "llama2"


def test_an_unknown_model_gets_the_nearest():
    """The nearest preset is tried, and refuses with what it lacks; without one, llama2 is."""
    found = model_choice.presets()
    assert model_choice.chosen({"model_type": "qwen_3"}, found)[0] == "qwen3"
    chosen, why = model_choice.chosen({"model_type": "xyzzy"}, found)
    assert chosen == "llama2" and why == "no preset covers model_type xyzzy; this is the nearest"
    assert model_choice.chosen({}, found)[0] == "llama2"


def test_auto_without_a_checkpoint_is_refused(tmp_path):
    """Nothing can decide: no checkpoint, random weights, no config.json, one that is no table."""
    for overrides in (["model=auto"], ["model=auto", "checkpoint='random'"]):
        with pytest.raises(ConfigError, match=r"config\.json of the checkpoint decides"):
            model_choice.decided(overrides)
    with pytest.raises(PlanError, match=r"config\.json is missing"):
        model_choice.decided([f"checkpoint='{tmp_path}'"])
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(PlanError, match=r"config\.json"):
        model_choice.decided([f"checkpoint='{tmp_path}'"])

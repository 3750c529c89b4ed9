"""From a config to plugins: every way in which a plugin can be wrong is a sentence."""

import sys
import textwrap

import pytest
from hydra import initialize_config_module

from core import composition, lookup, search_path
from core.command import ConfigError
from core.resolution import errors, resolve

GOOD = "from typing import ClassVar\nfrom core import hookimpl, plugin\n"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A function that installs a package with one module, one entry point and its presets."""

    def install(package, entries, source="", presets=None):
        site = tmp_path / f"{package}_site"
        (site / package).mkdir(parents=True)
        (site / package / "__init__.py").write_text(textwrap.dedent(source))
        for path, text in (presets or {}).items():
            file = site / package / "conf" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        info = site / f"{package}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.5\n")
        lines = "\n".join(f"{name} = {value}" for name, value in entries.items())
        (info / "entry_points.txt").write_text(f"[ingot]\n{lines}\n")
        monkeypatch.delitem(sys.modules, package, raising=False)
        monkeypatch.syspath_prepend(str(site))

    return install


def sentences(*overrides):
    """Everything that is said against a build with these overrides."""
    search_path.register()
    with initialize_config_module("conf", version_base="1.3"):
        try:
            cfg = composition.configured("build", list(overrides), errors)
            return errors(composition.activated(cfg))
        except ConfigError as error:
            return str(error).splitlines()


def plugin_class(body, decorator="@plugin", api="    api: ClassVar[int] = 1\n"):
    return f"{GOOD}{decorator}\nclass Odd:\n{api}{textwrap.indent(textwrap.dedent(body), '    ')}"


def odd(install, source):
    """What is said against quant.name=odd, whose class is in `source`."""
    install("odd_package", {"quant.odd": "odd_package:Odd"}, source)
    with pytest.raises(lookup.LookupFailure) as failure:
        lookup.load("quant", "odd")
    return str(failure.value)


def test_no_model_lists_presets():
    """Without a model the presets are listed, and one of them is suggested."""
    [said] = [s for s in sentences("checkpoint=x") if s.startswith("model")]
    assert "add model=llama2" in said and "mistral" in said


def test_all_errors_at_once():
    """A wrong preset, a wrong key at the top and below, and a wrong value are told together."""
    said = "\n".join(
        sentences("model=lama2", "quant=fp9", "chekpoint=x", "dtype=int3", "+typo=1", "engine.x=1")
    )
    assert "model=lama2: there is no such preset" in said and "did you mean llama2?" in said
    assert "quant=fp9: there is no such preset" in said and "did you mean fp8?" in said
    assert "chekpoint: no such key" in said and "did you mean checkpoint?" in said
    assert "dtype=int3: it must be one of auto, float32, bfloat16, float16" in said
    assert "typo: no such key" in said and "engine.x: no such key" in said
    assert "model is not chosen" not in said


def test_added_field_of_a_plugin():
    """`+quant.skp=[…]` passes Hydra, and is refused with the nearest field."""
    said = "\n".join(sentences("model=llama2", "quant=fp8", "checkpoint=x", "+quant.skp=[a]"))
    assert "quant.skp: Fp8 has no such field" in said and "did you mean skip?" in said


def test_none_has_no_settings():
    """A setting of a kind that is switched off is refused."""
    assert "parallel.block: parallel=none has no settings" in sentences(
        "model=llama2", "checkpoint=x", "+parallel.block=4"
    )


def test_a_model_and_an_engine_are_needed():
    """Only parallel can be none."""
    said = "\n".join(sentences("model=llama2", "checkpoint=x", "attention.name=none"))
    assert "attention.name=none: no installed plugin has this name (installed: paged)" in said


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("max_tokens=0", "at least 1"),
        ("max_sequences=true", "at least 1"),
        ("max_length=-3", "or null"),
        ("seed=-1", "from 0"),
        ("dump=maybe", "true or false"),
        ("features=lora", "write a list"),
        ("features=[lora]", "feature.name=lora: no installed plugin"),
        ("checkpoint=null", "a folder in Hugging Face's layout"),
    ],
)
def test_values_are_checked(override, part):
    """Each of the plan's own values is judged, and the sentence begins with it."""
    said = [s for s in sentences("model=llama2", "checkpoint=x", override) if part in s]
    assert len(said) == 1 and said[0].startswith(("feature", override.partition("=")[0]))


def test_missing_plugin_suggests_the_nearest():
    """A plugin that nobody installed is refused with what is installed."""
    said = "\n".join(sentences("model=llama2", "checkpoint=x", "quant.name=fp9"))
    assert "quant.name=fp9: no installed plugin has this name" in said
    assert "did you mean fp8?" in said


def test_import_failure_names_the_package_and_disturbs_nobody(install):
    """A plugin that cannot be imported is told when it is named, and only then."""
    install("broken", {"quant.broken": "broken:Broken"}, "import no_such_module_at_all")
    assert not any("broken" in s for s in sentences("model=llama2", "checkpoint=x"))
    said = "\n".join(sentences("model=llama2", "checkpoint=x", "quant.name=broken"))
    assert "broken:Broken of broken 1.5 cannot be imported" in said
    assert "No module named 'no_such_module_at_all'" in said


def test_offered_twice(install):
    """Two packages that offer one name are both told."""
    install("first", {"quant.odd": "first:Odd"})
    install("second", {"quant.odd": "second:Odd"})
    with pytest.raises(lookup.LookupFailure, match=r"twice, by first:Odd of first 1\.5 and second"):
        lookup.find("quant", "odd")


def test_preset_offered_twice(install):
    """A third party's preset that ours would shadow is not passed over in silence."""
    install("rival", {"quant.rival": "rival:Rival"}, presets={"quant/fp8.yaml": "name: rival\n"})
    said = "\n".join(sentences("model=llama2", "checkpoint=x", "quant=fp8"))
    assert "quant=fp8: the preset is offered twice, by ingot and rival" in said


def test_misspelt_hook(install):
    """A marked method that is no hook is refused with the nearest hook."""
    said = odd(install, plugin_class("@hookimpl\ndef pases(self): ...\n"))
    assert "Odd.pases: there is no such hook" in said and "did you mean passes?" in said


def test_unmarked_hook(install):
    """A method that is named like a hook but not marked is refused."""
    said = odd(install, plugin_class("def passes(self): ...\n"))
    assert "Odd.passes is named like a hook but not marked; put @hookimpl on it" in said


def test_class_without_hooks(install):
    """A class that answers no hook is refused."""
    assert "Odd has no hooks" in odd(install, plugin_class("x: int = 1\n"))


def test_unknown_argument(install):
    """A hook that asks for something it is not given is refused with what there is."""
    said = odd(install, plugin_class("@hookimpl\ndef passes(self, plan, ranks): ...\n"))
    assert "Odd.passes takes ranks" in said and "it gives: plan, rank" in said


@pytest.mark.parametrize(("api", "remedy"), [(0, "update the plugin"), (7, "update ingot")])
def test_other_api(install, api, remedy):
    """A plugin for another version of the hooks is refused, and which side is old is said."""
    source = plugin_class(
        "@hookimpl\ndef passes(self): ...\n", api=f"    api: ClassVar[int] = {api}\n"
    )
    assert remedy in odd(install, source)


def test_api_is_demanded(install):
    """A class that does not say `api` cannot be a plugin."""
    said = odd(install, plugin_class("@hookimpl\ndef passes(self): ...\n", api=""))
    assert "add `api: ClassVar[int] = 1`" in said


def test_undecorated_class(install):
    """A class that is not under @plugin is refused."""
    said = odd(install, plugin_class("@hookimpl\ndef passes(self): ...\n", decorator=""))
    assert "Odd is not under @core.plugin" in said


def test_two_graphs(install):
    """Two plugins that both write the graph are told."""
    install(
        "writer",
        {"quant.writer": "writer:Odd"},
        plugin_class("@hookimpl\ndef graph(self): ...\n"),
    )
    said = "\n".join(sentences("model=llama2", "checkpoint=x", "quant.name=writer"))
    assert "model.decoder and quant.writer both implement the hook graph" in said


def test_field_of_the_wrong_type(install):
    """A value that a field cannot take is refused with its path."""
    install(
        "typed",
        {"quant.typed": "typed:Odd"},
        plugin_class("block: int = 64\n@hookimpl\ndef passes(self): ...\n"),
        {"quant/typed.yaml": "name: typed\nblock: 64\n"},
    )
    said = sentences("model=llama2", "checkpoint=x", "quant=typed", "quant.block=abc")
    assert said == ["quant.block: Value 'abc' of type 'str' could not be converted to Integer"]


def test_plan_and_provenance(install):
    """A good config gives a plan, the plugins in order, and where each value is from."""
    from hydra.core.hydra_config import HydraConfig

    from core import provenance

    search_path.register()
    overrides = ["model=llama2", "checkpoint=/c", "max_tokens=64", "quant=fp8"]
    with initialize_config_module("conf", version_base="1.3"):
        cfg = composition.activated(composition.configured("build", overrides, errors))
        found = provenance.sources("build", HydraConfig.get().overrides.task)
        plan, plugins = resolve(cfg, found)
    kinds = [entry["kind"] for entry in plugins.list]
    assert kinds == ["model", "quant", "attention", "engine"]
    assert (plan.checkpoint, plan.max_tokens, plan.ranks) == ("/c", 64, 1)
    assert str(plan.out) == "engines/llama2-fp8"
    told = provenance.complete(plan.provenance, plan.config)
    assert told["max_tokens"] == "command line: max_tokens=64"
    assert told["quant.name"].startswith("conf/quant/fp8.yaml:")
    assert told["max_sequences"].startswith("conf/build.yaml:")

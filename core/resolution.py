"""From a composed config to a Plan and the plugins it names. Every config error is raised here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pluggy
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from . import hookspecs, lookup
from .command import ConfigError, UserError
from .diagnosis import nearest
from .hookspecs import GROUP, KINDS

SPARED = ("parallel",)  # kinds of which a build may have none
DTYPES = ("auto", "float32", "bfloat16", "float16")
MOST = {"max_tokens": 1 << 24, "max_sequences": 1 << 20, "max_length": 1 << 28}  # that C++ opens

PREFERRED = ("max_tokens", "max_sequences", "page")  # that an engine has an own default for


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What every plugin may know about the build. A plugin's own settings are its fields."""

    checkpoint: str  # a folder, a hub name, or `random`
    out: Path
    ranks: int = 1
    dtype: str = "auto"  # of weights and activations; auto: the checkpoint's
    max_tokens: int = 512  # in a step
    max_sequences: int = 32
    max_length: int | None = None  # tokens of one sequence; None: what the checkpoint says
    page: int = 16  # tokens in a page of a cache, unless `attention` says otherwise
    seed: int = 0  # of random weights
    dump: bool = False
    features: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)  # the resolved config
    provenance: Mapping[str, str] = field(default_factory=dict)  # where each value is from
    sizes: Mapping[str, Any] = field(default_factory=dict)  # config.json, once it has been read
    files: Sequence[Path] = ()  # the checkpoint's tokenizer and generation settings, likewise


@dataclass(frozen=True)
class Plugins:
    """One instance of each plugin that the config names, in the order of `KINDS`."""

    manager: pluggy.PluginManager
    list: Sequence[Mapping[str, str]]  # kind, name, class, package, version

    @property
    def hook(self):
        return self.manager.hook


def resolve(cfg: DictConfig, provenance: Mapping[str, str] | None = None) -> tuple[Plan, Plugins]:
    """The Plan and its plugins.

    Raises:
        ConfigError: with every sentence there is to say against the config.
    """
    errors: list[str] = []
    chosen = _chosen(cfg, errors)
    plugins = _plugins(chosen, errors)
    values = _values(cfg, errors)
    if errors:
        raise ConfigError("\n".join(errors))
    config = OmegaConf.to_container(cfg, resolve=True)
    values |= _defaults(plugins, config, values)
    values["ranks"] = config["parallel"].get("ranks", 1)
    values["features"] = tuple(name for kind, name, _ in chosen if kind == "feature")
    return Plan(config=config, provenance=dict(provenance or {}), **values), plugins


def errors(cfg: DictConfig) -> list[str]:
    """Every sentence that `resolve` would raise against `cfg`."""
    try:
        resolve(cfg)
    except ConfigError as error:
        return str(error).splitlines()
    return []


def _chosen(cfg, errors) -> list[tuple[str, str, dict]]:
    """(kind, name, the settings given) of every plugin that the config names."""
    chosen = []
    for kind in KINDS:
        node = cfg.get(kind)
        if node is None:
            presets = _presets(kind)
            example = "llama2" if "llama2" in presets else (presets or ["…"])[0]
            errors.append(
                f"{kind} is not chosen; add {kind}={example} (there are: {', '.join(presets)})"
            )
        elif not OmegaConf.is_dict(node) or not isinstance(node.get("name"), str):
            errors.append(f"{kind}: the preset does not say `name:`, the plugin's name")
        else:
            errors.extend(_shadowed(kind))
            settings = _plain(kind, node, errors)
            if node.name == "none" and kind in SPARED:
                errors.extend(f"{kind}.{key}: {kind}=none has no settings" for key in settings)
            chosen.append((kind, node.name, settings))
    for entry in _features(cfg.get("features"), errors):
        chosen.append(("feature", entry.pop("name"), entry))
    return [c for c in chosen if c[1] != "none" or c[0] not in SPARED]


def _plain(path: str, node: DictConfig, errors: list[str]) -> dict:
    try:
        plain = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        errors.append(f"{path}: {str(error).splitlines()[0]}")
        return {}
    return {key: value for key, value in plain.items() if key != "name"}


def _features(node, errors) -> Iterator[dict]:
    """Each entry of `features`: a name, or a mapping with `name` and settings."""
    if not isinstance(node, ListConfig):
        errors.append(f"features={node}: write a list of names, for example features=[lora]")
        return
    names = set()
    for entry in OmegaConf.to_container(node, resolve=True):
        entry = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            errors.append(f"features: {entry} is neither a name nor a mapping with `name`")
        elif entry["name"] in names:
            errors.append(f"features: {entry['name']} is listed twice")
        else:
            names.add(entry["name"])
            yield dict(entry)


def _plugins(chosen, errors) -> Plugins:
    """The instances; what keeps one from being made is added to `errors`."""
    made, listing, implements = [], [], {}
    for kind, name, values in chosen:
        try:
            cls, entry = lookup.load(kind, name)
        except lookup.LookupFailure as failure:
            errors.extend(str(failure).splitlines())
            continue
        instance = _instance(kind, name, cls, values, errors)
        for hook in lookup.hooks(cls):
            implements.setdefault(hook, []).append(f"{kind}.{name}")
        made.append((f"{kind}.{name}", instance))
        owner = entry.dist
        listing.append(
            {
                "kind": kind,
                "name": name,
                "class": entry.value,
                "package": owner.name if owner else "",
                "version": owner.version if owner else "",
            }
        )
    if len(made) == len(chosen):
        errors.extend(_alone("graph", "model", implements, chosen))
        errors.extend(_alone("lower", "engine", implements, chosen))
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    for name, instance in reversed(made):  # pluggy calls the last registered first
        if instance is not None:
            manager.register(instance, name=name)
    return Plugins(manager, tuple(listing))


def _alone(hook: str, kind: str, implements, chosen) -> Iterator[str]:
    """Exactly one plugin may implement `hook`."""
    having = implements.get(hook, [])
    if len(having) > 1:
        both = " and ".join(having)
        yield f"{both} both implement the hook {hook}; only one may: choose one of them"
    for chosen_kind, name, _ in chosen:
        if chosen_kind == kind and not having:
            yield f"{kind}.name={name}: it does not implement the hook {hook}, which a {kind} must"


def _instance(kind, name, cls, values, errors):
    """One plugin with its settings checked and converted, or None with the reasons in `errors`."""
    known = [f.name for f in fields(cls)]
    extra = [key for key in values if key not in known]
    for key in extra:
        errors.append(
            f"{kind}.{key}: {cls.__name__} has no such field "
            f"(it has: {', '.join(known) or 'none'}){nearest(str(key), known)}"
        )
    try:
        schema = _thawed(OmegaConf.structured(cls))
    except OmegaConfBaseException as error:
        errors.append(f"{kind}.name={name}: {cls.__name__}: {str(error).splitlines()[0]}")
        return None
    wrong = False
    for key in values.keys() - set(extra):
        try:
            schema = OmegaConf.merge(schema, {key: values[key]})
        except OmegaConfBaseException as error:
            wrong = True
            path = error.full_key or key
            errors.append(f"{kind}.{path}: {str(error).splitlines()[0]}")
    if extra or wrong:
        return None
    try:
        return OmegaConf.to_object(schema)
    except OmegaConfBaseException as error:
        errors.append(f"{kind}.{error.full_key or name}: {str(error).splitlines()[0]}")
    except UserError as error:
        errors.extend(str(error).splitlines())
    except (ValueError, TypeError) as error:
        errors.append(f"{kind}.name={name}: {error}")
    return None


def _thawed(node: DictConfig) -> DictConfig:
    """`node` open to a merge: OmegaConf makes what comes from a frozen dataclass read-only."""
    OmegaConf.set_readonly(node, False)
    for key in node:
        value = node._get_node(key)
        if isinstance(value, DictConfig) and not value._is_none():
            _thawed(value)
    return node


def _values(cfg, errors) -> dict[str, Any]:
    """The plan's own values, each checked."""
    try:
        given = {key: cfg[key] for key in _CHECKS}
    except OmegaConfBaseException as error:
        errors.append(str(error).splitlines()[0])
        return {}
    for key, (test, wanted) in _CHECKS.items():
        if not test(given[key]):
            near = nearest(str(given[key]), DTYPES) if key == "dtype" else ""
            shown = "null" if given[key] is None else given[key]
            errors.append(f"{key}={shown}: it must be {wanted}{near}")
    given["out"] = Path(os.path.expanduser(str(given["out"])))
    return given


def _defaults(plugins: Plugins, config, values) -> dict[str, int]:
    """What the engine takes for `page`, and for what the config leaves null."""
    from . import calls

    known = {f.name: f.default for f in fields(Plan) if f.name in PREFERRED}
    known |= calls.defaults(plugins, config)
    return {key: value for key, value in known.items() if values.get(key) is None}


def _count(value, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most


def _range(what: str, key: str) -> str:
    return f"a number of {what}, at least 1 and at most {MOST[key]:,}"


_CHECKS = {
    "checkpoint": (
        lambda v: isinstance(v, str) and v != "",
        "a folder in Hugging Face's layout, a hub name, or `random`",
    ),
    "out": (lambda v: isinstance(v, str) and v != "", "the engine folder to write"),
    "dtype": (lambda v: v in DTYPES, f"one of {', '.join(DTYPES)}"),
    "max_tokens": (
        lambda v: v is None or _count(v, MOST["max_tokens"]),
        _range("tokens", "max_tokens") + ", or null",
    ),
    "max_sequences": (
        lambda v: v is None or _count(v, MOST["max_sequences"]),
        _range("sequences", "max_sequences") + ", or null",
    ),
    "max_length": (
        lambda v: v is None or _count(v, MOST["max_length"]),
        _range("tokens", "max_length") + ", or null",
    ),
    "seed": (
        lambda v: isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 1 << 64,
        "an integer from 0 to 2**64 - 1",
    ),
    "dump": (lambda v: isinstance(v, bool), "true or false"),
}


def _presets(kind: str) -> list[str]:
    from hydra.core.global_hydra import GlobalHydra

    if not GlobalHydra.instance().is_initialized():
        return lookup.installed(kind)
    return sorted(GlobalHydra.instance().config_loader().get_group_options(kind))


def _shadowed(kind: str) -> Iterator[str]:
    """A preset that several packages offer: Hydra would take the first without a word."""
    from hydra.core.hydra_config import HydraConfig

    from . import search_path

    if not HydraConfig.initialized():
        return
    preset = HydraConfig.get().runtime.choices.get(kind)
    file = f"{kind}/{preset}.yaml"
    offers = [package for package, folder in search_path.folders() if (folder / file).is_file()]
    import conf

    if (Path(conf.__file__).parent / kind / f"{preset}.yaml").is_file():
        offers.insert(0, "ingot")
    if len(offers) > 1:
        yield (
            f"{kind}={preset}: the preset is offered twice, by {' and '.join(offers)}; "
            f"uninstall one, or choose the plugin with {kind}.name=… after another preset"
        )

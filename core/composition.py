"""One composed config for a task, or for each combination of a sweep; nothing is written for it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

import core

from . import arguments, search_path
from .command import ConfigError, UserError, sentence


def run(task: Callable, check: Callable | None) -> None:
    """Runs `task` as `sys.argv` describes, once or once for each combination."""
    name = task.__module__.rpartition(".")[2]
    if name in search_path.CHOOSING:
        search_path.register()
    flags, overrides = arguments.split(sys.argv[1:], name)
    asked = arguments.parse(flags)
    if asked.config_dir:
        overrides.append(f"hydra.searchpath=[file://{_folder(asked.config_dir)}]")
    elsewhere = asked.help or asked.hydra_help or asked.cfg or asked.info or asked.shell_completion
    with initialize_config_module(search_path.module(name), version_base="1.3", job_name=name):
        if not (asked.help or asked.hydra_help or asked.shell_completion or asked.info):
            jobs = [configured(name, job, check) for job in _decided(name, overrides, asked)]
        if not elsewhere:
            _refuse_one_place(name, jobs)
            core.raise_on_interrupt()
            return _run_all(task, jobs)
    sys.argv = [sys.argv[0], *overrides, *flags]
    task()  # Hydra answers these itself


def configured(name: str, overrides: Sequence[str], check: Callable | None) -> DictConfig:
    """The composed config, with Hydra's own part under `hydra`.

    Raises:
        ConfigError: with every sentence there is to say against the overrides.
    """
    try:
        cfg = compose(name, list(overrides), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, ValueError):  # Hydra's of a preset null
        from . import diagnosis

        raise ConfigError("\n".join(diagnosis.sentences(name, overrides, check))) from None
    if extra := unknown_keys(name, cfg):
        raise ConfigError("\n".join([*extra, *(check(activated(cfg)) if check else ())]))
    return cfg


def activated(cfg: DictConfig) -> DictConfig:
    """`cfg` without Hydra's part, which is made current, so that ${hydra:…} resolves."""
    HydraConfig.instance().set_config(cfg)
    cfg = cfg.copy()
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def unknown_keys(name: str, cfg: DictConfig) -> list[str]:
    """A sentence for each key at the top that `+` added: its own YAML lists all there are."""
    from . import diagnosis

    known = diagnosis.keys(name)
    return [diagnosis.unknown(key, key, known) for key in cfg if key not in {*known, "hydra"}]


def _decided(name: str, overrides: list[str], asked) -> list[list[str]]:
    """The overrides of each job, with the model that its checkpoint says."""
    jobs = _jobs(overrides, asked.multirun)
    if name not in search_path.CHOOSING:
        return jobs
    from . import model_choice

    more = Path(asked.config_dir) if asked.config_dir else None
    return [model_choice.decided(job, more) for job in jobs]


def _jobs(overrides: list[str], sweep: bool) -> list[list[str]]:
    """The overrides of each job: one, or one for each combination of the values given."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    if not sweep:
        return [overrides]
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except HydraException:
        return [overrides]  # composing them says what is wrong
    [jobs] = BasicSweeper.split_arguments(parsed, None)
    return jobs


def _refuse_one_place(name: str, jobs: Sequence[DictConfig]) -> None:
    """Refuses a sweep in which one job would replace what another wrote."""
    for key in ("out",) if name == "build" else ("json", "plot", "report"):
        if len(jobs) < 2 or key not in jobs[0]:
            continue
        places = [str(value) for cfg in jobs if (value := activated(cfg)[key]) is not None]
        for place in places:
            if places.count(place) > 1:
                raise ConfigError(
                    f"{places.count(place)} of the {len(jobs)} {name}s would be written to "
                    f"{key}={place}, each replacing the one before; name a place for each by a "
                    f"value that differs, for example {key}='…-${{max_length}}'"
                )


def _run_all(task: Callable, jobs: Sequence[DictConfig]) -> None:
    """Runs every job; one that fails does not keep the others from running."""
    failures = []
    for number, cfg in enumerate(jobs, 1):
        if len(jobs) > 1:
            chosen = " ".join(cfg.hydra.overrides.task)
            print(f"[{number}/{len(jobs)}] {chosen}", flush=True)
        try:
            task(activated(cfg))
        except Exception as error:
            if len(jobs) == 1:
                raise
            failures.append((f"[{number}/{len(jobs)}] {chosen}: {sentence(error)[0]}", error))
    if failures:
        failure = UserError("\n".join(text for text, _ in failures))
        failure.code = sentence(failures[0][1])[1]
        raise failure from failures[0][1]


def _folder(path: str) -> str:
    if not Path(path).is_dir():
        raise ConfigError(f"--config-dir {path}: there is no such folder")
    return str(Path(path).resolve())

"""Where configs are: ours, and `<package>/conf` of every installed plugin, importing none of them.

`build` and `plan` have conf/, with the presets. The commands that use an engine have conf/use/:
they know no presets, and `engine=…` is a folder to them, not a choice.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from .hookspecs import GROUP

CHOOSING = ("build", "plan")  # commands that know presets


class PluginConfigs(SearchPathPlugin):
    """Ours stand first; a plugin's preset of the same name is reported by core.resolution."""

    def manipulate_search_path(self, search_path):
        for package, folder in folders():
            # file:// because pkg:// would import the package, and one broken plugin would then
            # end every command.
            search_path.append(provider=package, path=f"file://{folder}")


def folders() -> Iterator[tuple[str, Path]]:
    """(package, its conf folder) of every installed plugin but the built-in ones."""
    packages = {entry.module.partition(".")[0] for entry in entry_points(group=GROUP)}
    for package in sorted(packages - {"plugins"}):
        try:
            spec = find_spec(package)
        except (ImportError, ValueError):
            continue  # an entry point of something half uninstalled; said when it is named
        for place in (spec and spec.submodule_search_locations) or ():
            if (Path(place) / "conf").is_dir():
                yield package, Path(place) / "conf"


def module(command: str) -> str:
    """The package that holds <command>.yaml."""
    return "conf" if command in CHOOSING else "conf.use"


def register() -> None:
    """Makes Hydra see the folders. Calling it again changes nothing."""
    Plugins.instance().register(PluginConfigs)

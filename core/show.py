"""Say what an engine folder holds:  python -m core.show engine=engines/llama2

What was asked and where each value came from, what every pass did or refused and why, the
precision of every weight, the memory it needs. Reads the manifest only; `verify=true` also
compares the checksum of every file. `report=x.html` writes all of it, with plots, and with the time
of every layer and op, for which the engine runs for a moment; `view=true` serves its graph.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import hydra

from . import command, page
from .command import PlanError
from .values import flag

NOT_RUN = "There are no times: the engine was not run. Write the report with profile=true."
NOT_TIMED = "There are no times: this engine does not take the time of its ops."


def show(folder: Path, verify: bool = False) -> str:
    """The page for the engine in `folder`.

    Raises:
        PlanError: the folder is incomplete, edited, or of another version.
    """
    from . import manifest

    facts = manifest.read(folder)
    if verify:
        manifest.verify(folder, facts)
    sections = [_head, _config, _passes, _precision, _memory]
    with _understood(folder):
        return "\n\n".join(section(facts) for section in sections)


@contextlib.contextmanager
def _understood(folder: Path):
    """What a manifest lacks is told by a sentence."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise PlanError(
            f"{folder}/engine.json is sealed, but does not say what this version shows "
            f"({type(error).__name__}: {error}); build it again"
        ) from error


def _head(facts: dict) -> str:
    model, limits = facts["model"], facts["limits"]
    lines = [
        f"{model['layers']} layers, width {model['width']}, {model['heads']} heads, "
        f"{model['groups']} key/value heads of {model['head_size']}, vocabulary {model['vocab']}, "
        f"{model['dtype']}",
        f"engine {facts['engine']['name']}, {facts['ranks']} rank(s); at most "
        f"{limits['max_sequences']} sequences of {limits['max_length']} tokens, "
        f"{limits['max_tokens']} tokens a step",
    ]
    for group in facts["cache_groups"]:
        window = f", window {group['window']}" if group["window"] else ""
        lines.append(
            f"cache group {group['name']}: {len(group['tensors'])} tensors, pages of "
            f"{group['page_tokens']} tokens{window}, {page.size(group['bytes_per_page'])} a page"
        )
    made = ", ".join(f"{name} {version}" for name, version in sorted(facts["tools"].items()))
    return "\n".join([*lines, f"built with ingot {facts['ingot']} ({made})"])


def _config(facts: dict) -> str:
    return page.config(facts["config"], facts["provenance"], facts["plugins"])


def _passes(facts: dict) -> str:
    return page.passes(facts["passes"])


def _precision(facts: dict) -> str:
    return page.weights(facts["tensors"])


def _memory(facts: dict) -> str:
    lines, ranks = [], sorted(facts["rank_memory"].items())
    for rank, memory in ranks:
        rows = [(name, page.size(count)) for name, count in memory.items()]
        lines += [f"memory of {rank}" if len(ranks) > 1 else "memory", *page.table(rows)]
    return "\n".join(lines)


def report(folder: Path, profile: bool, threads: int, kernels: str) -> str:
    """The HTML page for the engine in `folder`; with `profile` it is run to time its ops."""
    from . import html_report, manifest, op_times

    facts = manifest.read(folder)
    times = NOT_RUN
    if profile:
        times = op_times.measured(folder, threads, kernels) or NOT_TIMED
    with _understood(folder):
        return html_report.text(facts, folder, times)


@hydra.main(version_base="1.3", config_path="pkg://conf.use", config_name="show")
def _hydra_main(cfg):
    command.require(cfg, "engine", "the folder that core.build wrote")
    folder = Path(os.path.expanduser(str(cfg.engine)))
    verify, profile = flag("verify", cfg.verify), flag("profile", cfg.profile)
    view = flag("view", cfg.view)
    text = show(folder, verify)
    if cfg.report is not None:
        page_text = report(folder, profile, cfg.threads, cfg.kernels)
        command.write("report", cfg.report, page_text)
        print(f"{cfg.report}: {len(page_text.encode()):,} bytes")
    elif not view:
        print(text)
    if view:
        from . import graph_view

        graph_view.serve(folder, cfg.rank)


def main() -> None:
    command.run(_hydra_main)


if __name__ == "__main__":
    from core.show import main

    main()

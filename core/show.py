"""Say what an engine folder holds:  python -m core.show engine=engines/llama2

What was asked and where each value came from, what every pass did or refused and why, the
precision of every weight, the memory it needs. Reads the manifest only; `verify=true` also
compares the checksum of every file.
"""

from __future__ import annotations

import re
from pathlib import Path

import hydra

from . import command

REFUSALS_SHOWN = 12  # of one pass, so that a page stays a page


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
    return "\n\n".join(section(facts) for section in sections)


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
            f"{group['page_tokens']} tokens{window}, {_bytes(group['bytes_per_page'])} a page"
        )
    made = ", ".join(f"{name} {version}" for name, version in sorted(facts["tools"].items()))
    return "\n".join([*lines, f"built with ingot {facts['ingot']} ({made})"])


def _config(facts: dict) -> str:
    origin = facts["provenance"]
    rows = [
        (key, _text(value), origin.get(key, "default"))
        for key, value in _leaves(facts["config"])
        if not key.startswith("model.sizes.")  # what else there would be to choose
    ]
    wide = max(len(key) for key, _, _ in rows)
    value_wide = min(40, max(len(value) for _, value, _ in rows))
    body = [f"  {key:{wide}}  {value:{value_wide}}  {where}" for key, value, where in rows]
    plugins = [
        f"  {p['kind']}.{p['name']}: {p['class']} of {p['package']} {p['version']}"
        for p in facts["plugins"]
    ]
    return "\n".join(["config, and where each value comes from", *body, "plugins", *plugins])


def _passes(facts: dict) -> str:
    lines = ["passes, in order"]
    for entry in facts["passes"]:
        kind = "required" if entry["required"] else "where possible"
        unlike = f", {entry['unlike']} unlike its pattern" if entry.get("unlike") else ""
        lines.append(
            f"  {entry['plugin']} {entry['pass']} ({kind}): {len(entry['rewritten'])} rewritten, "
            f"{len(entry['refused'])} refused{unlike}"
        )
        reasons: dict[str, list[str]] = {}
        for node, why in entry["refused"]:
            reasons.setdefault(why, []).append(node)
        shown = list(reasons.items())[:REFUSALS_SHOWN]
        for why, nodes in shown:
            lines.append(f"    refused {_grouped(nodes)}: {why}")
        if len(reasons) > len(shown):
            lines.append(f"    and {len(reasons) - len(shown)} more reasons, in engine.json")
    return "\n".join(lines)


def _precision(facts: dict) -> str:
    lines = ["weights: precision, shape, bytes, where from"]
    for rank, tensors in sorted(facts["tensors"].items()):
        alike: dict[tuple, list[str]] = {}
        for name, tensor in tensors.items():
            recipe = re.sub(r"\d+", "#", tensor["recipe"])
            key = (re.sub(r"\d+", "#", name), tensor["dtype"], tuple(tensor["shape"]), recipe)
            alike.setdefault(key, []).append(name)
        for (_, dtype, shape, _), names in alike.items():
            size = sum(tensors[name]["bytes"] for name in names)
            recipe = tensors[names[0]]["recipe"]
            lines.append(
                f"  {rank} {_grouped(names)}  {dtype} {list(shape)}  {_bytes(size)}  {recipe}"
            )
    return "\n".join(lines)


def _memory(facts: dict) -> str:
    rows = [(name, _bytes(size)) for name, size in facts["memory"].items()]
    wide = max(len(name) for name, _ in rows)
    return "\n".join(["memory", *(f"  {name:{wide}}  {size}" for name, size in rows)])


def _grouped(names: list[str]) -> str:
    """`layers.0.x, layers.1.x` as `layers.0…1.x (2)`; others as a short list."""
    if len(names) == 1:
        return names[0]
    numbers = [re.findall(r"\d+", name) for name in names]
    skeletons = {re.sub(r"\d+", "#", name) for name in names}
    if len(skeletons) == 1 and numbers[0]:
        first, last = numbers[0][0], numbers[-1][0]
        return re.sub(r"\d+", f"{first}…{last}", names[0], count=1) + f" ({len(names)})"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _leaves(node, path=()):
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _leaves(value, (*path, str(key)))
    else:
        yield ".".join(path), node


def _text(value) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 40 else text[:39] + "…"


def _bytes(count: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"


@hydra.main(version_base="1.3", config_path="pkg://conf.use", config_name="show")
def _hydra_main(cfg):
    command.require(cfg, "engine", "the folder that core.build wrote")
    print(show(Path(cfg.engine), cfg.verify))


def main() -> None:
    command.run(_hydra_main)


if __name__ == "__main__":
    from core.show import main

    main()

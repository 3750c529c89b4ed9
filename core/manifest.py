"""engine.json: everything that the runtime and the next person need to know about an engine.

Line 1 seals the rest: `{"sha256":"…",` where the hash is of every byte after the first newline.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import DISTRIBUTION, __version__, provenance
from .command import PlanError
from .engine_folder import DUMP, LOCK, MANIFEST, SEAL
from .report import Report
from .resolution import Plan, Plugins

FORMAT, VERSION = "ingot-engine", 1
SIDECAR = "lowered.json"  # what an engine's `lower` says about its rank; taken in here
HASHED_BYTES = 1 << 22
TOOLS = ("hydra-core", "ml_dtypes", "numpy", "onnx", "onnx-ir", "onnxscript", "pluggy")


def write(
    folder: Path,
    plan: Plan,
    plugins: Plugins,
    model,
    reports: Sequence[Report],
    files: Iterable[Path],
) -> dict[str, Any]:
    """`folder` is complete: the checkpoint's `files` are copied, and engine.json describes all.

    `model` is the lowered graph of a rank; ranks have caches of one size.
    """
    for file in files:
        shutil.copyfile(file, folder / Path(file).name)
    lowered = _lowered(folder, plan.ranks)
    facts = json.loads(model.metadata_props["ingot.model"])
    manifest = {
        "format": FORMAT,
        "format_version": VERSION,
        DISTRIBUTION: __version__,
        "engine": lowered["rank0"].get(
            "engine", {"name": plan.config["engine"]["name"], "library": None}
        ),
        "ranks": plan.ranks,
        "model": facts,
        "end_ids": facts.get("end_ids", []),
        "limits": {
            "max_tokens": plan.max_tokens,
            "max_sequences": plan.max_sequences,
            "max_length": facts["max_length"],
        },
        "cache_groups": cache_groups(model),
        "config": plan.config,
        "provenance": provenance.complete(plan.provenance, plan.config),
        "plugins": list(plugins.list),
        "passes": [report.entry() for report in reports],
        "tensors": {rank: said.get("tensors", {}) for rank, said in lowered.items()},
        "memory": lowered["rank0"].get("memory", {}),
        "rank_memory": {rank: said.get("memory", {}) for rank, said in lowered.items()},
        "hardware": hardware(),
        "tools": tools(),
        "files": _files(folder, lowered),
    }
    (folder / MANIFEST).write_bytes(sealed(manifest))
    return manifest


def sealed(manifest: Mapping[str, Any]) -> bytes:
    """The bytes of engine.json, with the hash of what follows in line 1."""
    text = json.dumps(
        _finite(manifest), indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False, default=str
    )
    rest = text[1:].lstrip("\n").encode() + b"\n"
    return SEAL + hashlib.sha256(rest).hexdigest().encode() + b'",\n' + rest


def _finite(node: Any) -> Any:
    """`node` with infinities and NaNs as words, since JSON has no numbers for them."""
    if isinstance(node, Mapping):
        return {key: _finite(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(value) for value in node]
    return str(node) if isinstance(node, float) and not math.isfinite(node) else node


def read(folder: Path | str) -> dict[str, Any]:
    """The manifest of an engine folder whose files are all there with their sizes.

    Raises:
        PlanError: it is missing, edited, incomplete or of another version.
    """
    folder = Path(folder)
    try:
        content = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise PlanError(
            f"engine={folder}: {MANIFEST} cannot be read ({error.strerror}); name a folder that "
            "core.build wrote"
        ) from error
    first, _, rest = content.partition(b"\n")
    try:
        manifest = json.loads(content)
        found = (manifest["format"], manifest["format_version"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PlanError(
            f"{folder / MANIFEST} is not a manifest: {error}; build it again"
        ) from error
    if found != (FORMAT, VERSION):
        raise PlanError(
            f"{folder / MANIFEST} is {found[0]} version {found[1]}, this program reads {FORMAT} "
            f"version {VERSION}; build it again"
        )
    if first != SEAL + hashlib.sha256(rest).hexdigest().encode() + b'",':
        raise PlanError(f"{folder / MANIFEST} was edited after it was written; build it again")
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(map(_is_entry, files.values())):
        raise PlanError(f"{folder / MANIFEST} does not say which files there are; build it again")
    for name, entry in files.items():
        _check_file(folder / name, entry["bytes"])
    return manifest


def verify(folder: Path | str, manifest: Mapping[str, Any]) -> None:
    """Every file of the folder is what was written.

    Raises:
        PlanError: names the one that is not.
    """
    for name, entry in manifest["files"].items():
        path = Path(folder) / name
        found, promised = file_sha256(path), str(entry.get("sha256"))
        if found != promised:
            raise PlanError(
                f"{path} was changed: {MANIFEST} says sha256 {promised[:12]}…, found "
                f"{found[:12]}…; copy it again, or build it again"
            )


def cache_groups(model) -> list[dict[str, Any]]:
    """The groups that attention declared, each with the bytes that one page takes on a rank."""
    groups = json.loads(model.metadata_props.get("ingot.cache_groups", "[]"))
    inputs = {value.name: value for value in model.graph.inputs}
    for group in groups:
        total = 0
        for name in group["tensors"]:
            cells = 1
            for size in inputs[name].shape:
                cells *= size if isinstance(size, int) else 1  # P, the number of pages
            total += int(cells * inputs[name].dtype.itemsize)
        group["bytes_per_page"] = total
    return groups


def file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(HASHED_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _lowered(folder: Path, ranks: int) -> dict[str, dict[str, Any]]:
    """What `lower` said about each rank; its sidecar is gone afterwards."""
    said = {}
    for rank in range(ranks):
        path = folder / f"rank{rank}" / SIDECAR
        said[f"rank{rank}"] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        path.unlink(missing_ok=True)
    return said


def _files(folder: Path, lowered: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Size and hash of every file but engine.json itself."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or name in (LOCK, MANIFEST) or name.startswith(f"{DUMP}/"):
            continue
        rank = lowered.get(name.partition("/")[0], {})
        told = rank.get("files", {}).get(path.name, {})  # hashed while it was written
        entry = {"bytes": path.stat().st_size, "sha256": told.get("sha256") or file_sha256(path)}
        if path.name == "weights.safetensors" and "header_sha256" in rank:
            entry["header_sha256"] = rank["header_sha256"]
        found[name] = entry
    return found


def _is_entry(entry: Any) -> bool:
    """What stands for a file in the manifest."""
    return isinstance(entry, dict) and isinstance(entry.get("bytes"), int)


def _check_file(path: Path, size: int) -> None:
    try:
        found = path.stat().st_size
    except OSError as error:
        raise PlanError(
            f"{path} is missing ({error.strerror}): the engine folder is incomplete; build it again"
        ) from error
    if found != size:
        raise PlanError(f"{path} has {found} bytes, the manifest says {size}; build it again")


def hardware() -> dict[str, Any]:
    """The machine that the engine was built on."""
    name = ""
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": name,
        "processors": os.cpu_count(),
    }


def tools() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found

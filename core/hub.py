"""A checkpoint by its name on the Hugging Face hub, with huggingface_hub and a network."""

from __future__ import annotations

import re
from pathlib import Path

from .command import PlanError

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
WANTED = ("*.json", "*.safetensors", "tokenizer.model", "merges.txt", "chat_template.jinja")


def is_name(checkpoint: str) -> bool:
    """Whether it looks like `owner/model`."""
    return NAME.fullmatch(checkpoint) is not None


def download(name: str) -> Path:
    """The local folder with the model's files, downloaded or from huggingface_hub's cache.

    Raises:
        PlanError: neither is to be had.
    """
    otherwise = "or download it elsewhere and give its folder"
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise PlanError(
            f"checkpoint={name}: there is no such folder, and to fetch it from the hub the package "
            f"huggingface_hub is needed: pip install huggingface_hub, {otherwise}"
        ) from error
    try:
        return Path(snapshot_download(name, allow_patterns=list(WANTED)))
    except Exception as error:  # requests', httpx's and the hub's own; each means: not to be had
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PlanError(
            f"checkpoint={name}: there is no such folder, and the hub does not give it ({why}); "
            f"check the name, the network and `huggingface-cli login`, {otherwise}"
        ) from error

"""The model that an engine is judged against: another engine, or a checkpoint in transformers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .command import ConfigError, MachineError, PlanError
from .engine_folder import MANIFEST


@contextmanager
def opened(against: str, engine, threads: int, kernels: str) -> Iterator[Any]:
    """A model with `logits(ids)`, float32 [L, V], that reads the same tokens as `engine`.

    Raises:
        ConfigError: `against` is neither an engine folder nor a checkpoint.
        PlanError: it has another vocabulary or another tokenizer.
        MachineError: transformers is needed, and not installed.
    """
    folder = Path(os.path.expanduser(against))
    if (folder / MANIFEST).is_file():
        from .runtime import Engine

        with Engine(folder, threads=threads, kernels=kernels) as model:
            _check_alike(against, folder, model.vocab, engine)
            yield model
        return
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"against={against}: neither an engine folder ({MANIFEST}) nor a checkpoint "
            "(config.json) is there"
        )
    model = Transformer(against, folder)
    _check_alike(against, folder, model.vocab, engine)
    yield model


def _check_alike(against: str, folder: Path, vocab: int, engine) -> None:
    if vocab != engine.vocab:
        raise PlanError(
            f"against={against} has a vocabulary of {vocab} tokens, {engine.directory} one of "
            f"{engine.vocab}; only models of one vocabulary can be compared"
        )
    both = [place / "tokenizer.json" for place in (folder, Path(engine.directory))]
    if all(path.is_file() for path in both) and both[0].read_bytes() != both[1].read_bytes():
        raise PlanError(
            f"against={against} has another tokenizer.json than {engine.directory}; only models "
            "that read the same tokens can be compared"
        )


class Transformer:
    """A checkpoint in transformers, computed in float32 from the weights as they are stored."""

    def __init__(self, against: str, folder: Path):
        try:
            import torch
            import transformers
        except ImportError as error:
            raise MachineError(
                f"against={against} is a checkpoint, which transformers and torch compute; "
                f"{error.name or 'one of them'} cannot be imported ({error}); run "
                "`pip install 'ingot[calibrate]'`, or name an engine folder"
            ) from error
        transformers.utils.logging.disable_progress_bar()
        try:
            self._model = transformers.AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False
            ).eval()
        except Exception as error:  # of transformers, safetensors or torch, as it may be
            first = (str(error).strip().splitlines() or [""])[0]
            raise PlanError(
                f"against={against}: transformers cannot open it: {type(error).__name__}: {first}"
            ) from error
        self._torch = torch
        self.vocab = int(self._model.config.get_text_config().vocab_size)

    def logits(self, ids) -> np.ndarray:
        """float32 [L, V]: the scores of the next token after each of the L tokens `ids`."""
        with self._torch.inference_mode():
            given = self._torch.tensor([list(ids)], dtype=self._torch.long)
            return self._model(given, use_cache=False).logits[0].float().numpy()

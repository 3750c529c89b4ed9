"""Random checkpoints that transformers draws, and their textbook graphs run by onnxruntime.

T tokens, V vocabulary.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
import transformers
import yaml

from core import spec
from core.checkpoint import RandomCheckpoint, open_checkpoint
from core.resolution import Plan, _instance
from plugins.model.decoder import Decoder

CONF = Path(__file__).parent.parent / "conf" / "model"


def drawn(folder: Path, config: transformers.PretrainedConfig, seed: int = 0, **attention):
    """A model with weights large enough for varied logits; its checkpoint is in `folder`."""
    torch.manual_seed(seed)
    attention = attention or {"attn_implementation": "eager"}
    model = transformers.AutoModelForCausalLM.from_config(config, **attention).float().eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name or "ln_" in name:
                weight.copy_(weight + 0.3 * torch.randn_like(weight))
            elif weight.ndim == 1 or name.endswith("bias"):
                weight.copy_(0.5 * torch.randn_like(weight))
            else:
                weight.copy_(torch.randn_like(weight) / weight.shape[-1] ** 0.5)
    model.save_pretrained(folder)
    return model


def described(settings: dict) -> Decoder:
    """The plugin with these settings, made as a build makes it."""
    errors: list[str] = []
    settings = {key: value for key, value in settings.items() if key != "name"}
    plugin = _instance("model", "decoder", Decoder, settings, errors)
    assert not errors, errors
    return plugin


def preset(name: str) -> Decoder:
    return described(yaml.safe_load((CONF / f"{name}.yaml").read_text()))


def tiny(family: str = "llama2", **config) -> tuple[Decoder, RandomCheckpoint]:
    """A description, and a random checkpoint of its smallest size with some keys changed."""
    plugin = preset(family)
    return plugin, RandomCheckpoint({**plugin.sizes["tiny"], **config}, 0)


def plan_of(checkpoint, **given) -> Plan:
    return Plan(checkpoint="random", out=Path("unused"), sizes=checkpoint.config, **given)


def textbook(plugin: Decoder, folder: Path | str, **given) -> ir.Model:
    """The graph of a checkpoint, in float32 unless said otherwise."""
    checkpoint = open_checkpoint(str(folder), None, 0)
    plan = Plan(
        checkpoint=str(folder), out=Path("unused"), sizes=checkpoint.config,
        **{"dtype": "float32", **given},
    )  # fmt: skip
    assert not plugin.conflicts(plan)
    return spec.verify(plugin.graph(plan, checkpoint), after="graph")


def session(model: ir.Model) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())


def packed_logits(model: ir.Model, sequences: list[np.ndarray]) -> np.ndarray:
    """Logits [T, V] after every token of every sequence, all in one shuffled batch."""
    lengths = [len(sequence) for sequence in sequences]
    order = np.random.default_rng(2).permutation(sum(lengths))
    fields = {
        "ids_T": np.concatenate(sequences)[order],
        "positions_T": np.concatenate([np.arange(length) for length in lengths])[order],
        "sequences_T": np.repeat(np.arange(len(lengths)), lengths)[order],
        "rows_N": np.argsort(order),
    }
    fields = {name: values.astype(np.int32) for name, values in fields.items()}
    return session(model).run(None, fields)[0]


def reference_logits(model, sequences: list[np.ndarray]) -> np.ndarray:
    """The same of transformers, one sequence at a time."""
    with torch.no_grad():
        rows = [model(torch.tensor(s)[None], use_cache=False).logits[0] for s in sequences]
    return torch.cat(rows).float().numpy()


def distance(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.abs(got - want).max() / want.std())

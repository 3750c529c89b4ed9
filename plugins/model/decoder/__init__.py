"""model=decoder: a decoder-only transformer of any family, described by YAML.

The fields are the keys of conf/model/*.yaml; what is inside them stands in schema.py. No family is
named in the code: a family is a YAML that says how it differs from Llama.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar

from core import hookimpl, plugin
from core.command import ConfigError

from .schema import (
    Attention,
    Block,
    Embedding,
    Experts,
    FeedForward,
    Head,
    Norm,
    Positions,
    Tensors,
)


@plugin
class Decoder:
    api: ClassVar[int] = 1
    matches: dict[str, Any] = field(default_factory=dict)  # keys of config.json: values it covers
    keys: dict[str, Any] = field(default_factory=dict)  # our name: the family's in config.json
    config: dict[str, Any] = field(default_factory=dict)  # for keys that config.json may leave out
    expect: dict[str, Any] = field(default_factory=dict)  # keys that must say this where they are
    ignore: list[str] = field(default_factory=list)  # keys that change nothing at inference
    size: Any = None  # one of `sizes`, for checkpoint=random
    sizes: dict[str, Any] = field(default_factory=dict)  # config.json of published models
    layers: Any = "=num_hidden_layers"
    width: Any = "=hidden_size"
    vocab: Any = "=vocab_size"
    norm: Norm = field(default_factory=Norm)
    embedding: Embedding = field(default_factory=Embedding)
    attention: Attention = field(default_factory=Attention)
    positions: Positions = field(default_factory=Positions)
    feed_forward: FeedForward = field(default_factory=FeedForward)
    experts: Experts = field(default_factory=Experts)
    block: Block = field(default_factory=Block)
    head: Head = field(default_factory=Head)
    tensors: Tensors = field(default_factory=Tensors)

    def __post_init__(self):
        from .config import leaves
        from .expression import mistakes

        wrong = [f"model.{path}: {m}" for path, value in leaves(self) for m in mistakes(value)]
        if wrong:
            raise ConfigError("\n".join(wrong))

    @hookimpl
    def conflicts(self, plan):
        from .limits import conflicts

        return list(conflicts(self, plan))

    @hookimpl
    def graph(self, plan, checkpoint):
        from .graph import graph

        return graph(self, plan, checkpoint)

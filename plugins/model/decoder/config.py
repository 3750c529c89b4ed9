"""config.json as a description reads it: one dialect, expectations met, the rest refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from fnmatch import fnmatchcase
from typing import Any

from . import expression

# Keys that never change what a forward pass computes.
IGNORED = (
    "_name_or_path", "_attn_implementation*", "_flash_attn_2_enabled", "architectures",
    "model_type", "auto_map", "transformers_version", "torch_dtype", "dtype", "use_cache",
    "return_dict", "*_token_id", "*dropout*", "*pdrop*", "initializer_range", "init_*",
    "output_attentions", "output_hidden_states", "output_router_logits", "output_scores",
    "is_encoder", "is_decoder", "id2label", "label2id", "problem_type", "tokenizer_class",
    "task_specific_params", "*aux_loss*", "gradient_checkpointing", "pretraining_tp",
    "cache_implementation", "summary_*", "classifier_*", "max_position_embeddings",
    "max_sequence_length", "chunk_size_feed_forward", "torchscript", "use_bfloat16",
    "tf_legacy_loss", "finetuning_task", "unsloth_*",
)  # fmt: skip
# Settings of a sampler, which old versions of transformers wrote into config.json.
GENERATION = (
    "bad_words_ids", "begin_suppress_tokens", "diversity_penalty", "do_sample", "early_stopping",
    "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "forced_*",
    "length_penalty", "max_length", "max_new_tokens", "min_length", "no_repeat_ngram_size",
    "num_beam_groups", "num_beams", "num_return_sequences", "prefix", "remove_invalid_values",
    "repetition_penalty", "return_dict_in_generate", "suppress_tokens", "temperature", "top_k",
    "top_p", "typical_p",
)  # fmt: skip
DEFAULTS = {
    "rope_scaling": None,
    "partial_rotary_factor": 1.0,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "num_key_value_heads": "=num_attention_heads",
    "head_dim": "=hidden_size // num_attention_heads",
    "layer_types": None,
    "sliding_window": None,
    "eos_token_id": None,
    "max_position_embeddings": None,
}
MOST = 1e300  # of a number
EMPTY = (None, False, "", [], {})  # values that ask for nothing


class Section:
    """The description, or a table in it, for one layer.

    A leaf is evaluated when it is asked for, so one that a family does not use may name keys that
    its config.json lacks; and every key that was read is remembered, so that others can be refused.
    """

    def __init__(self, node: Any, scope: Mapping[str, Any], asked: set[str]):
        self._node, self._scope, self._asked = node, scope, asked

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._node, name)
        if is_dataclass(value):
            return Section(value, self._scope, self._asked)
        if expression.is_expression(value):
            self._asked.update(key.split(".")[0] for key in expression.names(value))
        return expression.evaluate(value, self._scope)

    def whole(self, name: str, least: int = 1, most: int = 1 << 31) -> int:
        """A leaf that must be a whole number."""
        value = getattr(self, name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise expression.ExpressionError(
                f"{self._origin(name)} gives {value!r}; a whole number from {least:,} to {most:,} "
                "is needed"
            )
        return value

    def number(self, name: str, least: float | None = None, above: float | None = None) -> float:
        """A leaf that must be a finite number in a range; null is 0, in every range."""
        value = getattr(self, name)
        if value is None:
            return 0.0
        wanted = ""
        if not is_number(value):
            wanted = "a number is needed"
        elif least is not None and value < least:
            wanted = f"it must be at least {least}"
        elif above is not None and value <= above:
            wanted = f"it must be above {above}"
        if wanted:
            raise expression.ExpressionError(f"{self._origin(name)} gives {value!r}; {wanted}")
        return float(value)

    def choice(self, name: str, *choices: str) -> str:
        """A leaf that must be one of these words."""
        value = getattr(self, name)
        if value not in choices:
            raise expression.ExpressionError(
                f"{self._origin(name)} gives {value!r}, which this description does not cover "
                f"({', '.join(choices)})"
            )
        return value

    def _origin(self, name: str) -> str:
        """The leaf, and where its value comes from."""
        words = "".join(c if c.islower() else f" {c.lower()}" for c in type(self._node).__name__)
        said = getattr(self._node, name)
        text = f"model.{words.strip().replace(' ', '_')}.{name}".replace("model.decoder.", "model.")
        return f"{text} ({said.lstrip('= ')})" if expression.is_expression(said) else text


def read_config(raw: Mapping[str, Any], description) -> dict[str, Any]:
    """config.json with our names for the family's, defaults, and one spelling of rope.

    `description` is the plugin. What is missing for a default stays missing.
    """
    config = dict(raw)
    _one_rope(config)
    for ours, theirs in description.keys.items():
        for name in theirs if isinstance(theirs, list) else [theirs]:
            if config.get(name) is not None:
                config[ours] = config[name]
    for key, value in {**DEFAULTS, **description.config}.items():
        if config.get(key) is None:
            try:
                config[key] = expression.evaluate(value, config)
            except (expression.Missing, expression.ExpressionError):
                config.pop(key, None)  # told when, and if, it is asked for
    return config


def _one_rope(config: dict[str, Any]) -> None:
    """rope_parameters of transformers 5 becomes rope_theta and rope_scaling of 4."""
    rope = config.get("rope_parameters")
    if isinstance(rope, dict) and not any(isinstance(value, dict) for value in rope.values()):
        rest = dict(rope)
        outer = {key: rest.pop(key, None) for key in ("rope_theta", "partial_rotary_factor")}
        if _differs(config, {**outer, "rope_scaling": rest}):
            return  # it stays, and is refused as a key that nobody reads
        del config["rope_parameters"]
        config.update({key: value for key, value in outer.items() if value is not None})
        config["rope_scaling"] = rest
    scaling = config.get("rope_scaling")
    if isinstance(scaling, dict) and scales_nothing(scaling):
        config["rope_scaling"] = None


def _differs(config: Mapping[str, Any], rope: Mapping[str, Any]) -> bool:
    """Whether config.json says something else than rope_parameters, one beside the other."""

    def plain(value):
        if not isinstance(value, dict):
            return value
        own = {k: v for k, v in value.items() if k not in ("type", "rope_type", *rope)}
        return {**own, "type": scaling_kind(value)}

    pairs = [(config.get(key), value) for key, value in rope.items()]
    return any(a is not None and b is not None and plain(a) != plain(b) for a, b in pairs)


def scaling_kind(scaling: Mapping[str, Any]) -> str:
    return str(scaling.get("rope_type") or scaling.get("type") or "default")


def scales_nothing(scaling: Mapping[str, Any]) -> bool:
    """Whether it is of the default kind, and says nothing else."""
    said = {key for key, value in scaling.items() if value is not None}
    return scaling_kind(scaling) == "default" and said <= {"type", "rope_type"}


def is_number(value: Any) -> bool:
    """Whether it is a finite number."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and -MOST < value < MOST  # neither infinite nor NaN
    )


def contradictions(config: Mapping[str, Any], description) -> Iterator[str]:
    """What config.json says against `matches` and `expect`."""
    if config.get("quantization_config"):
        yield (
            "config.json says quantization_config: the checkpoint is quantized already; give the "
            "one it was made from, and choose quant=…"
        )
    for key, allowed in {**description.matches, **description.expect}.items():
        value = _looked_up(config, key)
        allowed = allowed if isinstance(allowed, list) else [allowed]
        if value is None and (key in description.matches or False in allowed or None in allowed):
            continue
        if value not in allowed:
            listing = ", ".join(map(str, allowed))
            yield f"config.json says {key}: {value!r}; this description covers {listing}"


def _looked_up(config: Mapping[str, Any], key: str) -> Any:
    """The value of a key, or, with dots, of a key in a table; None where there is none."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def unread(raw: Mapping[str, Any], config, description, asked: set[str]) -> Iterator[str]:
    """Keys that were neither asked for, nor expected, nor known to change nothing."""
    known = asked | _known(config, description, asked)
    if "rope_scaling" not in known and config.get("rope_scaling"):
        yield f"config.json says rope_scaling: {config['rope_scaling']!r}, but nothing is rotated"
    if "rope_parameters" not in config:  # it was flat, and stands in rope_scaling now
        known |= {"rope_parameters"}
    for key, value in raw.items():
        if key in known or _same_as_nothing(value) or _ignored(key):
            continue
        yield (
            f"config.json says {key}: {value!r}, which this description does not read; if it "
            f"changes nothing that is computed, add model.ignore=[{key}]"
        )


def _known(config, description, asked: set[str]) -> set[str]:
    known = {key.split(".")[0] for key in (*description.expect, *description.matches)}
    known |= {*description.ignore, "hidden_size", "num_attention_heads", "quantization_config"}
    known |= {"rope_scaling"} if not config.get("rope_scaling") else set()
    for key, value in {**DEFAULTS, **description.config}.items():
        if key in asked and expression.is_expression(value):
            known |= {name.split(".")[0] for name in expression.names(value)}
    for ours, theirs in description.keys.items():
        if ours in asked | known or _ignored(ours):
            known |= set(theirs if isinstance(theirs, list) else [theirs])
    return known


def _same_as_nothing(value: Any) -> bool:
    return any(type(value) is type(empty) and value == empty for empty in EMPTY)


def _ignored(key: str) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in (*IGNORED, *GENERATION))


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a description with its dotted path."""
    for field in fields(node):
        value = getattr(node, field.name)
        if is_dataclass(value):
            yield from leaves(value, f"{path}{field.name}.")
        else:
            yield f"{path}{field.name}", value

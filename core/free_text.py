"""Text and paths verbatim from the command line, before Hydra's grammar sees them.

`prompt="def f(x):"` or `out=/data/a=b` would fail in the grammar of overrides, and
`prompt='${x}'` in OmegaConf's. A text that stands for null says `null`; a list of strings is
written `stop=[a,b]`, in Hydra's grammar. A path may hold `${…}`: `out=engines/${quant.name}`.
"""

from __future__ import annotations

import re

TEXTS = {"run": ("prompt", "system", "stop", "bad_words", "salt")}  # nothing in them has a meaning
PATHS = {
    "build": ("checkpoint", "out"),
    "plan": ("checkpoint", "out", "json"),
    "run": ("engine", "prompts"),
    "show": ("engine", "report"),
    "bench": ("engine", "json", "plot", "compare"),
    "eval": ("engine", "text", "against", "json"),
}


def quoted(argument: str, command: str) -> str:
    """`argument` so that Hydra's grammar gives back exactly what was typed."""
    key, equals, value = argument.partition("=")
    if not equals:
        return argument
    if key in TEXTS.get(command, ()):
        if key != "prompt" and (value == "null" or (value[:1], value[-1:]) == ("[", "]")):
            return argument
        return f"{key}={_quote(_uninterpolated(value))}"
    if key in PATHS.get(command, ()) and value != "null":
        return f"{key}={_quote(value)}"
    return argument


def _quote(text: str) -> str:
    # Within quotes \' is a quote, and backslashes before a quote count in pairs.
    text = re.sub(r"(\\*)'", lambda match: match.group(1) * 2 + "\\'", text)
    text = re.sub(r"(\\+)$", lambda match: match.group(1) * 2, text)
    return f"'{text}'"


def _uninterpolated(text: str) -> str:
    if text == "???":  # OmegaConf's mark for a missing value
        return "${oc.decode:\"'???'\"}"
    # Before an interpolation \$ is a dollar, and backslashes before it count in pairs.
    return re.sub(r"(\\*)\$\{", lambda match: match.group(1) * 2 + "\\${", text)

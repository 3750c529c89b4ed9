"""Chat prompts: the template of the checkpoint's tokenizer, in Jinja, over a list of messages.

A template comes with the checkpoint, never from a client, and runs in Jinja's immutable sandbox,
with the names that transformers gives it: messages, add_generation_prompt, the special tokens,
raise_exception, strftime_now.
https://huggingface.co/docs/transformers/chat_templating
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from .checkpoint import read_json
from .command import PlanError

SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token")
ROLES = "each message is a table with role and content, both text"


def prompt_text(folder: Path, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
    """`messages` as the template of the engine in `folder` writes them, up to the answer.

    `variables` are what this template knows beside them, for example enable_thinking=False.

    Raises:
        PlanError: there is no template, or it does not take these messages.
    """
    from jinja2 import TemplateError

    _check(messages)
    template, tokens = _template(Path(folder)), _special_tokens(Path(folder))
    try:
        compiled = _environment().from_string(template)
        names = {**tokens, "add_generation_prompt": True, "tools": None, **variables}
        return compiled.render(messages=list(messages), **names)
    except (TemplateError, TypeError, ValueError, OverflowError) as error:
        raise PlanError(f"the chat template of {folder} fails: {error}") from error


def prompt_ids(engine, messages: Sequence[Mapping[str, Any]], **variables: Any) -> list[int]:
    """The token ids of the same; the special tokens that a prompt has are the template's."""
    text = prompt_text(engine.directory, messages, **variables)
    return engine.tokenizer.encode(text, add_special_tokens=False).ids


def _check(messages: Sequence[Mapping[str, Any]]) -> None:
    for place, message in enumerate(messages):
        fits = isinstance(message, Mapping) and isinstance(message.get("role"), str)
        if not fits or not isinstance(message.get("content", ""), str):
            raise PlanError(f"message {place} of the chat is {message!r:.80}; {ROLES}")
    if not messages:
        raise PlanError(f"a chat has at least one message; {ROLES}")


def _template(folder: Path) -> str:
    """The text of the template; of several, the one named `default`."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        if not (folder / name).is_file():
            continue
        said = read_json(folder / name, "repair or remove it").get("chat_template")
        if isinstance(said, list):
            named = {entry.get("name"): entry.get("template") for entry in said}
            said = named.get("default")
        if isinstance(said, str):
            return said
    raise PlanError(
        f"{folder} has no chat template: its checkpoint was not trained for chats, or came without "
        "chat_template.jinja; leave chat=true out, or write the prompt as its model card says"
    )


def _special_tokens(folder: Path) -> dict[str, str]:
    path = folder / "tokenizer_config.json"
    said = read_json(path, "repair or remove it") if path.is_file() else {}
    tokens = {}
    for name in SPECIAL:
        value = said.get(name)
        value = value.get("content") if isinstance(value, Mapping) else value
        if isinstance(value, str):
            tokens[name] = value
    return tokens


def _environment():
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(jinja2.ext.Extension):
        """{% generation %} … {% endgeneration %} marks answers for training: here, its body."""

        tags: ClassVar[set[str]] = {"generation"}

        def parse(self, parser):
            parser.stream.skip(1)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, Generation]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return environment


def _tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False) -> str:
    """JSON as a text, where Jinja's own filter writes HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise(message: str):
    from jinja2 import TemplateError

    raise TemplateError(message)

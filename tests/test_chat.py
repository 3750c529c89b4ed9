"""Chat templates give what transformers' apply_chat_template gives, and harm nobody."""

import json
import shutil

import pytest
from conftest import command
from transformers import AutoTokenizer

from core import chat
from core.command import PlanError

CHATML = """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}
{{ '<s>system\\nYou are a helpful assistant.</s>\\n' }}
{% endif %}
{{ '<s>' + message['role'] + '\\n' + message['content'] | trim + '</s>' + '\\n' }}
{% endfor %}
{% if add_generation_prompt %}{{ '<s>assistant\\n' }}{% endif %}"""
INST = """{{ bos_token }}{% for message in messages %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif %}
{%- if message['role'] == 'user' %}
{{- '[INST] ' + message['content'] + ' [/INST]' }}
{%- elif message['role'] == 'assistant' %}
{%- generation %}{{- ' ' + message['content'] + eos_token }}{%- endgeneration %}
{%- else %}{%- break %}{%- endif %}
{%- endfor %}"""
JSON = "{{ messages | tojson }}{{ messages[0] | tojson(indent=2) }}{{ unk_token }}{{ pad_token }}"
TEMPLATES = {"chatml": CHATML, "inst": INST, "json": JSON}
CHATS = [
    [{"role": "user", "content": "hi"}],
    [
        {"role": "user", "content": " what is\n<b>é</b>? "},
        {"role": "assistant", "content": "a letter"},
        {"role": "user", "content": "thanks"},
    ],
]


@pytest.fixture
def folder(tmp_path, tiny_llama):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tiny_llama / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("chat_", CHATS, ids=["one", "three"])
@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("place", ["file", "config", "list"])
def test_prompts_are_those_of_transformers(folder, name, chat_, place):
    """A template in its own file, in tokenizer_config.json, or one of several there."""
    template = TEMPLATES[name]
    if place == "file":
        (folder / "chat_template.jinja").write_text(template)
    else:
        path = folder / "tokenizer_config.json"
        named = [{"name": "other", "template": "x"}, {"name": "default", "template": template}]
        said = {"chat_template": template if place == "config" else named}
        path.write_text(json.dumps({**json.loads(path.read_text()), **said}))
    want = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        chat_, tokenize=False, add_generation_prompt=True
    )
    assert chat.prompt_text(folder, chat_) == want


@pytest.mark.parametrize(
    ("template", "messages", "said"),
    [
        (INST, [{"role": "assistant", "content": "x"}], "roles must alternate"),
        ("{% for %}", CHATS[0], "fails"),
        ("{{ ''.__class__.__mro__ }}", CHATS[0], "unsafe"),
        ("{{ messages.append(1) }}", CHATS[0], "unsafe"),
        (CHATML, [], "at least one message"),
        (CHATML, ["hello"], "role and content"),
        (CHATML, [{"role": "user", "content": [1]}], "role and content"),
    ],
)
def test_bad_templates_and_messages_are_refused(folder, template, messages, said):
    """What a template raises, its own mistakes, what the sandbox forbids, messages of no form."""
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(PlanError, match=said):
        chat.prompt_text(folder, messages)


def test_no_template_is_said(folder):
    with pytest.raises(PlanError, match="has no chat template"):
        chat.prompt_text(folder, CHATS[0])


def test_run_prints_the_answer(build, tiny_llama, tmp_path):
    """core.run chat=true continues the template's prompt, whose special tokens are tokens."""
    checkpoint = shutil.copytree(tiny_llama, tmp_path / "chatty")
    (checkpoint / "chat_template.jinja").write_text(CHATML)
    folder = build("model=llama2", f"checkpoint={checkpoint}")
    done = command("run", f"engine={folder}", "chat=true", "prompt=def f(x):", "max_tokens=8")
    from core import Engine, Sampling

    text = chat.prompt_text(folder, [{"role": "user", "content": "def f(x):"}])
    with Engine(folder) as engine:
        ids = engine.tokenizer.encode(text, add_special_tokens=False).ids
        assert ids.count(1) == 3  # <s>, not its letters
        assert done.stdout == engine.generate([ids], Sampling(max_tokens=8))[0].text + "\n"
    for given in (["chat=true", "ids=[1]"], ["system=x", "prompt=y"]):
        assert command("run", f"engine={folder}", *given).returncode == 2

"""What a checkpoint or a description that does not fit is told, word for word and all at once."""

import pytest
import torch
import yaml
from checkpoints import CONF, described, plan_of, preset, textbook, tiny
from safetensors.torch import load_file, save_file

from core.checkpoint import RandomCheckpoint
from core.command import PlanError
from core.resolution import _instance
from plugins.model.decoder import Decoder
from plugins.model.decoder.tensor_names import listing


def refusal(config=(), family="llama2", settings=None, **given):
    """What is said against a random checkpoint whose config differs from the smallest size."""
    plugin, _ = tiny(family)
    if settings is not None:
        plugin = described(settings)
    changed = {**preset(family).sizes["tiny"], **dict(config)}
    checkpoint = RandomCheckpoint({k: v for k, v in changed.items() if v != "absent"}, 0)
    with pytest.raises(PlanError) as error:
        plugin.graph(plan_of(checkpoint, **given), checkpoint)
    return str(error.value)


def scaled(kind, **more):
    return {"rope_scaling": {"rope_type": kind, **more}}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            scaled("helix", factor=3),
            "config.json says rope_scaling of type 'helix', which this description does not cover "
            "(linear, dynamic, llama3, yarn, longrope)",
        ),
        (
            scaled("linear", factor=2, twist=1),
            "config.json says rope_scaling of type 'linear' with twist: 1, which is not read",
        ),
        (
            scaled("llama3", factor=8),
            "config.json says rope_scaling of type 'llama3' without low_freq_factor, which it "
            "needs",
        ),
        (
            scaled("linear", factor="8"),
            "config.json says rope_scaling of type 'linear' with factor: '8', which is no number",
        ),
        (
            scaled("linear", factor=0),
            "config.json says rope_scaling of type 'linear' with factor: 0, which must be above 0",
        ),
        ({"rope_scaling": 3}, "config.json says rope_scaling: 3, which is no table"),
        (
            {"rope_scaling": {"factor": 2}},
            "config.json says rope_scaling of type 'default', which this description does not "
            "cover (linear, dynamic, llama3, yarn, longrope)",
        ),
        (
            scaled(["linear"]),
            "config.json says rope_scaling of type \"['linear']\", which this description does "
            "not cover (linear, dynamic, llama3, yarn, longrope)",
        ),
        (
            scaled("linear", factor=float("inf")),
            "config.json says rope_scaling of type 'linear' with factor: inf, which is no number",
        ),
        (
            scaled("linear", factor=[2]),
            "config.json says rope_scaling of type 'linear' with factor: [2], which is no number",
        ),
        (
            scaled("yarn", factor=2, original_max_position_embeddings=0),
            "config.json says rope_scaling of type 'yarn' with original_max_position_embeddings: "
            "0, which must be above 0",
        ),
        (
            scaled(
                "llama3",
                factor=8,
                low_freq_factor=1,
                high_freq_factor=1,
                original_max_position_embeddings=64,
            ),
            "config.json says rope_scaling of type 'llama3', whose high_freq_factor is not above "
            "its low_freq_factor",
        ),
        (
            scaled("longrope", short_factor=3, long_factor=[1]),
            "config.json says rope_scaling of type 'longrope' with short_factor: 3, which is no "
            "list of numbers",
        ),
        (
            {"rope_theta": 1e4, "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}},
            "config.json says rope_parameters: {'rope_theta': 500000.0, 'rope_type': 'default'}, "
            "which this description does not read; if it changes nothing that is computed, add "
            "model.ignore=[rope_parameters]",
        ),
        (
            {"rope_theta": float("nan")},
            "model.positions.theta (rope_theta) gives nan; a number is needed",
        ),
        ({"rope_theta": -1}, "model.positions.theta (rope_theta) gives -1; it must be above 1"),
        (
            {"rms_norm_eps": -1},
            "model.norm.epsilon (rms_norm_eps) gives -1; it must be at least 0",
        ),
        (
            {"rms_norm_eps": float("inf")},
            "model.norm.epsilon (rms_norm_eps) gives inf; a number is needed",
        ),
        (
            {"hidden_act": "xielu"},
            "model.feed_forward.activation gives 'xielu', which this description does not cover "
            "(silu, swish, gelu, relu, gelu_tanh, gelu_new, gelu_pytorch_tanh, gelu_fast)",
        ),
        (
            {"attention_temperature_tuning": True},
            "config.json says attention_temperature_tuning: True, which this description does not "
            "read; if it changes nothing that is computed, add "
            "model.ignore=[attention_temperature_tuning]",
        ),
        (
            {"sliding_window": 64},
            "config.json says sliding_window: 64, which this description does not read; if it "
            "changes nothing that is computed, add model.ignore=[sliding_window]",
        ),
        (
            {"model_type": "qwen2"},
            "config.json says model_type: 'qwen2'; this description covers llama",
        ),
        (
            {"quantization_config": {"bits": 4}},
            "config.json says quantization_config: the checkpoint is quantized already; give the "
            "one it was made from, and choose quant=…",
        ),
        (
            {"num_key_value_heads": 3},
            "config.json says 4 query heads and 3 key/value heads; the first must be a multiple of "
            "the second",
        ),
        (
            {"num_hidden_layers": "2"},
            "model.layers (num_hidden_layers) gives '2'; a whole number from 1 to 4,096 is needed",
        ),
        (
            {"num_hidden_layers": 10**9},
            "model.layers (num_hidden_layers) gives 1000000000; a whole number from 1 to 4,096 is "
            "needed",
        ),
        (
            {"rms_norm_eps": "small"},
            "model.norm.epsilon (rms_norm_eps) gives 'small'; a number is needed",
        ),
        (
            {"rms_norm_eps": "absent"},
            "config.json does not say rms_norm_eps, which this description needs",
        ),
        ({"eos_token_id": "x"}, "eos_token_id: 'x' is neither a token id nor a list of them"),
    ],
)
def test_config_that_is_not_covered(config, said):
    """A feature that the description does not cover is refused by name, word for word."""
    assert refusal(config) == said


def test_all_of_one_config_is_told_at_once():
    """Keys that are missing, unexpected and unread stand in one message."""
    said = refusal(
        {"rms_norm_eps": "absent", "hidden_act": "absent", "model_type": "phi", "rotary_twist": 1}
    ).splitlines()
    assert said == [
        "config.json says model_type: 'phi'; this description covers llama",
        "config.json does not say rms_norm_eps, which this description needs",
        "config.json does not say hidden_act, which this description needs",
        "config.json says rotary_twist: 1, which this description does not read; if it changes "
        "nothing that is computed, add model.ignore=[rotary_twist]",
    ]


def test_an_ignored_key_is_accepted():
    """model.ignore=[key] lets an unread key pass."""
    plugin = preset("llama2")
    settings = yaml.safe_load((CONF / "llama2.yaml").read_text()) | {"ignore": ["twist"]}
    checkpoint = RandomCheckpoint({**plugin.sizes["tiny"], "twist": 2}, 0)
    described(settings).graph(plan_of(checkpoint), checkpoint)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"norm": {"kind": "batch"}}, "model.norm.kind gives 'batch'"),
        ({"attention": {"layout": "woven"}}, "model.attention.layout gives 'woven', which this"),
        ({"width": "=().__class__"}, "not allowed in a model description"),
        ({"positions": {"fraction": 0.01}}, "0 of 16 elements of a head cannot be rotated"),
        ({"positions": {"kind": "rope", "scaling": "=hidden_size"}}, "64, which is no table"),
    ],
)
def test_a_wrong_description(settings, part):
    """A description that says what there is not is refused by the name of its field."""
    assert part in refusal(settings={"config": {"rope_theta": 1e4}, **settings})


def test_a_description_that_cannot_be_parsed():
    """Expressions are parsed when the plugin is made: all mistakes at once, with their fields."""
    errors = []
    settings = {"width": "=hidden_size +", "norm": {"epsilon": "=("}, "config": {"a": ["=1 1"]}}
    assert _instance("model", "decoder", Decoder, settings, errors) is None
    assert [error.partition(":")[0] for error in errors] == [
        "model.config", "model.width", "model.norm.epsilon",
    ]  # fmt: skip
    assert errors[1] == "model.width: =hidden_size +: not an expression (invalid syntax)"


def test_max_length():
    """Longer than the positions is refused; scaled ones cover more; without any it is asked for."""
    plugin, checkpoint = tiny()
    assert plugin.conflicts(plan_of(checkpoint, max_length=257)) == [
        "max_length=257: the checkpoint's positions cover 256 tokens (config.json); choose "
        "max_length=256 or less"
    ]
    _, longer = tiny(**scaled("linear", factor=4.0))
    assert not plugin.conflicts(plan_of(longer, max_length=1024))
    assert plugin.conflicts(plan_of(longer, max_length=1025))
    _, endless = tiny(max_position_embeddings=1 << 40)
    assert "at most 268,435,456 can be served; choose max_length=…" in str(
        plugin.conflicts(plan_of(endless))
    )
    _, silent = tiny(max_position_embeddings=None)
    assert "say how long a sequence may become with max_length=…" in str(
        plugin.conflicts(plan_of(silent))
    )


def edited(folder, tmp_path, edit):
    """What is said against a checkpoint whose tensors were changed."""
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    out = tmp_path / "edited"
    out.mkdir()
    (out / "config.json").write_text((folder / "config.json").read_text())
    save_file(tensors, out / "model.safetensors")
    with pytest.raises(PlanError) as error:
        textbook(preset("llama2"), out)
    return str(error.value).replace(str(out), "edited").splitlines()


def test_tensors_that_do_not_fit_are_all_listed(tmp_path, tiny_llama):
    """Missing, extra and misshapen tensors of all layers are told together."""

    def edit(tensors):
        for layer in (1, 2, 4):
            del tensors[f"model.layers.{layer}.mlp.up_proj.weight"]
            tensors[f"model.layers.{layer}.self_attn.q_proj.bias"] = torch.zeros(256)
        tensors["model.norm.weight"] = torch.ones(255)
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(32)

    assert edited(tiny_llama, tmp_path, edit) == [
        "the checkpoint has no tensor model.layers.{1-2,4}.mlp.up_proj.weight",
        "edited/model.safetensors: model.norm.weight has shape [255], but config.json and the "
        "model's description say [256]",
        "the checkpoint has model.layers.{1-2,4}.self_attn.q_proj.bias, which this description "
        "does not read; if it carries nothing, add its pattern to model.tensors.ignore",
    ]


def test_weights_that_are_no_floats(tmp_path, tiny_llama):
    """Integers under the name of a weight are codes of a quantization that nobody undoes."""
    name = "model.layers.0.mlp.up_proj.weight"
    said = edited(tiny_llama, tmp_path, lambda t: t.update({name: t[name].to(torch.int8)}))
    assert said == [
        f"{name} is stored as INT8, which is no floating-point type: the checkpoint is quantized "
        "already; give the one it was made from"
    ]


def test_listing_of_names():
    """Names that differ in one number are one entry."""
    names = ["a.2.w", "a.0.w", "a.1.w", "b", "a.1.x", "layer10.y"]
    assert list(listing(names)) == ["a.{0-2}.w", "a.1.x", "b", "layer10.y"]

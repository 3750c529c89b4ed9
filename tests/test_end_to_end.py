"""From a checkpoint to tokens, compared with transformers.

L tokens of a sequence, V vocabulary. Bounds: `DISTANCE` is max|difference| / standard deviation of
the reference logits.
"""

import numpy as np
import pytest
import torch
import transformers

from core import Engine, Sampling

FLOAT32_DISTANCE = 1e-4  # measured 1e-5: the order of summation
# bfloat16 keeps 8 bits; two correct implementations differ where they round. transformers' own
# bfloat16 and float32 logits of these prompts differ by up to 0.06.
BFLOAT16_DISTANCE = 0.08


def reference(folder, dtype=torch.float32):
    """The checkpoint in transformers."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    return model.eval()


def reference_logits(model, ids):
    """float32 [L, V]."""
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0].float().numpy()


def greedy(model, ids, count):
    """`count` greedy tokens after `ids`, end tokens included as any other."""
    with torch.no_grad():
        out = model.generate(
            torch.tensor([ids]),
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            use_cache=True,
        )
    return out[0, len(ids) :].tolist()


def distance(got, want):
    return float(np.abs(got - want).max() / want.std())


def random_checkpoint(folder, config, seed=0):
    """A checkpoint that transformers draws and writes; weights large enough for varied logits."""
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 1:
                weight.copy_(weight + 0.3 * torch.randn_like(weight))
            else:
                weight.copy_(torch.randn_like(weight) / weight.shape[-1] ** 0.5)
    model.save_pretrained(folder)
    return model


SHAPE = dict(
    vocab_size=203,
    hidden_size=96,
    intermediate_size=136,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=256,
)
RANDOM = {
    "llama2": ("llama2", transformers.LlamaConfig(**SHAPE, rms_norm_eps=1e-5)),
    "llama2-tied-biased": (
        "llama2",
        transformers.LlamaConfig(
            **SHAPE, head_dim=24, attention_bias=True, mlp_bias=True, tie_word_embeddings=True
        ),
    ),
    "llama3.1": (
        "llama3",
        transformers.LlamaConfig(
            **SHAPE,
            rope_parameters=dict(
                rope_type="llama3",
                rope_theta=500000.0,
                factor=8.0,
                low_freq_factor=1.0,
                high_freq_factor=4.0,
                original_max_position_embeddings=64,
            ),
        ),
    ),
    "mistral-window": ("mistral", transformers.MistralConfig(**SHAPE, sliding_window=19)),
}


def test_greedy_tokens_of_the_built_in_model_equal_transformers(build, tiny_llama, prompts):
    """64 greedy tokens on 20 prompts are transformers', in float32, all prompts in flight."""
    folder = build("model=llama2", f"checkpoint={tiny_llama}", "dtype=float32")
    model = reference(tiny_llama)
    with Engine(folder) as engine:
        sampling = Sampling(max_tokens=64, min_tokens=64, ignore_eos=True)
        ids = [engine.encode(prompt) for prompt in prompts]
        outputs = engine.generate(ids, sampling)

    for prompt, output in zip(ids, outputs, strict=True):
        assert output.token_ids == greedy(model, prompt, 64)


def test_logits_of_the_built_in_model_in_float32(build, tiny_llama, prompts):
    """Logits after every token of a prompt are transformers' up to the order of summation."""
    model = reference(tiny_llama)
    with Engine(build("model=llama2", f"checkpoint={tiny_llama}", "dtype=float32")) as engine:
        for prompt in prompts[:4]:
            ids = engine.encode(prompt)
            assert distance(engine.logits(ids), reference_logits(model, ids)) < FLOAT32_DISTANCE


def test_logits_of_the_built_in_model_in_bfloat16(build, tiny_llama, prompts):
    """In the checkpoint's own type, logits stay within bfloat16's rounding of the float32 ones."""
    model = reference(tiny_llama)
    with Engine(build("model=llama2", f"checkpoint={tiny_llama}")) as engine:
        for prompt in prompts[:4]:
            ids = engine.encode(prompt)
            assert distance(engine.logits(ids), reference_logits(model, ids)) < BFLOAT16_DISTANCE


@pytest.mark.parametrize("name", RANDOM)
def test_random_checkpoints(build, tmp_path_factory, name):
    """Logits and 40 greedy tokens of a random two-layer checkpoint equal transformers'."""
    preset, config = RANDOM[name]
    checkpoint = tmp_path_factory.mktemp(name)
    model = random_checkpoint(checkpoint, config)
    ids = np.random.default_rng(1).integers(3, config.vocab_size, 61).tolist()

    with Engine(build(f"model={preset}", f"checkpoint={checkpoint}", "dtype=float32")) as engine:
        got_LV = engine.logits(ids)
        [output] = engine.generate([ids], Sampling(max_tokens=40, min_tokens=40, ignore_eos=True))

    assert distance(got_LV, reference_logits(model, ids)) < FLOAT32_DISTANCE
    assert output.token_ids == greedy(model, ids, 40)


def test_neighbours_change_nothing(build, tiny_llama, prompts):
    """A sequence's tokens and log-probabilities are the same alone and among others, exactly."""
    sampling = Sampling(max_tokens=24, temperature=0.9, top_p=0.95, seed=5, logprobs=0)
    folder = build("model=llama2", "quant=fp8", f"checkpoint={tiny_llama}")
    with Engine(folder) as engine:
        together = engine.generate(prompts, sampling)
        alone = [engine.generate([prompt], sampling)[0] for prompt in prompts[:6]]
    with Engine(folder, token_budget=48, threads=1) as engine:
        chunked = engine.generate(prompts[:6], sampling)

    for expected, one, other in zip(together, alone, chunked, strict=False):
        assert expected.token_ids == one.token_ids == other.token_ids
        assert expected.logprobs == one.logprobs == other.logprobs


def reference_perplexity(model, ids, window):
    total, count = 0.0, 0
    for start in range(0, len(ids), window):
        part = torch.tensor([ids[start : start + window]])
        with torch.no_grad():
            logits = model(part, use_cache=False).logits[0, :-1].float()
        total += torch.nn.functional.cross_entropy(logits, part[0, 1:], reduction="sum").item()
        count += part.shape[1] - 1
    return float(np.exp(total / count))


def test_perplexity(build, tiny_llama, heldout):
    """On held-out text: bfloat16 within 0.1 % of transformers', fp8 within 1 % of bfloat16."""
    from core.eval import perplexity

    with Engine(build("model=llama2", f"checkpoint={tiny_llama}")) as engine:
        ids = engine.encode(heldout.read_text())[: 64 * 512]
        plain, _ = perplexity(engine, ids, 512)
    with Engine(build("model=llama2", "quant=fp8", f"checkpoint={tiny_llama}")) as engine:
        quantized, _ = perplexity(engine, ids, 512)
    want = reference_perplexity(reference(tiny_llama, torch.bfloat16), ids, 512)

    assert plain == pytest.approx(want, rel=1e-3)
    assert quantized == pytest.approx(plain, rel=1e-2)

"""A checkpoint in float16 becomes an engine in float16, whatever its quantization."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from checkpoints import distance

from core import Engine, Sampling
from core.eval import perplexity

DISTANCE = 0.01  # of logits, in standard deviations; measured 0.0066: float16 keeps 11 bits
# Perplexity beside the unquantized engine's. Measured on this text: 0.2 %, 0.04 %, 0.7 %, 4.8 %.
QUANTIZED = {
    "none": (["quant.cache=fp8"], 0.005),
    "int8_wo": ([], 0.005),
    "fp8": (["quant.cache=fp8"], 0.01),
    "int4_wo": ([], 0.08),
}


@pytest.fixture(scope="module")
def half(tiny_llama, tmp_path_factory):
    """(folder, model): the built-in checkpoint cast to float16, in transformers as float32."""
    folder = tmp_path_factory.mktemp("half")
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float16)
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(tiny_llama / file, folder)
    return folder, model.float().eval()


@pytest.fixture(scope="module")
def plain(build, half):
    return build("model=llama2", f"checkpoint={half[0]}")


def test_logits_are_those_of_transformers(plain, half, prompts):
    """Every weight and activation is float16; logits are float32's up to its rounding."""
    tensors = json.loads((plain / "engine.json").read_text())["tensors"]["rank0"]
    tables = {"cos_LR", "sin_LR", "slopes_H", "sinks_H"}
    assert {t["dtype"] for name, t in tensors.items() if name not in tables} == {"f16"}
    assert "dtype=bf16" not in (plain / "rank0" / "plan.txt").read_text()
    with Engine(plain) as engine:
        for prompt in prompts[:4]:
            ids = engine.encode(prompt)
            with torch.no_grad():
                want_LV = half[1](torch.tensor([ids]), use_cache=False).logits[0].numpy()
            assert distance(engine.logits(ids), want_LV) < DISTANCE


def test_greedy_tokens_are_the_most_probable(plain, half, prompts):
    """Each of 32 tokens of 20 prompts is transformers', or its logit is within the rounding."""
    with Engine(plain) as engine:
        ids = [engine.encode(prompt) for prompt in prompts]
        outputs = engine.generate(ids, Sampling(max_tokens=32, min_tokens=32, ignore_eos=True))
    for prompt, output in zip(ids, outputs, strict=True):
        whole = prompt + output.token_ids
        with torch.no_grad():
            logits_LV = half[1](torch.tensor([whole]), use_cache=False).logits[0].numpy()
        before_LV = logits_LV[len(prompt) - 1 : -1]
        chosen = before_LV[np.arange(32), output.token_ids]
        assert (before_LV.max(axis=1) - chosen).max() < 2 * DISTANCE * logits_LV.std()


@pytest.mark.parametrize("quant", QUANTIZED)
def test_quantized(build, plain, half, heldout, quant):
    """Every quantization starts from float16 weights; caches in e4m3 as well."""
    extra, bound = QUANTIZED[quant]
    found = []
    for folder in (plain, build("model=llama2", f"quant={quant}", *extra, f"checkpoint={half[0]}")):
        with Engine(folder) as engine:
            ids = engine.encode(heldout.read_text())[: 16 * 512]
            found.append(perplexity(engine, ids, 512)[0])
    assert found[1] == pytest.approx(found[0], rel=bound)
    assert np.isfinite(found).all()

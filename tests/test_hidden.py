"""features=[hidden]: the rows that the head reads, by name. L tokens, D width, V vocabulary."""

import numpy as np
import pytest
import torch
import transformers

from core import Engine, Sampling
from core.command import ArgumentError

# Relative to the standard deviation; measured 3e-6: the order of summation.
FLOAT32_DISTANCE = 5e-5


def test_hidden_rows_are_transformers_last_hidden_state(build, tiny_llama, prompts):
    """In float32, and over chunks of a prompt, they are transformers' last hidden state."""
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    folder = build("model=llama2", f"checkpoint={tiny_llama}", "dtype=float32", "features=[hidden]")
    with Engine(folder, token_budget=16) as engine:
        for prompt in prompts[:4]:
            ids = engine.encode(prompt)
            with torch.no_grad():
                states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
            want_LD = states[-1][0].numpy()
            got_LD = engine.hidden(ids)

            assert got_LD.shape == want_LD.shape
            assert np.abs(got_LD - want_LD).max() < FLOAT32_DISTANCE * want_LD.std()


@pytest.mark.parametrize(
    "overrides", [("quant=fp8",), ("parallel=tensor", "parallel.ranks=2")], ids=lambda o: o[0]
)
def test_logits_are_the_heads_of_hidden_rows(build, tiny_llama, prompts, overrides):
    """With quantization and on two ranks the logits are the head's product with these rows."""
    folder = build(
        "model=llama2", f"checkpoint={tiny_llama}", "dtype=float32", "features=[hidden]", *overrides
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float64)
    head_VD = model.lm_head.weight.detach().numpy()
    with Engine(folder) as engine:
        ids = engine.encode(prompts[1])
        want_LV = engine.hidden(ids).astype(np.float64) @ head_VD.T
        got_LV = engine.logits(ids)

    assert np.abs(got_LV - want_LV).max() < FLOAT32_DISTANCE * want_LV.std()


def test_requests_beside_one_that_asks_for_hidden_rows(build, tiny_llama, prompts):
    """Generated tokens are those of an engine without the feature."""
    plain = build("model=llama2", f"checkpoint={tiny_llama}", "dtype=float32")
    folder = build("model=llama2", f"checkpoint={tiny_llama}", "dtype=float32", "features=[hidden]")
    sampling = Sampling(max_tokens=16)
    with Engine(plain) as engine:
        want = [output.token_ids for output in engine.generate(prompts[:4], sampling)]
    with Engine(folder) as engine:
        running = [engine.submit(prompt, sampling) for prompt in prompts[:4]]
        hidden_LD = engine.hidden(engine.encode(prompts[4]))
        assert [generation.result().token_ids for generation in running] == want
        assert np.abs(hidden_LD).min(1).max() > 0


def test_an_engine_without_hidden_rows_says_how_to_get_them(build, tiny_llama):
    """Asked for what was not built in, it names the feature."""
    folder = build("model=llama2", f"checkpoint={tiny_llama}")
    with Engine(folder) as engine, pytest.raises(ArgumentError, match=r"features=\[hidden\]"):
        engine.hidden([1, 2])

"""features=[embeddings]: prompts as vectors. L tokens, D width, V vocabulary."""

import numpy as np
import pytest
import torch
import transformers

from core import Engine, Sampling
from core.command import ArgumentError

FLOAT32_DISTANCE = 1e-4  # relative to the deviation; measured 1e-5: the order of summation
BUILD = ("model=llama2", "dtype=float32", "features=[embeddings,hidden]")


@pytest.fixture(scope="module")
def model(tiny_llama):
    return transformers.AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)


@pytest.fixture(scope="module")
def table_VD(model):
    return model.get_input_embeddings().weight.detach().numpy()


@pytest.fixture(scope="module")
def folder(build, tiny_llama):
    return build(*BUILD, f"checkpoint={tiny_llama}")


def noisy(table_VD, ids, seed=0):
    """Vectors that are no rows of the table."""
    noise = np.random.default_rng(seed).normal(size=(len(ids), table_VD.shape[1]))
    return table_VD[ids] + (0.3 * table_VD.std() * noise).astype(np.float32)


def test_logits_and_hidden_rows_are_those_of_inputs_embeds(folder, model, table_VD, prompts):
    """Over chunks of a prompt, logits and hidden rows are transformers' for inputs_embeds."""
    with Engine(folder, token_budget=16) as engine:
        vectors_LD = noisy(table_VD, engine.encode(prompts[2]))
        with torch.no_grad():
            want = model(
                inputs_embeds=torch.from_numpy(vectors_LD)[None], output_hidden_states=True
            )
        want_LV, want_LD = want.logits[0].numpy(), want.hidden_states[-1][0].numpy()

        assert np.abs(engine.logits(vectors_LD) - want_LV).max() < FLOAT32_DISTANCE * want_LV.std()
        assert np.abs(engine.hidden(vectors_LD) - want_LD).max() < FLOAT32_DISTANCE * want_LD.std()


def test_tokens_are_those_of_transformers_generate(folder, model, table_VD, prompts):
    """Greedy tokens after vectors are transformers', penalties counting generated tokens only."""
    with Engine(folder) as engine:
        vectors_LD = noisy(table_VD, engine.encode(prompts[3]), 1)
        sampling = Sampling(
            max_tokens=24, min_tokens=24, repetition_penalty=1.2, no_repeat_ngram_size=2
        )
        [output] = engine.generate([vectors_LD], sampling)
        with torch.no_grad():
            want = model.generate(
                inputs_embeds=torch.from_numpy(vectors_LD)[None],
                attention_mask=torch.ones(1, len(vectors_LD), dtype=torch.long),
                max_new_tokens=24,
                min_new_tokens=24,
                do_sample=False,
                repetition_penalty=1.2,
                no_repeat_ngram_size=2,
            )

    assert output.token_ids == want[0].tolist()
    assert output.prompt_ids == [-2] * len(vectors_LD)


def test_vectors_and_ids_in_company_and_preempted(folder, table_VD, prompts):
    """Rows of the table give the tokens of their ids; so they do in company and preempted."""
    sampling = Sampling(max_tokens=40, ignore_eos=True)
    with Engine(folder) as engine:
        ids = [engine.encode(prompt) for prompt in prompts[:10]]
        want = [output.token_ids for output in engine.generate(ids, sampling)]
        page = engine.facts["cache_groups"][0]["bytes_per_page"]
    mixed = [table_VD[one] if i % 2 else one for i, one in enumerate(ids)]
    with Engine(folder, cache_bytes=12 * page, lag=2) as small:
        outputs = small.generate(mixed, sampling)
        assert small.statistics()["preemptions"] > 0

    assert [output.token_ids for output in outputs] == want


def test_other_vectors_never_find_the_same_pages(folder, table_VD, prompts):
    """Two prompts of equal length and other vectors share nothing in the cache."""
    with Engine(folder) as engine:
        ids = [engine.encode(prompt)[:40] for prompt in prompts[4:6]]
        assert len(ids[0]) == len(ids[1])
        outputs = [engine.generate([table_VD[one]], Sampling(max_tokens=8))[0] for one in ids]
        want = engine.generate(ids, Sampling(max_tokens=8))

    assert [output.cached_tokens for output in outputs] == [0, 0]
    assert [o.token_ids for o in outputs] == [o.token_ids for o in want]


def test_on_two_ranks(build, tiny_llama, table_VD, prompts, folder):
    """Where ranks share the table of tokens, vectors give the same tokens."""
    two = build(*BUILD, f"checkpoint={tiny_llama}", "parallel=tensor", "parallel.ranks=2")
    with Engine(folder) as one, Engine(two) as both:
        vectors_LD = noisy(table_VD, one.encode(prompts[1]))
        mixed, sampling = [vectors_LD, prompts[2]], Sampling(max_tokens=12)
        want, got = (engine.generate(mixed, sampling) for engine in (one, both))

    assert [o.token_ids for o in got] == [o.token_ids for o in want]


def test_vectors_that_do_not_fit_are_refused(build, tiny_llama, folder):
    """Another width, other types, NaN, prompt_logprobs, and engines that read ids only."""
    good_LD = np.zeros((3, 256), np.float32)
    bad_LD = good_LD.copy()
    bad_LD[1, 2] = np.nan
    with Engine(folder) as engine:
        for wrong, part in [
            (np.zeros((3, 255), np.float32), "embeddings have the shape"),
            (np.zeros((3, 256, 1), np.float32), "embeddings have the shape"),
            (np.zeros((3, 256), np.int32), "embeddings are of type int32"),
            (bad_LD, r"embeddings\[1, 2\] is nan"),
            (good_LD[:0], "empty"),
            (np.zeros((5000, 256), np.float32), "5000 tokens"),
        ]:
            with pytest.raises(ArgumentError, match=part):
                engine.submit(wrong)
        with pytest.raises(ArgumentError, match="prompt_logprobs"):
            engine.submit(good_LD, Sampling(prompt_logprobs=0))
        assert len(engine.generate([good_LD], Sampling(max_tokens=2))[0].token_ids) <= 2
    plain = build("model=llama2", f"checkpoint={tiny_llama}")
    with Engine(plain) as engine, pytest.raises(ArgumentError, match=r"features=\[embeddings\]"):
        engine.submit(good_LD)

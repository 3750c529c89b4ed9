"""Beam search, compared with transformers' generate on the built-in model in float32."""

import numpy as np
import pytest
import torch
import transformers

from core import Engine, Sampling

PROMPTS = ["def read_file(path):", "import os", "class Reader:\n    def __init__(self"]
COUNT = 12


@pytest.fixture(scope="module")
def folder(build, tiny_llama):
    return build("model=llama2", f"checkpoint={tiny_llama}", "dtype=float32")


@pytest.fixture(scope="module")
def engine(folder):
    with Engine(folder) as engine:
        yield engine


@pytest.fixture(scope="module")
def model(tiny_llama):
    return transformers.AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32).eval()


def reference(model, ids, ends, results, **options):
    """(token ids without padding, scores) of transformers' best `results` texts."""
    with torch.no_grad():
        out = model.generate(
            torch.tensor([ids]),
            do_sample=False,
            max_new_tokens=COUNT,
            num_return_sequences=results,
            eos_token_id=ends or None,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_scores=True,
            **options,
        )
    rows = []
    for row in out.sequences:
        text = row[len(ids) :].tolist()
        places = [place for place, token in enumerate(text) if token in ends]
        rows.append(text[: places[0] + 1] if places else text)
    return rows, out.sequences_scores.numpy()


def ends_of(engine):
    """Tokens that texts of this kind hold often, so that beams end at many lengths."""
    return [engine.encode("\n")[-1], engine.encode("(")[-1], engine.encode(".")[-1]]


@pytest.mark.parametrize(
    "width, length_penalty, early_stopping",
    [
        (3, 1.0, False), (3, 1.0, True), (3, 1.0, "never"),
        (2, 0.0, "never"), (3, -1.0, False), (5, 2.5, "never"), (5, 2.5, True),
    ],
)  # fmt: skip
def test_texts_are_those_of_transformers(engine, model, width, length_penalty, early_stopping):
    """Tokens and scores of every returned text, for texts that end by themselves or are cut."""
    for prompt, n_ends in zip(PROMPTS, (1, 3), strict=False):
        ids, ends = engine.encode(prompt), ends_of(engine)[:n_ends]
        want, scores = reference(
            model, ids, ends, width,
            num_beams=width, length_penalty=length_penalty, early_stopping=early_stopping,
        )  # fmt: skip
        [output] = engine.generate(
            [ids],
            Sampling(
                max_tokens=COUNT, beam_width=width, n=width, length_penalty=length_penalty,
                early_stopping=early_stopping, stop_ids=ends, ignore_eos=True, logprobs=0,
            ),
        )  # fmt: skip
        assert [choice.token_ids for choice in output.choices] == want
        # Sums of 12 float32 logarithms, times up to 12 for length_penalty -1: measured 5e-4.
        np.testing.assert_allclose([c.score for c in output.choices], scores, rtol=1e-5, atol=2e-5)
        for choice in output.choices:
            total = choice.score * len(choice.token_ids) ** length_penalty
            assert sum(choice.logprobs) == pytest.approx(total, rel=1e-5)
            stopped = choice.token_ids[-1] in ends
            assert choice.finish_reason == ("stop" if stopped else "length")


def test_rules_for_logits_act_on_beams(engine, model):
    """Penalties, n-grams and min_tokens change log-probabilities, as transformers has it."""
    ids, ends = engine.encode(PROMPTS[1]), ends_of(engine)[:1]
    want, _ = reference(
        model, ids, ends, 3,
        num_beams=3, repetition_penalty=1.3, no_repeat_ngram_size=2, min_new_tokens=5,
    )  # fmt: skip
    [output] = engine.generate(
        [ids],
        Sampling(
            max_tokens=COUNT, beam_width=3, n=3, stop_ids=ends, ignore_eos=True,
            repetition_penalty=1.3, no_repeat_ngram_size=2, min_tokens=5,
        ),
    )  # fmt: skip
    assert [choice.token_ids for choice in output.choices] == want


def test_beams_survive_small_caches_and_neighbours(folder, engine):
    """Preempted and crowded beams, with steps ahead, find the same texts."""
    sampling = Sampling(max_tokens=40, beam_width=4, n=4, ignore_eos=True)
    want = [[c.token_ids for c in o.choices] for o in engine.generate(PROMPTS, sampling)]
    page = engine.facts["cache_groups"][0]["bytes_per_page"]
    with Engine(folder, cache_bytes=9 * page, lag=2) as small:
        got = [[c.token_ids for c in o.choices] for o in small.generate(PROMPTS, sampling)]
        after = small.statistics()

    assert got == want
    assert after["preemptions"] > 0 and after["running"] == after["waiting"] == 0


def test_one_beam_is_greedy(engine):
    """beam_width 1 is no beam search."""
    one, greedy = engine.generate(
        [PROMPTS[0]] * 2, [Sampling(beam_width=1, max_tokens=9), Sampling(max_tokens=9)]
    )
    assert one.token_ids == greedy.token_ids and one.choices[0].score is None

"""Several texts of one prompt: their noise, their order, their events, and what is refused."""

import numpy as np
import pytest

from core import Engine, Sampling

PROMPT = "def main("


@pytest.fixture(scope="module")
def folder(build, tiny_llama):
    return build("model=llama2", f"checkpoint={tiny_llama}")


@pytest.fixture(scope="module")
def engine(folder):
    with Engine(folder) as engine:
        yield engine


def texts(output):
    return [choice.token_ids for choice in output.choices]


def test_the_prompt_of_several_texts_is_computed_once(folder):
    """Five texts cost one prompt and their own tokens; the first is what the seed gives alone."""
    sampling = dict(max_tokens=9, temperature=1.0, seed=7, ignore_eos=True)
    with Engine(folder) as engine:
        prompt = engine.encode(PROMPT * 9)
        [output] = engine.generate([prompt], Sampling(n=5, **sampling))
        after = engine.statistics()
        [alone] = engine.generate([prompt], Sampling(**sampling))

    assert after["prompt_tokens"] == len(prompt)
    assert after["generated_tokens"] == 5 * 9
    assert after["free_pages"] == engine.facts["cache_groups"][0]["pages"] - 1
    assert output.token_ids == texts(output)[0] == alone.token_ids
    assert output.text == output.choices[0].text
    assert len({tuple(text) for text in texts(output)}) == 5


def test_equal_seeds_give_equal_texts(engine):
    """All n texts follow from the seed, whatever else is in flight."""
    sampling = Sampling(n=4, max_tokens=12, temperature=1.0, seed=3)
    [first] = engine.generate([PROMPT], sampling)
    again = engine.generate([PROMPT, "import os", PROMPT], sampling)
    assert texts(first) == texts(again[0]) == texts(again[2])


def test_texts_are_drawn_independently(engine):
    """Second texts follow softmax(logits) as well, and do not depend on the first ones."""
    prompt, count = [1, 532], 1500
    sampling = [Sampling(n=2, max_tokens=1, temperature=1.0, seed=i) for i in range(count)]
    pairs = [texts(o) for o in engine.generate([prompt] * count, sampling)]
    logits_V = engine.logits(prompt)[-1].astype(np.float64)
    want_V = np.exp(logits_V - logits_V.max())
    want_V /= want_V.sum()
    seen_V = np.bincount([second[0] for _, second in pairs], minlength=want_V.size) / count

    for token in np.argsort(want_V)[::-1][:8]:
        spread = np.sqrt(want_V[token] * (1 - want_V[token]) / count)
        assert abs(seen_V[token] - want_V[token]) < 5 * spread
    chance = float((want_V**2).sum())  # that two independent draws are equal
    equal = np.mean([first == second for first, second in pairs])
    assert abs(equal - chance) < 5 * np.sqrt(chance * (1 - chance) / count)


def test_best_of_keeps_the_most_probable_per_token(engine):
    """Of six texts the two with the highest mean log-probability come, best first."""
    sampling = dict(max_tokens=10, temperature=1.2, seed=11, logprobs=0)
    [every] = engine.generate([PROMPT], Sampling(n=6, **sampling))
    [best] = engine.generate([PROMPT], Sampling(n=2, best_of=6, **sampling))
    order = sorted(every.choices, key=lambda choice: -np.mean(choice.logprobs))

    assert texts(best) == [choice.token_ids for choice in order[:2]]
    for choice in best.choices:
        assert choice.score == pytest.approx(np.mean(choice.logprobs), abs=1e-5)
    assert every.choices[0].score is None


def test_each_text_has_its_own_rules_and_end(engine):
    """Penalties count a text's own tokens; stop strings and end tokens end one text alone."""
    sampling = Sampling(
        n=4, max_tokens=24, temperature=1.0, seed=5, no_repeat_ngram_size=1, stop=["\n"]
    )
    [output] = engine.generate([PROMPT], sampling)
    for choice in output.choices:
        assert len(set(choice.token_ids)) == len(choice.token_ids)
        assert "\n" not in choice.text
    assert len({len(choice.token_ids) for choice in output.choices}) > 1


def test_pieces_say_whose_they_are(engine):
    """Pieces of several texts come interleaved; joined by text they are the result."""
    sampling = Sampling(n=3, max_tokens=10, temperature=1.0, seed=2)
    generation = engine.submit(PROMPT, sampling)
    joined = ["", "", ""]
    for index, piece in generation.pieces():
        joined[index] += piece

    assert joined == [choice.text for choice in generation.result().choices]
    with pytest.raises(ValueError, match="n is 3"):
        iter(generation)
    with pytest.raises(ValueError, match="n is 3"):
        next(iter(engine.stream(PROMPT, sampling)))


@pytest.mark.parametrize("choices", [{"n": 4}, {"n": 2, "best_of": 4}, {"n": 2, "beam_width": 4}])
def test_cancelling_ends_all_texts(engine, choices):
    """A cancelled request ends every text of it, and its pages come back."""
    temperature = 0.0 if "beam_width" in choices else 1.0
    sampling = Sampling(max_tokens=900, ignore_eos=True, temperature=temperature, **choices)
    generation = engine.submit("import ", sampling)
    while engine.statistics()["forks"] == 0 or engine.statistics()["running"] < 4:
        pass
    generation.cancel()

    assert {c.finish_reason for c in generation.result().choices} == {"cancelled"}
    assert engine.statistics()["free_pages"] == engine.facts["cache_groups"][0]["pages"] - 1


REFUSED = [
    ("n", {"n": 0}),
    ("n", {"n": 10**6}),
    ("n", {"n": 2**63}),
    ("n", {"n": 1.5}),
    ("best_of", {"n": 3, "best_of": 2}),
    ("best_of", {"best_of": 0}),
    ("best_of", {"best_of": 10**6}),
    ("beam_width", {"beam_width": 0}),
    ("beam_width", {"beam_width": 10**6}),
    ("beam_width", {"beam_width": 2, "best_of": 2}),
    ("beam_width", {"beam_width": 2, "n": 3}),
    ("temperature", {"beam_width": 2, "temperature": 1.0}),
    ("stop", {"beam_width": 2, "stop": ["x"]}),
    ("logprobs", {"beam_width": 2, "logprobs": 1}),
    ("max_tokens", {"beam_width": 2, "max_tokens": 0}),
    ("length_penalty", {"length_penalty": float("nan")}),
    ("length_penalty", {"length_penalty": "long"}),
    ("early_stopping", {"early_stopping": "always"}),
    ("early_stopping", {"early_stopping": 1}),
    ("reuse", {"reuse": 1}),
    ("salt", {"salt": b"x"}),
    ("salt", {"salt": "a\0b"}),
    ("salt", {"salt": "a" * 1025}),
]


@pytest.mark.parametrize("name, values", REFUSED)
def test_what_cannot_be_is_refused_by_name(engine, name, values):
    """A bad value is refused at once, by its name, and the engine goes on."""
    with pytest.raises(ValueError, match=name):
        engine.generate(["x"], Sampling(**{"max_tokens": 2, **values}))
    assert engine.generate(["x"], Sampling(max_tokens=2))[0].token_ids

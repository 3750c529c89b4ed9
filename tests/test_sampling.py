"""Penalties, bias, forbidden tokens, min_p and prompt log-probabilities against transformers.

The oracle is transformers' own logits processors, in the order of its generate, applied to the raw
logits that the engine gives for the whole sequence: a processor is right if the tokens are equal.
"""

import time

import numpy as np
import pytest
import torch
from conftest import command
from transformers import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from core import Engine, Sampling
from core.command import UserError

LENGTH = 40
PROMPT = "import os\nimport sys\n"  # what follows repeats itself


@pytest.fixture(scope="module")
def folder(build, tiny_llama):
    return build("model=llama2", f"checkpoint={tiny_llama}", "dtype=float32")


@pytest.fixture(scope="module")
def engine(folder):
    with Engine(folder) as engine:
        yield engine


@pytest.fixture(scope="module")
def end_id(engine, tiny_llama):
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(tiny_llama).eos_token_id


class OpenAiPenalties:
    """mu[t] - c[t] * frequency - (c[t] > 0) * presence over generated tokens: OpenAI's formula."""

    def __init__(self, prompt, presence, frequency):
        self.prompt, self.presence, self.frequency = prompt, presence, frequency

    def __call__(self, ids, scores):
        counts = torch.bincount(ids[0, self.prompt :], minlength=scores.shape[-1])
        return scores - counts * self.frequency - (counts > 0) * self.presence


def processors(prompt, end_id, **given):
    """transformers' processors for the fields of Sampling, in the order of its generate."""
    made = LogitsProcessorList()
    if bias := given.get("logit_bias"):
        made.append(SequenceBiasLogitsProcessor({(t,): float(b) for t, b in bias.items()}))
    if penalty := given.get("repetition_penalty"):
        made.append(RepetitionPenaltyLogitsProcessor(penalty))
    if "presence_penalty" in given or "frequency_penalty" in given:
        presence, frequency = given.get("presence_penalty", 0), given.get("frequency_penalty", 0)
        made.append(OpenAiPenalties(prompt, presence, frequency))
    if size := given.get("no_repeat_ngram_size"):
        made.append(NoRepeatNGramLogitsProcessor(size))
    if words := given.get("bad_words"):
        made.append(NoBadWordsLogitsProcessor([list(word) for word in words]))
    if least := given.get("min_tokens"):
        made.append(MinNewTokensLengthLogitsProcessor(prompt, least, end_id))
    return made


def agrees(engine, ids, output, made):
    """Every token is the best of the processed logits of the tokens before it."""
    everything = torch.tensor([[*ids, *output.token_ids]])
    logits_LV = torch.from_numpy(engine.logits(everything[0].tolist()))
    for i, token in enumerate(output.token_ids):
        before = everything[:, : len(ids) + i]
        scores_V = made(before, logits_LV[before.shape[1] - 1][None].clone())[0]
        assert token == int(scores_V.argmax()), f"token {i}"


def bad_sequences(engine):
    """Tokens and pairs of tokens that the engine would generate."""
    [plain] = engine.generate([PROMPT], Sampling(max_tokens=LENGTH, ignore_eos=True))
    a, b, c, d = plain.token_ids[:4]
    return [[a], [b, c], [a, b, c, d], [c], [7, 8, 9]]


SINGLE = [
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.8},
    {"presence_penalty": 1.5},
    {"frequency_penalty": 0.7},
    {"presence_penalty": -0.5, "frequency_penalty": -0.1},
    {"logit_bias": {609: -4.5, 268: -3.5, 5: 2.0}},
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 2},
    {"no_repeat_ngram_size": 4},
    {"bad_words": True},
    {"min_tokens": 30},
]
COMBINED = [
    {"repetition_penalty": 1.2, "logit_bias": {280: 4.0, 268: -3.5}},
    {"repetition_penalty": 1.2, "frequency_penalty": 0.4, "presence_penalty": 0.2},
    {"no_repeat_ngram_size": 2, "bad_words": True, "min_tokens": 30},
    {
        "repetition_penalty": 1.1,
        "frequency_penalty": 0.3,
        "logit_bias": {280: 2.0},
        "no_repeat_ngram_size": 3,
        "bad_words": True,
        "min_tokens": 20,
    },
]


@pytest.mark.parametrize("given", [*SINGLE, *COMBINED], ids=lambda given: "+".join(given))
def test_greedy_tokens_are_those_of_transformers_processors(engine, end_id, given):
    """Each processor alone, and several together, choose transformers' tokens, exactly."""
    given = dict(given)
    if given.get("bad_words"):
        given["bad_words"] = bad_sequences(engine)
    if "min_tokens" in given:  # a likely end, so that holding it back matters
        given["logit_bias"] = {**given.get("logit_bias", {}), end_id: 40.0}
    plain, changed = engine.generate(
        [PROMPT] * 2, [Sampling(max_tokens=LENGTH), Sampling(max_tokens=LENGTH, **given)]
    )
    ids = engine.encode(PROMPT)

    assert changed.token_ids != plain.token_ids
    agrees(engine, ids, changed, processors(len(ids), end_id, **given))


def test_transformers_generate_gives_the_same_text(engine, tiny_llama):
    """The whole of generate, with its own cache and loop, chooses the same tokens."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    ids, words = engine.encode(PROMPT), bad_sequences(engine)
    with torch.no_grad():
        whole = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=LENGTH,
            do_sample=False,
            repetition_penalty=1.15,
            no_repeat_ngram_size=3,
            bad_words_ids=words,
            min_new_tokens=LENGTH,
            sequence_bias=[[[280], 1.5]],
        )
    sampling = Sampling(
        max_tokens=LENGTH,
        repetition_penalty=1.15,
        no_repeat_ngram_size=3,
        bad_words=words,
        min_tokens=LENGTH,
        logit_bias={280: 1.5},
    )
    [output] = engine.generate([PROMPT], sampling)

    assert output.token_ids == whole[0, len(ids) :].tolist()


def probabilities(logits_V, **given):
    """transformers' warpers in the order of its generate, as probabilities."""
    scores = torch.from_numpy(logits_V)[None].double()
    for name, warper in [
        ("temperature", TemperatureLogitsWarper),
        ("top_k", TopKLogitsWarper),
        ("top_p", TopPLogitsWarper),
        ("min_p", MinPLogitsWarper),
    ]:
        if name in given:
            scores = warper(given[name])(None, scores)
    return scores.softmax(-1)[0].numpy()


@pytest.mark.parametrize(
    "given",
    [
        {"temperature": 1.0, "min_p": 0.05},
        {"temperature": 1.5, "min_p": 0.2},
        {"temperature": 1.3, "top_k": 30, "min_p": 0.04},
        {"temperature": 1.8, "top_p": 0.9, "min_p": 0.05},
        {"temperature": 2.0, "top_k": 50, "top_p": 0.9, "min_p": 0.1},
    ],
    ids=lambda given: "+".join(given),
)
def test_draws_follow_the_distribution(engine, given):
    """Over 3000 seeds the tokens have the distribution of transformers' warpers (chi-square)."""
    prompt, count = [1, 532], 3000
    want_V = probabilities(engine.logits(prompt)[-1], **given)
    samplings = [Sampling(max_tokens=1, seed=seed, **given) for seed in range(count)]
    drawn = [o.token_ids[0] for o in engine.generate([prompt] * count, samplings)]
    seen_V = np.bincount(drawn, minlength=len(want_V))

    assert want_V[np.nonzero(seen_V)].min() > 0
    often = want_V * count >= 5  # where the chi-square approximation holds
    want = [*(want_V[often] * count), want_V[~often].sum() * count]
    seen = [*seen_V[often], seen_V[~often].sum()]
    statistic = sum((s - w) ** 2 / w for s, w in zip(seen, want, strict=True) if w > 0)
    freedom = max(1, len(want) - 1)
    assert len(want) > 3
    assert statistic < freedom + 5 * np.sqrt(2 * freedom) + 5  # five deviations


SHAPED = {
    "temperature": 0.9,
    "repetition_penalty": 1.1,
    "frequency_penalty": 0.3,
    "no_repeat_ngram_size": 3,
    "bad_words": ["self", [280, 312]],
    "min_tokens": 10,
    "min_p": 0.01,
}


@pytest.mark.parametrize("lag", [0, 1, 2])
def test_tokens_do_not_depend_on_company_or_preemption(folder, prompts, lag):
    """Alone, in company, preempted, with a prefix from the cache, scheduled ahead: equal tokens."""
    samplings = [Sampling(max_tokens=60, seed=i, ignore_eos=True, **SHAPED) for i in range(12)]
    texts = prompts[:12]
    with Engine(folder) as engine:
        alone = [engine.generate([p], s)[0] for p, s in zip(texts, samplings, strict=True)]
        again = engine.generate(texts, samplings)
        page = engine.facts["cache_groups"][0]["bytes_per_page"]
    with Engine(folder, cache_bytes=12 * page, lag=lag) as small:
        squeezed = small.generate(texts, samplings)
        preemptions = small.statistics()["preemptions"]

    assert preemptions > 0 and any(output.cached_tokens for output in again)
    assert [o.token_ids for o in again] == [o.token_ids for o in alone]
    assert [o.token_ids for o in squeezed] == [o.token_ids for o in alone]


def test_logprobs_are_of_the_untouched_logits(engine):
    """Bias, penalties and forbidden tokens do not change the log-probabilities that are told."""
    sampling = Sampling(
        max_tokens=6, logprobs=3, logit_bias={5: 100.0}, repetition_penalty=1.5, bad_words=[[9]]
    )
    [output] = engine.generate([PROMPT], sampling)
    ids = [*engine.encode(PROMPT), *output.token_ids]
    want_LV = torch.from_numpy(engine.logits(ids)[-7:-1]).double().log_softmax(-1).numpy()

    assert output.token_ids == [5] * 6
    np.testing.assert_allclose(output.logprobs, want_LV[:, 5], rtol=1e-5, atol=1e-5)
    for want_V, top in zip(want_LV, output.top_logprobs, strict=True):
        assert list(top) == np.argsort(-want_V, kind="stable")[:3].tolist()


@pytest.mark.parametrize("max_tokens", [0, 4])
@pytest.mark.parametrize("best", [0, 1, 5])
def test_prompt_logprobs_are_log_softmax(folder, prompts, max_tokens, best):
    """Each prompt token after the first: its log-probability and the best ones, over chunks too."""
    with Engine(folder, token_budget=16) as engine:
        sampling = Sampling(max_tokens=max_tokens, prompt_logprobs=best)
        outputs = engine.generate(prompts[:4], sampling)
        for output in outputs:
            ids = output.prompt_ids
            scores_LV = torch.from_numpy(engine.logits(ids)).double().log_softmax(-1).numpy()
            want = scores_LV[np.arange(len(ids) - 1), ids[1:]]

            assert len(output.token_ids) == max_tokens
            np.testing.assert_allclose(output.prompt_logprobs, want, rtol=1e-5, atol=1e-5)
            if not best:
                assert output.prompt_top_logprobs is None
                continue
            for want_V, top in zip(scores_LV[:-1], output.prompt_top_logprobs, strict=True):
                order = np.argsort(-want_V, kind="stable")[:best]
                assert list(top) == order.tolist()
                np.testing.assert_allclose(list(top.values()), want_V[order], rtol=1e-5, atol=1e-5)


def test_one_token_has_no_prompt_logprobs(engine):
    """A prompt of one token has nothing before it; without asking there are none."""
    asked, not_asked = engine.generate(
        [[5]] * 2, [Sampling(max_tokens=1, prompt_logprobs=2), Sampling(max_tokens=1)]
    )
    assert asked.prompt_logprobs == [] and asked.prompt_top_logprobs == []
    assert not_asked.prompt_logprobs is None and not_asked.prompt_top_logprobs is None


def test_end_tokens_wait_for_min_tokens(engine, end_id):
    """No end token is drawn before min_tokens; then it ends the text at once."""
    sampling = Sampling(max_tokens=20, min_tokens=7, logit_bias={end_id: 1000.0})
    [output] = engine.generate([PROMPT], sampling)
    assert output.token_ids.index(end_id) == 7 and len(output.token_ids) == 8
    assert output.finish_reason == "stop"

    stop = output.token_ids[3]
    [output] = engine.generate([PROMPT], Sampling(max_tokens=20, min_tokens=9, stop_ids=[stop]))
    assert stop not in output.token_ids[:9]


def test_bad_words_as_texts(engine):
    """A text is forbidden as its encoding alone and behind a space; other tokens stay free."""
    [plain] = engine.generate(["class Reader:\n    def __init__("], Sampling(max_tokens=LENGTH))
    assert "self" in plain.text
    sampling = Sampling(max_tokens=LENGTH, bad_words=["self", "return x"])
    [output] = engine.generate(["class Reader:\n    def __init__("], sampling)
    encode = lambda text: engine.tokenizer.encode(text, add_special_tokens=False).ids  # noqa: E731

    words = [encode(text) for text in ("self", " self", "return x", " return x")]
    listed = Sampling(max_tokens=LENGTH, bad_words=words)
    assert not {words[0][0], words[1][0]} & set(output.token_ids)
    assert (
        engine.generate(["class Reader:\n    def __init__("], listed)[0].token_ids
        == output.token_ids
    )


def test_a_hundred_thousand_bad_words(engine):
    """10^5 texts and 10^5 token sequences are accepted, remembered, and slow no step down."""
    random = np.random.default_rng(1)
    sequences = random.integers(0, engine.vocab, (100_000, 3)).tolist()
    texts = [f"word{i}" for i in range(100_000)]
    for words in (sequences, texts):
        sampling = Sampling(max_tokens=LENGTH, bad_words=words, ignore_eos=True)
        engine.generate([PROMPT], sampling)
        started = time.perf_counter()
        [output] = engine.generate([PROMPT], sampling)
        assert time.perf_counter() - started < 2  # 0.03 s for texts, 0.1 s for tokens here
        assert len(output.token_ids) == LENGTH


def test_everything_forbidden_fails_that_request_only(engine):
    """A request that forbids every token is told so; its neighbour does not notice."""
    words = [[token] for token in range(engine.vocab)]
    bad = engine.submit(PROMPT, Sampling(max_tokens=3, bad_words=words))
    good = engine.submit(PROMPT, Sampling(max_tokens=3))
    with pytest.raises(UserError, match="bad_words"):
        bad.result()
    assert len(good.result().token_ids) == 3


def test_no_tokens_wanted(engine):
    """max_tokens=0 computes the prompt and generates nothing."""
    [output] = engine.generate([PROMPT], Sampling(max_tokens=0))
    assert output.token_ids == [] and output.text == "" and output.finish_reason == "length"


def test_core_run_offers_them(folder):
    """The command takes every setting, and prints the prompt's log-probabilities."""
    done = command(
        "run", f"engine={folder}", f"prompt={PROMPT.strip()}", "max_tokens=8", "min_p=0.1",
        "temperature=0.5", "repetition_penalty=1.1", "presence_penalty=0.5", "min_tokens=2",
        "frequency_penalty=0.5", "logit_bias={609: -2.5}", "bad_words=[sys,[5,17]]",
        "no_repeat_ngram_size=3", "prompt_logprobs=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(PROMPT.strip()) and " sys" not in done.stdout[len(PROMPT) :]
    assert done.stderr.count("\n") >= 6  # a line for each token of the prompt after the first


NAN, INFINITE = float("nan"), float("inf")
REFUSED = {
    "min_p": [-0.1, 1.1, NAN, INFINITE, "x", None, True],
    "repetition_penalty": [0, 0.0, -1, NAN, INFINITE, 1e39, "x"],
    "presence_penalty": [-2.1, 2.1, NAN, -INFINITE, None],
    "frequency_penalty": [-2.1, 2.1, NAN, INFINITE, "x"],
    "no_repeat_ngram_size": [-1, 2**31, 2**63, 1.5, True],
    "logit_bias": [{4096: 1.0}, {-1: 1.0}, {5: NAN}, {5: INFINITE}, {5: "x"}, {"a": 1}, [5], None],
    "bad_words": [[[]], [""], "text", [[-1]], [[4096]], [[1, 2**40]], [5], [[1.5]], [None], None],
    "min_tokens": [-1, 9, 2**63],
    "max_tokens": [2**63, -1],
    "prompt_logprobs": [-1, 65, 1.5, True],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in REFUSED.items() for v in vs])
def test_values_out_of_range_are_refused_by_name(engine, name, value):
    """A bad value is refused at once, by its name."""
    with pytest.raises(ValueError, match=name):
        engine.generate([PROMPT], Sampling(**{"max_tokens": 2, name: value}))

"""Requests through the Python API: sampling, stopping, cancelling, waiting, and what is refused."""

import threading
import time

import numpy as np
import pytest

from core import Engine, Sampling
from core.command import PlanError


@pytest.fixture(scope="module")
def folder(build, tiny_llama):
    return build("model=llama2", f"checkpoint={tiny_llama}")


@pytest.fixture(scope="module")
def engine(folder):
    with Engine(folder) as engine:
        yield engine


def test_stream_yields_the_text_of_generate(engine):
    """The pieces of a stream, joined, are the text of generate, which is the tokens' text."""
    sampling = Sampling(max_tokens=48)
    [output] = engine.generate(["class Reader:"], sampling)

    assert "".join(engine.stream("class Reader:", sampling)) == output.text
    assert output.text == engine.decode(output.token_ids)
    assert output.finish_reason in ("length", "stop")


def test_strings_and_token_ids_are_the_same_prompt(engine):
    """A prompt may be text or the ids that its encoding gives."""
    text, ids = engine.generate(["import os", engine.encode("import os")], Sampling(max_tokens=8))
    assert text.token_ids == ids.token_ids


def test_logprobs_are_those_of_the_logits(engine):
    """Log-probabilities are log-softmax of the logits, whatever temperature draws from."""
    sampling = Sampling(max_tokens=6, temperature=1.3, seed=3, logprobs=4)
    [output] = engine.generate(["def main("], sampling)
    ids = [*engine.encode("def main("), *output.token_ids]
    logits_LV = engine.logits(ids)[-7:-1].astype(np.float64)
    want_LV = logits_LV - np.log(np.exp(logits_LV).sum(1, keepdims=True))

    np.testing.assert_allclose(
        output.logprobs, want_LV[np.arange(6), output.token_ids], rtol=1e-5, atol=1e-5
    )
    for want_V, top in zip(want_LV, output.top_logprobs, strict=True):
        best = np.sort(want_V)[::-1][:4]
        np.testing.assert_allclose(sorted(top.values(), reverse=True), best, rtol=1e-5, atol=1e-5)


def test_equal_seeds_draw_equal_tokens(engine):
    """A seed decides the tokens; another seed draws others."""

    def draw(seed):
        sampling = Sampling(max_tokens=32, temperature=1.0, seed=seed)
        return engine.generate(["def "], sampling)[0].token_ids

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)


def test_samples_follow_the_distribution(engine):
    """First tokens drawn with many seeds appear as often as softmax(logits / temperature) says."""
    prompt, temperature, count = [1, 532], 0.7, 2000
    sampling = [Sampling(max_tokens=1, temperature=temperature, seed=i) for i in range(count)]
    drawn = [o.token_ids[0] for o in engine.generate([prompt] * count, sampling)]
    scaled_V = engine.logits(prompt)[-1].astype(np.float64) / temperature
    want_V = np.exp(scaled_V - scaled_V.max())
    want_V /= want_V.sum()
    seen_V = np.bincount(drawn, minlength=want_V.size) / count

    for token in np.argsort(want_V)[::-1][:8]:
        spread = np.sqrt(want_V[token] * (1 - want_V[token]) / count)
        assert abs(seen_V[token] - want_V[token]) < 5 * spread


@pytest.mark.parametrize("limits", [{"top_k": 3}, {"top_p": 0.5}, {"top_k": 40, "top_p": 0.8}])
def test_top_k_and_top_p_bound_what_is_drawn(engine, limits):
    """Only tokens of the k best, and of the smallest set that reaches p, are ever drawn."""
    prompt = [1, 532]
    logits_V = engine.logits(prompt)[-1].astype(np.float64)
    order = np.argsort(-logits_V, kind="stable")[: limits.get("top_k") or None]
    weight = np.exp(logits_V[order] - logits_V.max())
    reached = np.cumsum(weight / weight.sum())
    allowed = order[: int(np.searchsorted(reached, limits.get("top_p", 1.0))) + 1]
    sampling = [Sampling(max_tokens=1, temperature=1.0, seed=i, **limits) for i in range(300)]

    drawn = {o.token_ids[0] for o in engine.generate([prompt] * 300, sampling)}

    assert drawn <= set(allowed.tolist())
    assert len(drawn) > 1


def test_stop_strings_end_the_text_before_them(engine):
    """Text ends before the first stop string, also where it spans tokens."""
    [whole] = engine.generate(["def read("], Sampling(max_tokens=40))
    assert len(whole.text) > 12
    stop = whole.text[7:12]
    [output] = engine.generate(["def read("], Sampling(max_tokens=40, stop=[stop, "\0never"[1:]]))

    assert output.text == whole.text[: whole.text.index(stop)]
    assert output.finish_reason == "stop"
    streamed = "".join(engine.stream("def read(", Sampling(max_tokens=40, stop=[stop])))
    assert streamed == output.text


def test_stop_ids_and_min_tokens(engine):
    """A stop token ends the text and is no part of it, but not before min_tokens."""
    [whole] = engine.generate(["def read("], Sampling(max_tokens=20, ignore_eos=True))
    stop = whole.token_ids[4]
    first = whole.token_ids.index(stop)

    [output] = engine.generate(["def read("], Sampling(max_tokens=20, stop_ids=[stop]))
    [later] = engine.generate(
        ["def read("], Sampling(max_tokens=20, stop_ids=[stop], min_tokens=first + 2)
    )

    assert output.finish_reason == "stop"
    assert output.text == engine.decode(whole.token_ids[:first])
    assert len(later.token_ids) > first + 1


def test_more_requests_than_memory_wait(folder, prompts):
    """With room for a few sequences only, all finish with the tokens of an unhurried run."""
    sampling = Sampling(max_tokens=30, ignore_eos=True)
    with Engine(folder) as engine:
        want = [o.token_ids for o in engine.generate(prompts, sampling)]
    page = engine.facts["cache_groups"][0]["bytes_per_page"]
    with Engine(folder, cache_bytes=40 * page) as small:
        outputs = small.generate(prompts, sampling)
        after = small.statistics()

    assert [o.token_ids for o in outputs] == want
    assert after["running"] == 0 and after["waiting"] == 0


def test_cancelling_ends_a_request_soon(engine):
    """A cancelled request ends as "cancelled" long before its tokens are done."""
    generation = engine.submit("import ", Sampling(max_tokens=900, ignore_eos=True))
    next(iter(generation))
    generation.cancel()
    output = generation.result()

    assert output.finish_reason == "cancelled"
    assert len(output.token_ids) < 900


def test_leaving_a_stream_cancels_it(engine):
    """Breaking out of a stream frees its place."""
    for _ in engine.stream("import ", Sampling(max_tokens=900, ignore_eos=True)):
        break
    deadline = time.time() + 5
    while engine.statistics()["running"] and time.time() < deadline:
        time.sleep(0.01)
    assert engine.statistics()["running"] == 0


def test_requests_from_many_threads(engine, prompts):
    """Threads may submit at the same time; each gets its own tokens."""
    sampling = Sampling(max_tokens=12)
    want = [o.token_ids for o in engine.generate(prompts[:8], sampling)]
    got = [None] * 8

    def ask(i):
        got[i] = engine.generate([prompts[i]], sampling)[0].token_ids

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == want


REFUSED = {
    "temperature": [-0.1, float("nan"), float("inf")],
    "top_p": [0.0, 1.5, -1.0, float("nan")],
    "top_k": [-1, 2**31],
    "max_tokens": [-1, 2**63],
    "min_tokens": [-1],
    "seed": [-1, 2**64],
    "logprobs": [-1, 65],
    "stop": [[""], ["a"] * 65, "text"],
    "stop_ids": [[-1], [2**40]],
}


@pytest.mark.parametrize("name, value", [(n, v) for n, vs in REFUSED.items() for v in vs])
def test_sampling_values_out_of_range_are_refused_by_name(engine, name, value):
    """A bad value is refused at once, by its name, and the engine goes on."""
    with pytest.raises(ValueError, match=name):
        engine.generate(["x"], Sampling(**{"max_tokens": 2, name: value}))
    assert engine.generate(["x"], Sampling(max_tokens=2))[0].token_ids


def test_prompts_out_of_range_are_refused(engine):
    """Empty prompts, unknown tokens and prompts longer than the cache are refused by sentence."""
    for prompt, word in [([], "empty"), ([4096], "4096"), ([-1], "-1"), ([5] * 5000, "5000")]:
        with pytest.raises(ValueError, match=word):
            engine.generate([prompt], Sampling(max_tokens=2))


def test_a_missing_folder_is_named(tmp_path):
    """Opening what is no engine folder says so."""
    with pytest.raises(PlanError, match="nothing-here"):
        Engine(tmp_path / "nothing-here")


def test_a_closed_engine_refuses(folder):
    """After close, requests are refused and close may be called again."""
    engine = Engine(folder)
    engine.close()
    engine.close()
    with pytest.raises(Exception, match="closed"):
        engine.generate(["x"])

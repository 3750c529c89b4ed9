"""Many requests together on the GPU: steps ahead, small caches and cancels change no token."""

import random
import time

import pytest

from core import Engine, Sampling

pytestmark = pytest.mark.gpu
REQUESTS = 500


@pytest.fixture(scope="module")
def folder(build, tiny_llama):
    return build("model=llama2", f"checkpoint={tiny_llama}", "engine=cuda")


@pytest.fixture(scope="module")
def requests(heldout):
    """(prompt, sampling) of mixed lengths: what the device draws, and what needs the host."""
    text, draw = heldout.read_text(), random.Random(7)
    special = [{"logprobs": 2}, {"repetition_penalty": 1.3}, {"min_tokens": 4}, {"n": 2}]
    made = []
    for i in range(REQUESTS):
        start = draw.randrange(len(text) - 2000)
        sampling = Sampling(
            max_tokens=draw.randint(1, 80),
            temperature=draw.choice([0.0, 0.0, 0.8, 1.2]),
            top_p=draw.choice([1.0, 0.9]),
            top_k=draw.choice([0, 40]),
            seed=i,
            ignore_eos=draw.random() < 0.5,
            priority=draw.randint(0, 2),
            logprobs=draw.choice([None, None, 0]),
        )
        if draw.random() < 0.1:
            vars(sampling).update(draw.choice(special))
        made.append((text[start : start + draw.randint(5, 600)], sampling))
    return made


@pytest.fixture(scope="module")
def undisturbed(folder, requests):
    """The tokens of each request, run by itself without anybody's pages."""
    with Engine(folder, kernels="batch_invariant", max_sequences=4) as engine:
        alone = []
        for prompt, sampling in requests:
            [output] = engine.generate([prompt], sampling)
            alone.append([choice.token_ids for choice in output.choices])
        return alone


def crowded(folder, lag):
    """An engine with pages for about eight of the requests."""
    with Engine(folder, cache_bytes=1 << 24) as engine:
        [group] = engine.facts["cache_groups"]
    pages = 8 * -(-320 // group["page_tokens"])
    return Engine(
        folder, cache_bytes=pages * group["bytes_per_page"], kernels="batch_invariant", lag=lag
    )


def settled(engine):
    """The statistics once nothing runs; they are those of the last step."""
    for _ in range(200):
        now = engine.statistics()
        if now["running"] == now["waiting"] == 0:
            return now
        time.sleep(0.01)
    return now


@pytest.mark.parametrize("lag", [None, 0, 2])
def test_finished_requests_have_the_tokens_of_their_undisturbed_runs(
    folder, requests, undisturbed, lag
):
    """Of 500 requests, a fifth cancelled at any moment; in the end every page is free again."""
    draw = random.Random(3)
    with crowded(folder, lag) as engine:
        free = engine.statistics()["free_pages"]
        if lag is None:
            assert engine.facts["lag"] == 1
        running = [engine.submit(prompt, sampling) for prompt, sampling in requests]
        chosen = draw.sample(range(REQUESTS), REQUESTS // 5)
        for i in chosen:
            time.sleep(draw.random() / 100)
            running[i].cancel()
        outputs = [generation.result() for generation in running]
        after = settled(engine)

    finished, wrong = 0, []
    for i, (output, expected) in enumerate(zip(outputs, undisturbed, strict=True)):
        for choice, tokens in zip(output.choices, expected, strict=True):
            cancelled = choice.finish_reason == "cancelled"
            assert not cancelled or i in chosen
            finished += not cancelled
            got = choice.token_ids
            if got != (tokens[: len(got)] if cancelled else tokens):
                pairs = enumerate(zip(got, tokens, strict=False))
                first = next((k for k, (a, b) in pairs if a != b), "its end")
                wrong.append(f"request {i} ({requests[i][1]}) differs from token {first} on")
    assert not wrong, f"{len(wrong)} of {finished}: " + "\n".join(wrong[:5])
    assert finished > REQUESTS / 2
    assert after["free_pages"] == free
    counts = ", ".join(f"{after[name]} {name}" for name in ("cancelled", "preemptions", "steps"))
    print(f"{finished} texts finished, {counts}")


def test_the_devices_logprob_is_the_one_of_the_logits(folder):
    """The log-probability that the device gives is the one that the host reads from the logits."""
    with Engine(folder, kernels="batch_invariant") as engine:
        by_device, by_host = (
            engine.generate(["def read("], Sampling(max_tokens=20, logprobs=top, ignore_eos=True))[
                0
            ]
            for top in (0, 1)
        )
    assert by_device.token_ids == by_host.token_ids
    assert by_device.logprobs == pytest.approx(by_host.logprobs, abs=2e-4)

"""Policies, steps ahead, reuse of prefixes: what they change, and that tokens are not among it."""

import pytest

from core import Engine, Sampling
from core.command import UserError


@pytest.fixture(scope="module")
def folder(build, tiny_llama):
    return build("model=llama2", f"checkpoint={tiny_llama}")


@pytest.fixture(scope="module")
def unhurried(folder, prompts):
    """Tokens of 12 prompts, each run by itself: half greedy, half drawn."""
    with Engine(folder) as engine:
        return [
            engine.generate([prompt], one)[0].token_ids
            for prompt, one in zip(prompts[:12], samplings(), strict=True)
        ]


def samplings():
    return [
        Sampling(max_tokens=40, ignore_eos=True, temperature=i % 2, seed=i, priority=i % 3)
        for i in range(12)
    ]


@pytest.mark.parametrize("lag", [0, 1, 2])
@pytest.mark.parametrize("policy", ["max_utilization", "guaranteed_no_evict"])
def test_policy_and_lag_change_no_token(folder, prompts, unhurried, policy, lag):
    """In a cache that is three times too small everybody gets the tokens of an empty engine."""
    with Engine(folder) as engine:
        page = engine.facts["cache_groups"][0]["bytes_per_page"]
        lengths = [len(engine.encode(prompt)) + 40 for prompt in prompts[:12]]
    pages = max(sum(-(-length // 16) for length in lengths) // 3, -(-max(lengths) // 16)) + 1
    with Engine(folder, cache_bytes=pages * page, policy=policy, lag=lag) as small:
        outputs = small.generate(prompts[:12], samplings())
        after, facts = small.statistics(), small.facts

    assert [output.token_ids for output in outputs] == unhurried
    assert (facts["policy"], facts["lag"]) == (policy, lag)
    assert after["free_pages"] == pages - 1
    if policy == "guaranteed_no_evict":
        assert after["preemptions"] == 0


def test_engines_have_a_lag_of_their_own(folder, prompts, unhurried):
    """Without lag=, an engine on the CPU schedules nothing ahead; its kernels are batch invariant."""
    with Engine(folder, kernels="batch_invariant") as engine:
        outputs = engine.generate(prompts[:12], samplings())
        facts = engine.facts
    assert (facts["lag"], facts["kernels"]) == (0, "batch_invariant")
    assert [output.token_ids for output in outputs] == unhurried


def test_kernels_of_the_cpu_are_refused_for_cuda(build):
    """An engine built for cuda says so before it looks for a GPU."""
    folder = build("model=llama2", "model.size=tiny", "checkpoint=random", "engine=cuda")
    with pytest.raises(UserError, match="kernels is 'avx2'.*auto or batch_invariant"):
        Engine(folder, kernels="avx2")


def test_max_utilization_lets_more_run(folder, prompts):
    """Where long answers are asked for, one policy preempts and the other lets requests wait."""
    sampling = Sampling(max_tokens=150, ignore_eos=True)
    preempted, steps = {}, {}
    with Engine(folder) as engine:
        page = engine.facts["cache_groups"][0]["bytes_per_page"]
    for policy in ("max_utilization", "guaranteed_no_evict"):
        with Engine(folder, cache_bytes=30 * page, policy=policy) as engine:
            engine.generate([prompt[:20] for prompt in prompts[:8]], sampling)
            preempted[policy] = engine.statistics()["preemptions"]
            steps[policy] = engine.statistics()["steps"]

    assert preempted["max_utilization"] > 0 == preempted["guaranteed_no_evict"]
    assert steps["max_utilization"] < steps["guaranteed_no_evict"]


def test_texts_that_could_never_run_together_are_refused(folder):
    """Under guaranteed_no_evict, n texts that do not fit into the cache say how many pages lack."""
    with Engine(folder) as engine:
        page = engine.facts["cache_groups"][0]["bytes_per_page"]
    with Engine(folder, cache_bytes=30 * page, policy="guaranteed_no_evict") as engine:
        with pytest.raises(ValueError, match="guaranteed_no_evict"):
            engine.generate(["def "], Sampling(n=8, max_tokens=200, temperature=1.0))
        [output] = engine.generate(["def "], Sampling(n=4, max_tokens=40, temperature=1.0))
    assert len(output.choices) == 4


def test_salt_and_reuse_decide_who_finds_a_prefix(folder, prompts):
    """Pages are found by requests of the same salt that take part; tokens are the same anyway."""
    prompt = prompts[19]
    asked = [{}, {}, {"salt": "a"}, {"salt": "a"}, {"salt": "b"}, {"reuse": False}]
    with Engine(folder) as engine:
        whole = len(engine.encode(prompt))
        outputs = [engine.generate([prompt], Sampling(max_tokens=4, **extra))[0] for extra in asked]
        found = [output.cached_tokens for output in outputs]
        alone = engine.generate(["x" + prompt], Sampling(max_tokens=4, reuse=False))
        later = engine.generate(["x" + prompt], Sampling(max_tokens=4))

    pages = (whole - 1) // 16 * 16
    assert pages > 0
    assert found == [0, pages, 0, pages, 0, 0]
    assert all(output.token_ids == outputs[0].token_ids for output in outputs)
    assert alone[0].cached_tokens == later[0].cached_tokens == 0


@pytest.mark.parametrize(
    "option, value",
    [("policy", "lifo"), ("policy", None), ("lag", 3), ("lag", -1), ("lag", True)],
)
def test_options_out_of_range_are_refused_by_name(folder, option, value):
    """An unknown policy or a lag out of range opens nothing."""
    with pytest.raises((ValueError, UserError), match=option):
        Engine(folder, **{option: value})

"""Expressions in a model description: what they mean, may lack and may not say."""

import pytest

from plugins.model.decoder.expression import ExpressionError, Missing, evaluate, names

SCOPE = {
    "layer": 3,
    "hidden_size": 64,
    "heads": 4,
    "kinds": ["a", "b", "a", "b"],
    "rope": {"factor": 8.0},
    "window": None,
    "flag": True,
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("=hidden_size // heads", 16),
        ("=hidden_size ** -0.5", 0.125),
        ("=-layer + 2 * (heads - 1) % 4", -1),
        ("=hidden_size / heads", 16.0),
        ("=kinds[layer]", "b"),
        ("=kinds[layer] == 'b' and heads > 2", True),
        ("=rope.factor", 8.0),
        ("=7 if layer % 2 == 0 else None", None),
        ("=layer in [1, 3]", True),
        ("=layer not in [1, 3]", False),
        ("=not flag", False),
        ("=absent or 5", 5),
        ("=absent or rope.absent or window or 6", 6),
        ("=absent is None", True),
        ("=1 if absent else 2", 2),
        ("=heads if not absent else 0", 4),
        ("=window is not None", False),
        ("plain", "plain"),
        (3, 3),
        (["=heads", 1], [4, 1]),
        ({"x": "=layer"}, {"x": 3}),
    ],
)
def test_value(text, value):
    """What an expression says over config.json."""
    assert evaluate(text, SCOPE) == value


@pytest.mark.parametrize(
    "text", ["=absent", "=rope.absent * 2", "=absent + 1 or 3", "=heads and absent"]
)
def test_missing_key(text):
    """A key that is needed and missing is named."""
    with pytest.raises(Missing, match=r"config\.json does not say (rope\.)?absent"):
        evaluate(text, SCOPE)


@pytest.mark.parametrize(
    "text",
    [
        "=__import__('os')",
        "=().__class__",
        "=hidden_size.__class__",
        "=kinds.__class__",
        "=9**9**9**9",
        "=[1] * 10",
        "='a' * 1000000000",
        "='%1000000000d' % 1",
        "=9223372036854775807 * 2",
        "=(-8) ** 0.5",
        "=1 / 0",
        "=kinds[9]",
        "=rope['x']",
        "=window < 3",
        "=[x for x in kinds]",
        "=(lambda: 1)()",
        "=1 < layer < 5",
        "=f'{layer}'",
        "=b'x'",
        "=1j",
        "={1: 2}",
        "=(y := 3)",
        "=*kinds",
        "=",
        "=1 +",
        "=" + "(" * 300 + "1" + ")" * 300,
        "=" + "1+" * 400 + "1",
        "=" + "-" * 499 + "1",
        "=" + "not " * 120 + "1" * 19,
    ],
)
def test_refused_or_harmless(text):
    """No calls, no attributes of objects, nothing that grows without end; always a sentence."""
    try:
        assert evaluate(text, SCOPE) in (1, -1, True, False)
    except ExpressionError as error:
        assert str(error)


def test_names():
    """The keys an expression may read, with those of tables."""
    assert names("=kinds[layer] if rope.factor else hidden_size // heads") == {
        "kinds", "layer", "rope.factor", "hidden_size", "heads",
    }  # fmt: skip

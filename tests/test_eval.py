"""core.eval: perplexity, distance from a reference, gates."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from checkpoints import drawn
from conftest import ROOT, command
from omegaconf import OmegaConf
from transformers import AutoModelForCausalLM, LlamaConfig

from core import Engine, eval, manifest
from core.command import ConfigError

WINDOW, TOKENS = 100, 530  # the last window is short


@pytest.fixture(scope="module")
def plain(build, tiny_llama):
    return build("model=llama2", f"checkpoint={tiny_llama}")


@pytest.fixture(scope="module")
def quantized(build, tiny_llama):
    return build("model=llama2", "quant=fp8", f"checkpoint={tiny_llama}")


def measured(engine, heldout, folder, *given, code=0):
    """(results, standard output, standard error) of core.eval."""
    done = command(
        "eval", f"engine={engine}", f"text={heldout}", f"window={WINDOW}", f"tokens={TOKENS}",
        "json=results.json", *given, cwd=folder,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return json.loads((folder / "results.json").read_text()), done.stdout, done.stderr


def rows(model, ids):
    """Logits for every token that is judged, from one that has `logits` or is transformers'."""
    found = []
    for start in range(0, len(ids), WINDOW):
        part = ids[start : start + WINDOW]
        if hasattr(model, "logits"):
            found.append(torch.tensor(model.logits(part))[:-1])
        else:
            with torch.no_grad():
                found.append(model(torch.tensor([part])).logits[0, :-1].float())
    return torch.cat(found).double()


def expected(engine_rows, reference_rows, ids):
    """Agreement, mean and largest KL by torch."""
    p, q = reference_rows.log_softmax(1), engine_rows.log_softmax(1)
    kl = torch.nn.functional.kl_div(q, p, reduction="none", log_target=True).sum(1)
    agreed = (p.argmax(1) == q.argmax(1)).double().mean()
    following = torch.tensor(
        [t for i in range(0, len(ids), WINDOW) for t in ids[i : i + WINDOW][1:]]
    )
    nll = [torch.nn.functional.nll_loss(x, following).item() for x in (q, p)]
    return {
        "kl": kl.mean().item(),
        "max_kl": kl.max().item(),
        "agreement": agreed.item(),
        "perplexity": np.exp(nll[0]),
        "reference_perplexity": np.exp(nll[1]),
        "ratio": np.exp(nll[0] - nll[1]),
    }


@pytest.mark.parametrize("against", ["transformers", "engine"])
def test_distance_from_a_reference(against, plain, quantized, tiny_llama, heldout, tmp_path):
    """KL, agreement and the ratio of perplexities equal torch's, over the same windows."""
    place = tiny_llama if against == "transformers" else plain
    told, page, _ = measured(quantized, heldout, tmp_path, f"against={place}")
    with Engine(quantized) as engine, Engine(plain) as other:
        ids = engine.encode(heldout.read_text())[:TOKENS]
        if against == "transformers":
            other = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
        want = expected(rows(engine, ids), rows(other, ids), ids)
    found = told["results"]
    assert found["tokens"] == TOKENS - 6
    for name, value in want.items():
        # transformers' products are summed in another order: 1e-6 of a logit
        assert found[name] == pytest.approx(value, rel=1e-4), name
    assert 0.9 < found["agreement"] < 1 and f"{found['kl']:.3e}" in page
    assert told["hardware"] == manifest.hardware() and told["config"]["window"] == WINDOW


def test_an_engine_equals_itself(plain, heldout, tmp_path):
    """Against itself: no divergence, full agreement, and every gate that says so is kept."""
    gates = ["gate.kl=1e-9", "gate.max_kl=1e-9", "gate.agreement=1", "gate.ratio=1.000001"]
    gates.append("gate.perplexity=20")
    told, _, _ = measured(
        plain, heldout, tmp_path, f"against={plain}", *gates, "gate.perplexity=20"
    )
    assert told["results"]["agreement"] == 1 and told["results"]["ratio"] == 1


def test_missed_gates_are_told_at_once(plain, quantized, heldout, tmp_path):
    """Each threshold that is missed is a sentence, and the exit code is 5; results are written."""
    gates = ["gate.kl=1e-6", "gate.agreement=0.999", "gate.ratio=2", "gate.perplexity=1.5"]
    told, page, said = measured(quantized, heldout, tmp_path, f"against={plain}", *gates, code=5)
    assert len(said.splitlines()) == 3 and "perplexity" in page
    assert "gate.kl is missed: kl is 0.0" in said and "at most 1e-06 is asked" in said
    assert "at least 0.999 is asked" in said and "gate.perplexity is missed" in said
    assert told["results"]["ratio"] < 2


def test_a_number_that_is_none_misses_every_gate():
    """NaN is neither below a most nor above a least."""
    with pytest.raises(eval.GateError) as told:
        values = {"kl": np.nan, "agreement": np.nan}
        eval.check_gates(values, {"kl": 1, "agreement": 0, "ratio": None})
    assert len(str(told.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"gate": {"kl": 0.1}}, "gate.kl judges the distance from a reference; add against=…"),
        ({"gate": {"perplexity": -1}}, "gate.perplexity=-1: a gate is a number, 0 or more"),
        ({"gate": {"perplexity": float("nan")}}, "gate.perplexity=nan: a gate is a number"),
        ({"gate": {"perplexity": "low"}}, "gate.perplexity is 'low'; it must be a"),
        ({"tokens": 1}, "tokens is 1"),
        ({"against": "nowhere"}, "against=nowhere: neither an engine folder"),
    ],
)
def test_refusals(given, part, plain, heldout):
    """Gates that judge nothing, and references that are none, are refused by name."""
    cfg = OmegaConf.load(ROOT / "conf" / "use" / "eval.yaml")
    given = {"engine": str(plain), "text": str(heldout), **given}
    with pytest.raises(ConfigError, match=re.escape(part)):
        eval.evaluate(OmegaConf.merge(cfg, OmegaConf.create(given)))


def test_other_tokens_are_refused(build, plain, tiny_llama, heldout, tmp_path):
    """A reference with another vocabulary or tokenizer cannot predict the same tokens."""
    other = build("model=llama2", "model.size=tiny", "checkpoint=random")
    done = command("eval", f"engine={plain}", f"text={heldout}", f"against={other}", cwd=tmp_path)
    assert done.returncode == 3 and "a vocabulary of 256 tokens" in done.stderr
    shutil.copytree(tiny_llama, tmp_path / "checkpoint")
    file = tmp_path / "checkpoint" / "tokenizer.json"
    file.write_text(file.read_text() + "\n")
    done = command("eval", f"engine={plain}", f"text={heldout}", "against=checkpoint", cwd=tmp_path)
    assert done.returncode == 3 and "has another tokenizer.json" in done.stderr


def test_transformers_is_asked_for_only_then(plain, tiny_llama, heldout, tmp_path):
    """Without transformers an engine is judged; against a checkpoint a sentence says what lacks."""
    source = (
        "import sys; sys.modules['transformers'] = sys.modules['torch'] = None\n"
        "from core.eval import main; main()"
    )
    given = [f"engine={plain}", f"text={heldout}", "tokens=40"]
    done = [
        subprocess.run(
            [sys.executable, "-c", source, *given, *more],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        for more in ([], [f"against={plain}"], [f"against={tiny_llama}"])
    ]
    assert [process.returncode for process in done] == [0, 0, 4], done[2].stderr
    assert "pip install 'ingot[calibrate]'" in done[2].stderr


def test_a_broken_checkpoint_is_told(plain, heldout, tmp_path):
    """What transformers cannot open is refused with its own reason."""
    sizes = dict(vocab_size=4096, hidden_size=32, intermediate_size=64, num_hidden_layers=1)
    drawn(tmp_path / "c", LlamaConfig(**sizes, num_attention_heads=2))
    (tmp_path / "c" / "model.safetensors").write_bytes(b"\0" * 100)
    done = command("eval", f"engine={plain}", f"text={heldout}", "against=c", cwd=tmp_path)
    assert done.returncode == 3 and "transformers cannot open it: " in done.stderr


def test_fewer_than_two_tokens(plain):
    """Nothing can be predicted of one token."""
    with Engine(plain) as engine, pytest.raises(ConfigError, match="fewer than two tokens"):
        eval.compared(engine, None, [5], 512)

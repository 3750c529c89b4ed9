"""core.show report=…: one page that needs nothing, says everything and trusts no name."""

import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from html.parser import HTMLParser

import pytest
from conftest import command

from core import layer_parts, manifest, markup, page

EVIL = '</title></style><script>alert(1)</script><img src=x onerror="a()">\'&'
ANSWER = 32  # tokens that the engine generates for the page


class Page(HTMLParser):
    """What a browser would see: elements, attributes, texts; unbalanced markup is an error."""

    VOID = ("meta", "br", "col", "img")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, text):
        if self.open and self.open[-1] != "style":
            self.texts.append(text)


def written(engine, folder, *given):
    """The text of the report of `engine`."""
    done = command("show", f"engine={engine}", "report=page.html", *given, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.iterdir() if path.suffix == ".html"] == ["page.html"]
    return (folder / "page.html").read_text("utf-8")


@pytest.fixture(scope="module")
def engine(build, tiny_llama):
    return build("model=llama2", "quant=fp8", f"checkpoint={tiny_llama}")


@pytest.fixture(scope="module")
def report(engine, tmp_path_factory):
    return written(engine, tmp_path_factory.mktemp("report"))


def test_it_needs_nothing_from_elsewhere(report):
    """No link, no image, no script, no style from another place; the page's policy says so too."""
    seen = Page(report)
    assert not {"script", "link", "img", "iframe", "a", "object", "embed"} & set(seen.tags)
    names = {name for name, _ in seen.attributes}
    assert not {"src", "href", "srcset", "action"} & names
    assert not [name for name in names if name.startswith("on")]
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in seen.attributes
    assert set(re.findall(r"https?://[^\"<\s]+", report)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in report and "@import" not in report


def test_it_says_what_the_manifest_says(report, engine):
    """Config with its origins, passes, precision, memory and cache groups are on the page."""
    seen, facts = Page(report), manifest.read(engine)
    texts = "\n".join(seen.texts)
    for key, value in page.leaves(facts["config"]):
        if not key.startswith("model.sizes."):
            assert key in texts and ("null" if value is None else str(value)) in texts
    for origin in facts["provenance"].values():
        assert origin in texts or "model.sizes" in str(facts["provenance"])
    for entry in facts["passes"]:
        assert entry["pass"] in texts
    assert all(why in texts for entry in facts["passes"] for _, why in entry["refused"][:1])
    hints = [value for name, value in seen.attributes if name == "title"]
    tensors = facts["tensors"]["rank0"]
    in_layers = [name for name in tensors if name.startswith("layers.")]
    assert len(hints) == len(in_layers)  # a cell of the table of precision for each
    for name in in_layers:
        assert any(hint.startswith(f"{name}: {tensors[name]['dtype']} ") for hint in hints)
    total = sum(tensor["bytes"] for tensor in tensors.values())
    assert page.size(total) in seen.texts and "full" in seen.texts


def test_it_shows_the_time_of_every_layer_and_op(report, engine):
    """Every operator of the plan is there with its calls: for a prompt, and for each token."""
    texts = "\n".join(Page(report).texts)
    lines = (engine / "rank0" / "plan.txt").read_text().splitlines()
    ops = [line.split()[2] for line in lines if line.startswith("op ")]
    for op in set(ops):
        name, count = op.partition("::")[2].partition("@")[0], ops.count(op)
        for calls in (count, count * ANSWER):
            assert re.search(rf"{name}: .*, {calls:,} calls", texts), (name, calls)
    assert re.search(r"5, ScaledLinear: [\d.]+ [mµ]s", texts)
    assert "A prompt of 128 tokens: " in texts


def test_names_are_never_markup(engine, tmp_path):
    """A name from a checkpoint or a plugin that is HTML stands on the page as it is written."""
    folder = tmp_path / "engine"
    shutil.copytree(engine, folder)
    facts = manifest.read(folder)
    tensors = facts["tensors"]["rank0"]
    tensors[f"layers.0.{EVIL}"] = {**tensors.pop("layers.0.ffn_norm_D"), "recipe": EVIL}
    facts["config"]["checkpoint"] = EVIL
    facts["provenance"]["checkpoint"] = EVIL
    facts["plugins"][0]["class"] = EVIL
    facts["passes"][0].update({"pass": EVIL, "refused": [[EVIL, EVIL]]})
    facts["cache_groups"][0]["name"] = EVIL
    facts["hardware"]["processor"] = EVIL
    facts["model"]["dtype"] = EVIL
    (folder / "engine.json").write_bytes(manifest.sealed(facts))
    seen = Page(written(folder, tmp_path, "profile=false"))
    assert "script" not in seen.tags and "img" not in seen.tags
    assert [text for text in seen.texts].count(EVIL) >= 6
    assert any(name == "title" and EVIL in value for name, value in seen.attributes)


def test_without_a_run_it_says_how_to_get_times(engine, tmp_path):
    """profile=false does not open the engine, and tells so in place of the times."""
    texts = "\n".join(Page(written(engine, tmp_path, "profile=false")).texts)
    assert "the engine was not run. Write the report with profile=true." in texts


def test_the_place_must_be_writable(engine, tmp_path):
    """A report that cannot be written is an error of the config."""
    done = command(
        "show", f"engine={engine}", "report=no/such/x.html", "profile=false", cwd=tmp_path
    )
    assert done.returncode == 2 and "report=no/such/x.html cannot be written" in done.stderr


def test_elements_escape_texts_and_attributes():
    """What is not markup by its type is escaped, in any depth."""
    made = markup.tag("p", "<b>", [markup.tag("i", "&"), ['"']], class_='a"b', data_x="<")
    assert made == '<p class="a&quot;b" data-x="&lt;">&lt;b&gt;<i>&amp;</i>&quot;</p>'


def test_names_belong_to_layers_and_parts():
    """What stands behind `layers.N.` decides the part; sums are by layer, the rest is last."""
    named = {
        "layers.10.attention.qkv_FD": (10, "attention"),
        "layers.0.attention_norm_D": (0, "norms"),
        "layers.2.ffn.gate_up_FD": (2, "feed forward"),
        "layers.2.experts.down_EDF": (2, "feed forward"),
        "layers.2.sum_TD": (2, "other"),
        "head_VD": (None, "other"),
    }
    for name, (layer, part) in named.items():
        assert (layer_parts.layer_of(name), layer_parts.part_of(name)) == (layer, part)
    values = [
        ("layers.10.a", "x", 1),
        ("layers.2.a", "x", 2),
        ("head", "y", 4),
        ("layers.2.b", "x", 8),
    ]
    assert layer_parts.stacked(values, ["x", "y", "z"]) == (
        ["2", "10", "rest"], {"x": [10, 1, 0], "y": [0, 0, 4]}
    )  # fmt: skip


def test_the_graph_is_served_on_loopback(engine, tmp_path):
    """view=true prints an address of this machine only, serves the graph, and ends at Ctrl-C."""
    pytest.importorskip("netron", reason="the viewer is optional: pip install netron")
    process = subprocess.Popen(
        [sys.executable, "-m", "core.show", f"engine={engine}", "view=true"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        [address] = re.findall(r"http://127\.0\.0\.1:\d+", line)
        with urllib.request.urlopen(f"{address}/data/graph.onnx") as answer:
            assert answer.read() == (engine / "rank0" / "graph.onnx").read_bytes()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def test_where_netron_is_missing_it_is_named(engine, tmp_path):
    """view=true without netron ends with 4 and says what to install; a rank that is none with 2."""
    source = "import sys; sys.modules['netron'] = None\nfrom core.show import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", source, f"engine={engine}", "view=true"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 4 and "pip install netron" in done.stderr
    done = command("show", f"engine={engine}", "view=true", "rank=1", cwd=tmp_path)
    assert done.returncode == 2 and "rank=1: " in done.stderr

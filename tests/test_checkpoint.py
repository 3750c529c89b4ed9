"""Checkpoints: opened by headers only, and every way to be malformed is a sentence."""

import json
import sys

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from core import native
from core.checkpoint import open_checkpoint
from core.command import PlanError
from core.random_checkpoint import RandomCheckpoint
from core.tensor_file import MAX_HEADER_BYTES

A, B = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(4, np.float16)


@pytest.fixture
def folder(tmp_path):
    """A checkpoint of two tensors in one file."""
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    save_file({"a": A, "b": B}, tmp_path / "model.safetensors")
    return tmp_path


@pytest.fixture
def sharded(tmp_path):
    """The same in two files with an index."""
    (tmp_path / "config.json").write_text("{}")
    save_file({"a": A}, tmp_path / "one.safetensors")
    save_file({"b": B}, tmp_path / "two.safetensors")
    index(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    return tmp_path


def index(folder, table):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))


def refusal(folder):
    """What is said against a folder."""
    with pytest.raises(PlanError) as error:
        open_checkpoint(str(folder), None, 0)
    return str(error.value)


def header(folder, table, data=b"", length=None):
    """model.safetensors with any header."""
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    size = (len(text) if length is None else length).to_bytes(8, "little")
    (folder / "model.safetensors").write_bytes(size + text + data)


def test_one_file(folder):
    """Names, config, dtypes and values are the file's."""
    checkpoint = open_checkpoint(str(folder), None, 0)
    assert checkpoint.names() == {"a", "b"} and checkpoint.config == {"model_type": "llama"}
    np.testing.assert_array_equal(checkpoint.tensor("a", [2, 3]).numpy(), A)
    assert checkpoint.tensor("b").recipe == "b" and "c" not in checkpoint


def test_shards(sharded):
    """A tensor is found in the shard that holds it."""
    checkpoint = open_checkpoint(str(sharded), None, 0)
    np.testing.assert_array_equal(checkpoint.tensor("b").numpy(), B)


def test_the_built_in_model(tiny_llama):
    """Every tensor of tiny-llama has the bytes that safetensors reads; the tokenizer is copied."""
    checkpoint = open_checkpoint(str(tiny_llama), None, 0)
    with safe_open(tiny_llama / "model.safetensors", "pt") as file:
        assert checkpoint.names() == set(file.keys())
        for name in sorted(file.keys())[::7]:
            want = file.get_tensor(name).float().numpy()
            np.testing.assert_array_equal(checkpoint.tensor(name).numpy().astype(np.float32), want)
    assert [path.name for path in checkpoint.files] == [
        "tokenizer.json", "tokenizer_config.json", "generation_config.json",
    ]  # fmt: skip
    assert checkpoint.generation["eos_token_id"] == 2


def test_another_shape_names_tensor_file_and_both_shapes(folder):
    """tensor(name, shape) compares."""
    with pytest.raises(PlanError) as error:
        open_checkpoint(str(folder), None, 0).tensor("a", [3, 2])
    assert str(error.value) == (
        f"{folder}/model.safetensors: a has shape [2, 3], but config.json and the model's "
        "description say [3, 2]"
    )


def test_no_folder(tmp_path):
    """A folder that is not there, and a file in its place."""
    assert refusal(tmp_path / "no where").startswith(
        f"checkpoint={tmp_path}/no where does not exist; give the folder that holds config.json"
    )
    (tmp_path / "x").write_text("")
    assert "x is a file, not a folder; give the folder" in refusal(tmp_path / "x")


def test_config(folder):
    """config.json missing, not JSON, not an object."""
    (folder / "config.json").write_text("[1]")
    assert "config.json holds a list, not an object;" in refusal(folder)
    (folder / "config.json").write_text("{")
    assert "config.json is not JSON: Expecting property name" in refusal(folder)
    (folder / "config.json").unlink()
    assert "config.json is missing; checkpoint= takes a folder in Hugging Face's" in refusal(folder)


def test_pickles_are_not_read(folder):
    """A folder with .bin files only is told how to convert them."""
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    said = refusal(folder)
    assert "has no model.safetensors, only pytorch_model.bin, which could run code" in said
    assert "save_pretrained(" in said


def test_other_files_in_the_folder(folder):
    """Nothing, a strange name, or both layouts at once."""
    index(folder, {"a": "one.safetensors"})
    assert "both model.safetensors and model.safetensors.index.json; remove" in refusal(folder)
    (folder / "model.safetensors.index.json").unlink()
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    assert "only weights.safetensors; rename it to model.safetensors" in refusal(folder)
    (folder / "weights.safetensors").unlink()
    assert "has neither model.safetensors nor model.safetensors.index.json" in refusal(folder)


def test_index(sharded):
    """Missing shards, absent and double tensors, paths that leave the folder, no table."""
    index(sharded, {"a": "one.safetensors", "c": "two.safetensors", "d": "two.safetensors"})
    assert refusal(sharded).splitlines() == [
        f"{sharded}: model.safetensors.index.json says that {name} is in two.safetensors, where it "
        "is not; download it again"
        for name in "cd"
    ]
    index(sharded, {"a": "one.safetensors", "b": "three.safetensors"})
    assert "lacks 1 of 2 shards that model.safetensors.index.json names: three." in refusal(sharded)
    for path in ("../one.safetensors", "/etc/passwd", 3):
        index(sharded, {"a": path})
        assert "is no safetensors file beside it" in refusal(sharded)
    save_file({"a": A, "b": B}, sharded / "two.safetensors")
    index(sharded, {"a": "one.safetensors", "b": "two.safetensors"})
    assert "a is both in one.safetensors and in two.safetensors; download" in refusal(sharded)
    (sharded / "model.safetensors.index.json").write_text("{}")
    assert "has no table `weight_map`" in refusal(sharded)


def test_cut_short(folder):
    """A truncated file is told with both sizes; so is one with something behind it."""
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert refusal(folder) == (
        f"{path} was cut short: its header describes {len(whole)} bytes, the file has "
        f"{len(whole) - 5}; download it again"
    )
    path.write_bytes(whole + b"x")
    assert "has 1 bytes more than its header describes" in refusal(folder)
    path.write_bytes(whole[:20])
    assert "the file has only 20; it was cut short" in refusal(folder)
    path.write_bytes(b"abc")
    assert "has 3 bytes, too few for a safetensors file" in refusal(folder)


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("table", "data", "part"),
    [
        (b"{nonsense", b"", "its header is not JSON"),
        (b"[]", b"", "its header is not a JSON object"),
        (b"[" * 5000, b"", "its header is not JSON"),
        (b"\xff\xfe", b"", "its header is not JSON"),
        ({"a": 3}, b"", "of a, which is no shape and place"),
        ({"a": {**F32, "shape": [-2]}}, b"12345678", "which is no shape and place"),
        ({"a": {**F32, "shape": [True]}}, b"12345678", "which is no shape and place"),
        ({"a": {**F32, "shape": [1] * 9}}, b"12345678", "which is no shape and place"),
        ({"a": {**F32, "data_offsets": [0]}}, b"12345678", "which is no shape and place"),
        ({"a": {**F32, "dtype": "Q4"}}, b"12345678", "a has dtype Q4, which cannot be read"),
        ({"a": {**F32, "shape": [3]}}, b"12345678", "12 bytes, but the header gives it 8"),
        ({"a": {**F32, "shape": [1 << 40, 1 << 40]}}, b"12345678", "but the header gives it 8"),
        ({"a": {**F32, "data_offsets": [8, 0]}}, b"12345678", "the header gives it -8"),
        ({"a": F32, "b": {**F32, "data_offsets": [4, 12]}}, b"1" * 12, "a and b overlap"),
        (
            b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}, "a": '
            b'{"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}',
            b"1",
            "its header names a twice",
        ),
    ],
)  # fmt: skip
def test_damaged_headers(folder, table, data, part):
    """Nothing in a header is believed before it is checked."""
    header(folder, table, data)
    assert part in refusal(folder)


def test_a_header_that_is_too_large(folder):
    """A length beyond the format's limit, in a file that could be that long, is not read."""
    header(folder, b"", length=MAX_HEADER_BYTES + 1)
    assert "its header would be 100,000,001 bytes, at most 100,000,000 are allowed" in refusal(
        folder
    )


def test_every_cut_of_a_header_is_refused(folder):
    """A file cut at any byte is refused with a sentence, never with a traceback."""
    whole = (folder / "model.safetensors").read_bytes()
    for end in range(0, len(whole), 7):
        (folder / "model.safetensors").write_bytes(whole[:end])
        assert "download it again" in refusal(folder)


def test_a_hub_name_without_the_package(monkeypatch):
    """Without huggingface_hub the sentence says what to install, or to give a folder."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    said = refusal("someone/some-model")
    assert "pip install huggingface_hub, or download it elsewhere and give its folder" in said


def test_a_hub_that_cannot_be_reached(monkeypatch):
    """Whatever the hub's package raises becomes a sentence."""

    class Hub:
        @staticmethod
        def snapshot_download(name, allow_patterns):
            raise OSError("no route to host")

    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub)
    assert "the hub does not give it (no route to host)" in refusal("someone/some-model")


CONFIG = {"torch_dtype": "float32"}


def expected_random(seed, first, count, scale):
    """The formula of ingot.h in numpy."""
    with np.errstate(over="ignore"):
        i = np.arange(first + 1, first + 1 + count, dtype=np.uint64)
        z = np.uint64(seed) + i * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    unit = (z >> np.uint64(40)).astype(np.float64) / 2**24
    return (scale * (2 * unit - 1)).astype(np.float32)


def test_random_weights_do_not_depend_on_the_order_of_reading():
    """Rows read alone, later or in another checkpoint object are those of the whole tensor."""
    weight = RandomCheckpoint(CONFIG, 7).tensor("layers.q.weight", [96, 64])
    part = RandomCheckpoint(CONFIG, 7).tensor("layers.q.weight", [96, 64]).read(40, 43)
    whole = weight.numpy()
    np.testing.assert_array_equal(part, whole[40:43])
    assert whole.var() == pytest.approx(1 / 64, rel=0.05) and abs(whole.mean()) < 0.01
    others = [
        RandomCheckpoint(CONFIG, 8).tensor("layers.q.weight", [96, 64]),
        RandomCheckpoint(CONFIG, 7).tensor("layers.k.weight", [96, 64]),
    ]
    assert not any(np.array_equal(other.numpy(), whole) for other in others)


def test_random_fill_follows_its_formula():
    """The library's numbers are those of the formula in ingot.h."""
    array = np.empty(1000, np.float32)
    native.random_fill(12345, 17, array, 0.5)
    np.testing.assert_allclose(array, expected_random(12345, 17, 1000, 0.5), rtol=1e-6, atol=1e-8)


def test_random_norms_are_one_and_shapes_are_needed():
    """Norm weights are 1; a shape must be given; every name is there."""
    checkpoint = RandomCheckpoint(CONFIG, 0)
    assert (checkpoint.tensor("model.norm.weight", [8]).numpy() == 1).all()
    assert "anything" in checkpoint and checkpoint.names() == {"model.norm.weight"}
    with pytest.raises(PlanError, match="the shape of x is not known"):
        checkpoint.tensor("x")
    with pytest.raises(PlanError, match="random weights are made in float32, bfloat16, float16"):
        RandomCheckpoint({"torch_dtype": "int8"}, 0)

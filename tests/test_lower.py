"""What the CPU engine writes: files that other programs read, and refusals of what it cannot run.

T tokens, D width, F features out.
"""

import hashlib
import json
import re
import shutil
import struct
import tracemalloc
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import safetensors
import tokenizers
import transformers
from checkpoints import distance, drawn, packed_logits, preset, session, textbook
from paged_pool import Pool

from core import manifest, passes, spec, weights
from core.command import PlanError
from core.recipes import Weight
from core.resolution import Plan
from plugins.attention.paged import Paged
from plugins.engine.cpu import Cpu
from plugins.engine.interpreted import token_file, weight_file
from plugins.quant.fp8 import Activations, Fp8, Weights

SHAPE = dict(
    vocab_size=101,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=128,
)
FAMILIES = {
    "llama2": transformers.LlamaConfig(
        **SHAPE, head_dim=16, attention_bias=True, tie_word_embeddings=True
    ),
    "mistral": transformers.MistralConfig(**SHAPE, sliding_window=7),
}
FUSED_DISTANCE = 1e-5  # measured: 0 without quantization, 2e-6 with it
PLAN = Plan(checkpoint="random", out=Path("unused"), max_tokens=8, max_sequences=2)


def built(folder, family="llama2", quant=None, engine=None):
    """The paged graph of a checkpoint in float32, fused where an engine is given."""
    model = spec.verify(textbook(preset(family), folder), after="graph")
    items = [*(quant.passes(None) if quant else []), *Paged(page=16).passes(None)]
    for item in [*items, *(engine.passes(None, 0) if engine else [])]:
        model = passes.run(item, model, "test").model
    return model


def lower(model, folder, plan=PLAN):
    """What `lower` says of the files that it has written into `folder`."""
    folder.mkdir(exist_ok=True)
    Cpu().lower(plan, 0, model, folder)
    return json.loads((folder / manifest.SIDECAR).read_text())


def stepped(model, run, sequences):
    """Logits of every token, over steps of several sequences."""
    pool = Pool(model, run, sequences)
    pool.step((0, 5), (1, 20))
    pool.step((1, 1), (0, 4), padding=2)
    return np.concatenate([[rows[i] for i in range(len(rows))] for rows in pool.logits])


SEQUENCES = [np.random.default_rng(0).integers(0, 101, size) for size in (9, 21)]


@pytest.mark.parametrize("family", FAMILIES)
def test_lowered_graph_is_the_textbook_graph(family, tmp_path):
    """onnxruntime runs graph.onnx beside its weights to the logits of the graph as written."""
    drawn(tmp_path, FAMILIES[family])
    want = packed_logits(textbook(preset(family), tmp_path), SEQUENCES)
    model = built(tmp_path, family, engine=Cpu())
    lower(model, tmp_path / "rank0")
    run = onnxruntime.InferenceSession(tmp_path / "rank0" / "graph.onnx")
    assert distance(stepped(model, run, SEQUENCES), want) < 1e-4  # the order of summation


@pytest.mark.parametrize("activations", Activations)
@pytest.mark.parametrize("kind", Weights)
def test_fused_graph_is_the_quantized_graph(kind, activations, tmp_path):
    """Fusing changes what fp8 computes by rounding in float32 only."""
    drawn(tmp_path, FAMILIES["llama2"])
    quant = Fp8(weights=kind, activations=activations)
    plain, fused = (built(tmp_path, quant=quant, engine=engine) for engine in (None, Cpu()))
    lower(fused, tmp_path / "rank0")
    run = onnxruntime.InferenceSession(tmp_path / "rank0" / "graph.onnx")
    want = stepped(plain, session(plain), SEQUENCES)
    assert distance(stepped(fused, run, SEQUENCES), want) < FUSED_DISTANCE


def test_weights_are_safetensors(tmp_path):
    """Their own library reads every tensor; each is its recipe, aligned, and hashed as told."""
    drawn(tmp_path, FAMILIES["llama2"])
    model = built(tmp_path, quant=Fp8(), engine=Cpu())
    said = lower(model, tmp_path / "rank0")
    path = tmp_path / "rank0" / "weights.safetensors"
    content = path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == said["files"][path.name]["sha256"]
    data = 8 + struct.unpack("<Q", content[:8])[0]
    assert hashlib.sha256(content[:data]).hexdigest() == said["header_sha256"]
    header = json.loads(content[8:data])
    with safetensors.safe_open(path, "pt") as file:
        names = set(file.keys())
    assert {name for name in names if not name.startswith("pad.")} == said["tensors"].keys()
    for name, entry in said["tensors"].items():
        begin, end = (data + place for place in header[name]["data_offsets"])
        want = model.graph.initializers[name].const_value
        assert begin % 256 == 0 and end - begin == entry["bytes"]
        assert content[begin:end] == want.numpy().tobytes()
        assert hashlib.sha256(content[begin:end]).hexdigest() == entry["sha256"]
        assert (entry["shape"], entry["recipe"]) == (list(want.shape), want.recipe)
    read = {name for node in model.graph for name in (v.name for v in node.inputs if v)}
    assert said["tensors"].keys() <= read


def test_halves_of_bytes(tmp_path):
    """Numbers of 4 bits lie two in a byte, the first in the low half."""
    codes = np.arange(16).reshape(4, 4).astype(ml_dtypes.uint4)
    weight_file.write(tmp_path / "w.safetensors", [weights.constant(codes, "codes")])
    with safetensors.safe_open(tmp_path / "w.safetensors", "np") as file:
        packed = file.get_tensor("codes")
    assert packed.dtype == np.uint8 and packed.shape == (4, 2)
    assert packed.reshape(-1).tolist() == [0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE]


def test_siblings_in_any_order(tmp_path):
    """The file's hash is right where small siblings stand before, or apart from, large ones."""
    source = weights.constant(np.random.default_rng(0).random((64, 1000), np.float32), "w")

    def parts(rows):
        return rows.max(1), rows.astype(ml_dtypes.bfloat16)

    outputs = [("scale", ir.DataType.FLOAT, [64]), ("codes", ir.DataType.BFLOAT16, [64, 1000])]
    scale, codes = weights.derive(source, parts, outputs, "parts(…)")
    other = weights.constant(np.ones(3, np.float32), "other")
    for order in ([scale, codes, other], [codes, other, scale], [scale, other, codes]):
        written = weight_file.write(tmp_path / "w.safetensors", order)
        content = (tmp_path / "w.safetensors").read_bytes()
        assert written.sha256 == hashlib.sha256(content).hexdigest()


class Counted(Weight):
    """Rows of ones, each counted when it is read."""

    def __init__(self, rows, columns):
        super().__init__("w_FD", ir.DataType.FLOAT, [rows, columns], "ones()")
        self.asked = np.zeros(rows, int)

    def _rows(self, start, stop):
        self.asked[start:stop] += 1
        return np.ones((stop - start, self.shape[1]), np.float32)


def test_memory_is_bounded(tmp_path):
    """Two products of 192 MiB that merge are written with less memory, each row read once."""
    halves = [Counted(4096, 6144), Counted(4096, 6144)]
    x = ir.val("x_TD", ir.DataType.FLOAT, ["T", 6144])
    nodes, outputs, held = [], [], []
    for name, tensor in zip("vw", halves, strict=True):
        value = ir.val(f"{name}_FD", const_value=weights.rename(tensor, f"{name}_FD"))
        turned = ir.node("Transpose", [value], {"perm": [1, 0]})
        product = ir.node("MatMul", [x, turned.outputs[0]])
        turned.outputs[0].name, product.outputs[0].name = f"{name}_DF", f"{name}_TF"
        nodes += [turned, product]
        outputs.append(product.outputs[0])
        held.append(value)
    model = verified(ir.Graph([x], outputs, nodes=nodes, initializers=held, name="g",
                              opset_imports={"": 24}))  # fmt: skip
    for item in Cpu().passes(None, 0):
        model = passes.run(item, model, "test").model
    x.name = "positions_T"  # a name that the runtime knows
    tracemalloc.start()
    said = lower(model, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert said["tensors"]["vw_FD"]["bytes"] == 192 << 20
    assert peak < 140 << 20  # measured: 128 MiB, a chunk of 64 put together from two
    assert all((half.asked == 1).all() for half in halves)


def verified(graph, **groups):
    model = ir.Model(graph, ir_version=11)
    model.metadata_props["ingot.model"] = json.dumps({"max_length": 32, "vocab": 2, "end_ids": []})
    return spec.verify(model, after="writing")


def small(*nodes, arrays, output, inputs=("ids_T", "rows_N")):
    """A graph whose nodes are (op, inputs, output, attributes)."""
    values = {name: ir.val(name, ir.DataType.INT32, [name[-1]]) for name in inputs}
    held = [ir.val(name, const_value=ir.tensor(array, name=name)) for name, array in arrays.items()]
    values |= {value.name: value for value in held}
    made = []
    for op_type, given, name, attributes in nodes:
        domain, _, kind = op_type.rpartition("::")
        node = ir.node(kind, [values[i] for i in given], attributes, domain=domain)
        node.outputs[0].name, values[name] = name, node.outputs[0]
        made.append(node)
    graph = ir.Graph(
        [values[name] for name in inputs], [values[output]], nodes=made, initializers=held,
        opset_imports={"": 24, "ingot": 1}, name="g",
    )  # fmt: skip
    return verified(graph)


EMBEDDING = np.arange(6, dtype=np.float32).reshape(3, 2)


def test_plan_of_a_small_graph(tmp_path):
    """plan.txt, line by line, is what one would write by hand."""
    model = small(
        ("Gather", ["embedding_VD", "ids_T"], "x_TD", {"axis": 0}),
        ("ingot::Linear", ["x_TD", "mix_FD"], "y_TD", {}),
        ("Reshape", ["y_TD", "pairs"], "z_TD", {}),
        ("Gather", ["z_TD", "rows_N"], "logits_NV", {}),
        arrays={
            "embedding_VD": EMBEDDING, "mix_FD": np.eye(2, dtype=np.float32),
            "pairs": np.array([-1, 2], np.int64),
        },
        output="logits_NV",
    )  # fmt: skip
    said = lower(model, tmp_path)
    assert (tmp_path / "plan.txt").read_text().splitlines() == [
        "ingot-plan 1",
        "max T=8 S=2 N=8 Q=8 M=32 L=32",
        "vocab 2",
        "weight embedding_VD f32 3,2",
        "weight mix_FD f32 2,2",
        "const pairs i64 2 -1,2",
        "function step",
        "field ids_T i32 T",
        "field rows_N i32 N",
        "value x_TD f32 T,2 life=0:1",
        "value y_TD f32 T,2 life=1:2",
        "value z_TD f32 T,2 life=2:3",
        "value logits_NV f32 N,2 life=3:3",
        "op x_TD ::Gather@24 in=embedding_VD,ids_T out=x_TD axis=i:0",
        "op y_TD ingot::Linear@1 in=x_TD,mix_FD out=y_TD",
        "op z_TD ::Reshape@24 in=y_TD,pairs out=z_TD",
        "op logits_NV ::Gather@24 in=z_TD,rows_N out=logits_NV",
        "output logits_NV f32 N,2",
        "end",
    ]
    assert said["engine"] == {"name": "cpu", "library": None}
    assert said["memory"]["activations, at most about"] == 2 * 8 * 2 * 4


def test_a_type_left_out(tmp_path):
    """output_dtype=0, as ONNX spells a type that is not given, is not given to the runtime."""
    model = small(
        ("Gather", ["embedding_VD", "ids_T"], "x_TD", {}),
        ("QuantizeLinear", ["x_TD", "scale"], "codes_TD", {"output_dtype": 0}),
        ("DequantizeLinear", ["codes_TD", "scale"], "y_TD", {"output_dtype": 0}),
        ("Gather", ["y_TD", "rows_N"], "logits_NV", {}),
        arrays={"embedding_VD": EMBEDDING, "scale": np.array(0.5, np.float32)},
        output="logits_NV",
    )
    lower(model, tmp_path)
    plan = (tmp_path / "plan.txt").read_text()
    assert "QuantizeLinear@24" in plan and "output_dtype" not in plan


def test_caches_are_states(tmp_path):
    """A cache is declared in its group, and the op that writes it names it twice."""
    drawn(tmp_path, FAMILIES["mistral"])
    model = built(tmp_path, "mistral", engine=Cpu())
    said = lower(model, tmp_path / "rank0")
    lines = (tmp_path / "rank0" / "plan.txt").read_text().splitlines()
    assert "group window7 kind=window page=16 window=7 sharded=1" in lines
    assert "state cache_k1_PGWK group=window7 dtype=f32 dims=P,2,16,8" in lines
    [op] = [line for line in lines if " ingot::PagedAttention" in line and "cache_k1" in line]
    assert re.search(r" in=\S+,cache_k1_PGWK,cache_v1_PGWK,\S+ out=\S+,cache_k1_PGWK,cache_v1_", op)
    assert [line for line in lines if line.startswith("output")] == ["output logits_NV f32 N,101"]
    assert said["memory"]["cache, a token"] == 2 * 2 * 2 * 8 * 4  # k and v, layers, heads, size


def refusal(*nodes, **given):
    with pytest.raises(PlanError) as error:
        Cpu().lower(PLAN, 0, small(*nodes, **given), Path("unused"))
    return str(error.value).replace("the CPU engine cannot run this graph: ", "").split("\n")


def test_everything_that_is_lacking_is_told():
    """Ops without a kernel, shapes that change, strange types and inputs: one error, by name."""
    told = refusal(
        ("Gather", ["embedding_VD", "ids_T"], "x_TD", {}),
        ("Det", ["square_DD"], "det", {}),
        ("Hardmax", ["x_TD"], "hard_TD", {}),
        ("Hardmax", ["hard_TD"], "harder_TD", {}),
        ("Shape", ["x_TD"], "shape", {}),
        ("Reshape", ["harder_TD", "shape"], "r_TD", {}),
        ("Cast", ["double_D"], "single_D", {"to": 1}),
        ("Gather", ["r_TD", "chosen_N"], "y_ND", {}),
        arrays={
            "embedding_VD": EMBEDDING, "square_DD": np.eye(2, dtype=np.float32),
            "double_D": np.ones(2, np.float64),
        },
        output="y_ND",
        inputs=("ids_T", "chosen_N"),
    )  # fmt: skip
    said = "\n".join(told)
    assert "it has no kernel for ai.onnx::Det, which det use" in said
    assert "it has no kernel for ai.onnx::Hardmax, which hard_TD, harder_TD use" in said
    assert "r_TD (ai.onnx::Reshape): shape shape changes with the step, it must be a" in said
    assert "the constant double_D is DOUBLE, it holds f32, " in said
    assert "the runtime has nothing to put into the graph's input chosen_N" in said


def test_odd_halves_are_refused():
    """A row of 4-bit numbers that ends within a byte has no place in the file."""
    told = refusal(
        ("Cast", ["codes_VD"], "table_VD", {"to": 1}),
        ("Gather", ["table_VD", "ids_T"], "x_TD", {}),
        arrays={"codes_VD": np.ones((4, 3), ml_dtypes.int4)}, output="x_TD", inputs=("ids_T",),
    )  # fmt: skip
    assert "codes_VD is INT4 [4,3]: rows must be whole bytes" in told


# tokens.bin


def tokens(path):
    """(bytes, special) of every token of a tokens.bin, read as its description says."""
    content = path.read_bytes()
    magic, version, count = struct.unpack("<8sII", content[:16])
    assert (magic, version) == (b"INGOTTOK", 1)
    offsets = struct.unpack(f"<{count + 1}Q", content[16 : 24 + 8 * count])
    flags, blob = content[24 + 8 * count :][:count], content[24 + 9 * count :]
    assert offsets[-1] == len(blob)
    return [(blob[a:b], flag) for a, b, flag in zip(offsets, offsets[1:], flags, strict=False)]


TEXT = "def f(x):\n\treturn '\u00e9\u4f60\U0001f600'  # \u2581 <0x41>\n"


def byte_fallback():
    """A tokenizer like Llama 2's: `▁` for a space, bytes for what no token spells."""
    bytes_ = {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, **bytes_}
    for token in ("▁", "d", "e", "f", "▁d", "ef", "é"):
        vocabulary[token] = len(vocabulary)
    merges = [("▁", "d"), ("e", "f")]
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True)
    )
    made.normalizer = tokenizers.normalizers.Replace(" ", "▁")
    d = tokenizers.decoders
    made.decoder = d.Sequence([d.Replace("▁", " "), d.ByteFallback(), d.Fuse(), d.Strip(" ", 1, 0)])
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    made.add_tokens(["return"])
    return made


@pytest.mark.parametrize("kind", ["byte level", "byte fallback"])
def test_bytes_of_tokens(kind, tiny_llama, tmp_path):
    """Joined, the bytes of a text's tokens are the text, as the tokenizer itself decodes them."""
    file = tiny_llama / "tokenizer.json"
    if kind == "byte fallback":
        byte_fallback().save(str(file := tmp_path / "tokenizer.json"))
    token_file.write(tmp_path / "tokens.bin", file)
    found, tokenizer = tokens(tmp_path / "tokens.bin"), tokenizers.Tokenizer.from_file(str(file))
    assert len(found) == tokenizer.get_vocab_size()
    text = TEXT.replace("▁ ", "") if kind == "byte fallback" else TEXT  # there it is a space
    ids = tokenizer.encode(text).ids
    assert b"".join(found[i][0] for i in ids).decode() == text
    assert tokenizer.decode(ids) == text
    assert [found[tokenizer.token_to_id(t)] for t in ("<s>", "</s>")] == [(b"", 1), (b"", 1)]


def test_decoder_of_another_kind(tmp_path):
    """A tokenizer whose tokens do not spell bytes is refused by the name of its decoder."""
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    made.decoder = tokenizers.decoders.WordPiece()
    made.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(PlanError, match=r"tokenizer\.json: its decoder is WordPiece; the bytes of"):
        token_file.write(tmp_path / "tokens.bin", tmp_path / "tokenizer.json")


# The folder as a whole.


def test_engine_of_random_weights(build):
    """The manifest names the engine; a checkpoint without a tokenizer has no tokens.bin."""
    folder = build(
        "model=llama2", "model.size=tiny", "checkpoint=random", "quant=fp8", "engine=cpu"
    )
    facts = manifest.read(folder)
    assert facts["engine"] == {"name": "cpu", "library": None}
    assert not (folder / "rank0" / "tokens.bin").exists()
    assert not (folder / "rank0" / manifest.SIDECAR).exists()
    entry = facts["files"]["rank0/weights.safetensors"]
    content = (folder / "rank0" / "weights.safetensors").read_bytes()
    assert entry["sha256"] == hashlib.sha256(content).hexdigest()
    assert list(facts["memory"]) == sorted(facts["memory"]) and all(facts["memory"].values())


def test_verify_finds_a_changed_weight(build, tmp_path):
    """One bit of a weight: the folder's own checksum names the file."""
    shutil.copytree(
        build("model=llama2", "model.size=tiny", "checkpoint=random", "quant=fp8"), tmp_path / "e"
    )
    path = tmp_path / "e" / "rank0" / "weights.safetensors"
    facts = manifest.read(tmp_path / "e")
    manifest.verify(tmp_path / "e", facts)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(PlanError, match=r"rank0/weights\.safetensors was changed"):
        manifest.verify(tmp_path / "e", facts)

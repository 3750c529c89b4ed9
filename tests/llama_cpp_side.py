"""llama.cpp's part of figures_llama_cpp.py, in a Python that has llama-cpp-python and gguf.

    PYTHON tests/llama_cpp_side.py write MODEL.gguf SIZES HEAD    a Llama of random Q4_0 weights
    PYTHON tests/llama_cpp_side.py time MODEL.gguf PROMPT TOKENS  prints seconds of a token

SIZES is config.json as text; HEAD the type of output.weight, Q6_K as llama-quantize leaves it, or
Q4_0. Q4_0: a float16 scale and 32 codes of 4 bits; Q6_K: 256 codes of 6 bits, 16 scales, a float16.
"""

import ctypes
import json
import os
import sys
import time

import numpy as np

Q4_0, Q6_K = (32, 18), (256, 210)  # weights and bytes of a block
SEED = 0


def write(path: str, sizes: str, head: str) -> None:
    import gguf

    config, rng = json.loads(sizes), np.random.default_rng(SEED)
    width, hidden, vocab = (config[k] for k in ("hidden_size", "intermediate_size", "vocab_size"))
    heads, layers = config["num_attention_heads"], config["num_hidden_layers"]
    groups = config.get("num_key_value_heads", heads)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups)
    writer.add_rope_dimension_count(width // heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(vocab)
    writer.add_tokenizer_model("no_vocab")
    kinds = gguf.GGMLQuantizationType

    def add(name: str, rows: int, columns: int, kind: str = "Q4_0") -> None:
        held, size = Q4_0 if kind == "Q4_0" else Q6_K
        blocks = rng.integers(0, 256, (rows, columns // held, size), np.uint8)
        scale = np.float16(0.5 / columns**0.5 / (1 if kind == "Q4_0" else 64))
        place = 0 if kind == "Q4_0" else size - 2  # where a block's float16 stands
        blocks[..., place : place + 2] = np.frombuffer(scale.tobytes(), np.uint8)
        writer.add_tensor(name, blocks.reshape(rows, -1), raw_dtype=kinds[kind])

    def norm(name: str) -> None:
        writer.add_tensor(name, np.ones(width, np.float32))

    add("token_embd.weight", vocab, width)
    for i in range(layers):
        norm(f"blk.{i}.attn_norm.weight")
        norm(f"blk.{i}.ffn_norm.weight")
        for part, rows in (("q", width), ("k", width // heads * groups),
                           ("v", width // heads * groups), ("output", width)):  # fmt: skip
            add(f"blk.{i}.attn_{part}.weight", rows, width)
        add(f"blk.{i}.ffn_gate.weight", hidden, width)
        add(f"blk.{i}.ffn_up.weight", hidden, width)
        add(f"blk.{i}.ffn_down.weight", width, hidden)
    norm("output_norm.weight")
    add("output.weight", vocab, width, head)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def timed(path: str, prompt: int, tokens: int) -> None:
    import llama_cpp as c

    quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    c.llama_log_set(quiet, None)
    c.llama_backend_init()
    model = c.llama_model_load_from_file(path.encode(), c.llama_model_default_params())
    assert model, path
    options = c.llama_context_default_params()
    options.n_ctx, options.n_threads, options.n_threads_batch = 512, *[os.cpu_count()] * 2
    context = c.llama_init_from_model(model, options)
    vocab = c.llama_vocab_n_tokens(c.llama_model_get_vocab(model))

    def step(ids: list[int]) -> int:
        array = (c.llama_token * len(ids))(*ids)
        assert c.llama_decode(context, c.llama_batch_get_one(array, len(ids))) == 0
        logits = np.ctypeslib.as_array(c.llama_get_logits_ith(context, -1), (vocab,))
        return int(logits.argmax())

    last = step(np.random.default_rng().integers(3, vocab, prompt).tolist())
    begun = time.perf_counter()
    for _ in range(tokens):
        last = step([last])
    print((time.perf_counter() - begun) / tokens)


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(*sys.argv[2:])
    else:
        timed(sys.argv[2], *map(int, sys.argv[3:]))

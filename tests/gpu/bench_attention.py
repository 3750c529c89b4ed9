"""How fast PagedAttention is on CUDA.

python tests/gpu/bench_attention.py    decode: microseconds, and TB/s of the keys and values read;
                                       prefill: TFLOP/s of the products that causal attention
                                       needs; with the kernel that was asked for
"""

import numpy as np
from ml_dtypes import bfloat16, float8_e4m3fn

from core import native

PAGE, SIZE, HEADS = 64, 128, 32
MOST_BYTES = 3 << 30  # of both caches


def step(sequences, length, new, groups, dtype):
    """(line, inputs, outputs): sequences of `length` tokens, the last `new` of which are new."""
    T, columns = sequences * new, -(-length // PAGE)
    pages = 1 + np.random.default_rng(0).permutation(sequences * columns).astype(np.int32)
    pages = pages.reshape(sequences, columns)
    positions = np.tile(np.arange(length - new, length, dtype=np.int32), sequences)
    owner = np.repeat(np.arange(sequences, dtype=np.int32), new)
    cells = pages[owner, positions // PAGE] * PAGE + positions % PAGE
    caches = [np.zeros((pages.size + 1, groups, PAGE, SIZE), dtype) for _ in "kv"]
    q, k, v = (np.ones((T, n * SIZE), bfloat16) for n in (HEADS, groups, groups))
    inputs = [
        q, k, v, *caches, pages, cells.astype(np.int32), positions, owner,
        np.zeros(HEADS, np.float32), np.full(HEADS, -np.inf, np.float32),
    ]  # fmt: skip
    line = (
        "op n ingot::PagedAttention@1"
        " in=q,k,v,ck,cv,pages,cells,positions,sequences,slopes,sinks out=y,ck,cv"
        f" heads=i:{HEADS} groups=i:{groups} scale=f:{SIZE**-0.5!r} softcap=f:0.0 window=i:0"
    )
    return line, inputs, [np.zeros_like(q), *caches]


def main():
    print(f"{'step':18} {'groups':>6} {'cache':14} {'kernel':7} {'µs':>9}")
    for dtype in map(np.dtype, (bfloat16, float8_e4m3fn)):
        for groups in (32, 8):
            for sequences, length in ((1, 2048), (16, 512), (1, 8192)):
                # A pair of token and key that it sees: two products of SIZE elements a head.
                work = sequences * length * (length + 1) / 2 * HEADS * SIZE * 4
                for kernel in ("tiles", "rows") if length < 8192 else ("tiles",):
                    made = step(sequences, length, length, groups, dtype)
                    seconds = native.time_op(*made, kernel=kernel, repeat=3).seconds
                    show(f"prefill {sequences} x {length}", groups, dtype, kernel, seconds)
                    print(f" {work / seconds / 1e12:8.1f} TFLOP/s")
            for sequences in (1, 8, 64, 256):
                for length in (160, 640, 2048):
                    size = 2 * sequences * length * groups * SIZE * dtype.itemsize
                    if size > MOST_BYTES:
                        continue
                    made = step(sequences, length, 1, groups, dtype)
                    seconds = native.time_op(*made, kernel="tiles", repeat=5).seconds
                    show(f"decode {sequences} x {length}", groups, dtype, "tiles", seconds)
                    print(f" {size / seconds / 1e12:8.2f} TB/s")


def show(name, groups, dtype, kernel, seconds):
    cells = f"{name:18} {groups:6} {dtype.name:14} {kernel:7} {seconds * 1e6:9.1f}"
    print(cells, end="", flush=True)


if __name__ == "__main__":
    main()

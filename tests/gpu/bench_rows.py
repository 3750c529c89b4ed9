"""How long the row ops of Llama-2-7B take on CUDA, and what share of the memory's speed that is.

python tests/gpu/bench_rows.py [OP…]      microseconds a call, and bytes read and written in that
                                          time as a share of 4.57 TB/s, what an H200 can copy at
"""

import sys

import numpy as np
from ml_dtypes import bfloat16, float8_e4m3fn

from core import native

BANDWIDTH = 4.57e12
D, F, V, H, K, L = 4096, 11008, 32000, 32, 128, 4096
F32, BF16, F8 = (np.dtype(kind) for kind in (np.float32, bfloat16, float8_e4m3fn))


def ops(T):
    """(line, inputs, outputs) of each op with T tokens."""
    rng = np.random.default_rng(0)

    def x(*shape):
        return rng.standard_normal(shape, np.float32).astype(BF16)

    def empty(*shape, dtype=BF16):
        return np.zeros(shape, dtype)

    codes, scale = empty(T, D, dtype=F8), empty(T, dtype=F32)
    tables = [rng.standard_normal((L, K // 2), np.float32) for _ in range(2)]
    positions, ids = (rng.integers(0, n, T).astype(np.int32) for n in (L, V))
    rotate = f"op n ingot::Rotate in=x,c,s,p out=y heads=i:{H}"
    gate = "in=x out=y activation=s:silu"
    return [
        ("op n ::RMSNormalization in=x,w out=y", [x(T, D), x(D)], [empty(T, D)]),
        ("op n ingot::AddRmsNorm in=x,r,w out=s,y", [x(T, D), x(T, D), x(D)], [empty(T, D)] * 2),
        ("op n ingot::RmsNormQuantize in=x,w out=c,q", [x(T, D), x(D)], [codes, scale]),
        (
            "op n ingot::AddRmsNormQuantize in=x,r,w out=s,c,q",
            [x(T, D), x(T, D), x(D)],
            [empty(T, D), codes, scale],
        ),
        ("op n ingot::QuantizeToken in=x out=c,q", [x(T, D)], [codes, scale]),
        (f"op n ingot::Gate {gate}", [x(T, 2 * F)], [empty(T, F)]),
        (
            f"op n ingot::GateQuantize {gate}".replace("=y", "=c,q"),
            [x(T, 2 * F)],
            [empty(T, F, dtype=F8), scale],
        ),
        (rotate, [x(T, D), *tables, positions], [empty(T, D)]),
        ("op n ::Gather in=t,i out=y", [x(V, D), ids], [empty(T, D)]),
        (
            "op n ::Split in=x,s out=q,k,v axis=i:-1",
            [x(T, 3 * D), np.array([D] * 3, np.int64)],
            [empty(T, D)] * 3,
        ),
        ("op n ::Cast in=x out=y to=d:f32", [x(min(T, 64), V)], [empty(min(T, 64), V, dtype=F32)]),
        ("op n ::LayerNormalization in=x,w,b out=y", [x(T, D), x(D), x(D)], [empty(T, D)]),
        ("op n ::Add in=x,r out=y", [x(T, D), x(T, D)], [empty(T, D)]),
    ]


def bytes_of(op, inputs, outputs, T):
    """What has to pass: of tables, the rows that are taken."""
    tables = {"Gather": [T * D * 2], "Rotate": [0, T * K * 2, T * K * 2]}.get(op, [])
    read = [array.nbytes for array in inputs]
    read[: len(tables)] = [table or size for table, size in zip(tables, read, strict=False)]
    return sum(read) + sum(array.nbytes for array in outputs)


def main(wanted):
    print(f"{'op':20} {'kernel':10} {'T':>5} {'µs':>8} {'of 4.57 TB/s':>13}")
    for T in (1, 64, 2048):
        for line, inputs, outputs in ops(T):
            op = line.split("::")[1].split()[0]
            if wanted and op not in wanted:
                continue
            time = native.time_op(line, inputs, outputs)
            share = bytes_of(op, inputs, outputs, T) / time.seconds / BANDWIDTH
            print(f"{op:20} {time.kernel:10} {T:5} {time.seconds * 1e6:8.2f} {share:13.1%}")


if __name__ == "__main__":
    main(sys.argv[1:])

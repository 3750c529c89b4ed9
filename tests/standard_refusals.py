"""Wrong uses of standard op rows, and a part of each refusal, for test_ops_standard.py."""

from __future__ import annotations

from standard_cases import I8, I32, case, data, host, one, x

REFUSALS = [
    (case("Add", x(2, 3), x(4)), "input 1 is [4], which does not broadcast with [2,3]"),
    (case("Mod", x(2), x(2)), "fmod is 0, it must be 1 for f32"),
    (case("BitShift", x(2, word="u8"), x(2, word="u8"), direction="UP"), "direction is 'UP'"),
    (case("Gelu", x(2), approximate="erf"), "approximate is 'erf', it must be none or tanh"),
    (case("Clip", x(2), x(2)), "min is [2], it must be one number"),
    (
        case("Reshape", x(2, 3), host(4, -1)),
        "data is [2,3], that are 6 elements; they do not fit into [4,1]",
    ),
    (case("Reshape", x(2, 3), host(-1, -1)), "shape has -1 at 1"),
    (case("Reshape", x(4), host(2**62, 2**62)), "they do not fit into"),
    (case("Tile", x(9), host(2**62)), "an absurd size"),
    (case("Expand", x(1), host(2**62, 2**62)), "an absurd size"),
    (case("Pad", x(9), host(2**62, 2**62)), "an absurd size"),
    (case("Split", x(6), host(2**62, 2**62), outputs=2), "split adds up to"),
    (case("Reshape", x(2), host(2, 0)), "shape has 0 at 1, data [2] has no such dimension"),
    (case("Reshape", x(0, 2), host(0, -1), allowzero=1), "shape has both 0 and -1"),
    (case("Squeeze", x(2, 1), host(0)), "axes name 0, data is [2,1]"),
    (case("Unsqueeze", x(2), host(0, 0)), "axes name the axis 0 twice"),
    (case("Flatten", x(2), axis=3), "axis is 3, it must be from -1 to 0"),
    (
        case("Transpose", x(2, 3), perm=[0, 0]),
        "perm has 0; it must name each axis from 0 to 1 once",
    ),
    (case("Transpose", x(2, 3), perm=[0]), "perm has 1 axes, data [2,3] has 2"),
    (
        case("Expand", x(2, 3), host(4)),
        "input is [2,3], which does not broadcast with the shape [4]",
    ),
    (case("Tile", x(2, 3), host(4)), "repeats has 1 numbers, input [2,3] has 2 dimensions"),
    (case("Slice", x(3), host(0), host(1), None, host(0)), "steps has 0"),
    (
        case("Slice", x(3), host(0, 0), host(1, 1)),
        "starts, ends, axes and steps must be of one length",
    ),
    (case("Split", x(6)), "either split or num_outputs must be given"),
    (case("Split", x(6), host(2, 2), outputs=2), "split adds up to 4, input [6] has 6 at axis 0"),
    (
        case("Split", x(6), num_outputs=3, outputs=2),
        "it splits into 3 parts, the node has 2 outputs",
    ),
    (
        case("Concat", x(2, 3), x(2, 4), axis=0),
        "input 1 is [2,4] and input 0 [2,3]; they may differ at axis 0 only",
    ),
    (
        case("Gather", x(2), data([2], "i64")),
        "indices has 2 at place 0; data has the places -2 to 1 there",
    ),
    (case("Gather", x(2), data([0], "i64"), axis=1), "axis is 1, it must be from -1 to 0"),
    (
        case("GatherElements", x(2, 2), data([0], "i64")),
        "indices is [1], it must have the rank of data [2,2]",
    ),
    (
        case("GatherND", x(2, 2), data([[2]], "i64")),
        "indices has 2 at place 0, which data does not have",
    ),
    (
        case("GatherND", x(2), data([[0, 0]], "i64")),
        "indices [1,2] with batch_dims = 0 do not fit data [2]",
    ),
    (case("ScatterND", x(2), data([[-3]], "i64"), x(1)), "indices has -3 at place 0"),
    (
        case("ScatterND", x(2), data([[0]], "i64"), x(1), reduction="add"),
        "reduction is 'add', only 'none' is computed",
    ),
    (
        case("ScatterND", x(2), data([[0]], "i64"), x(2)),
        "an update for each tuple of indices is wanted",
    ),
    (case("ScatterElements", x(2), data([0], "i64"), x(2)), "the last two must be alike"),
    (
        case("Pad", x(2), host(1, 1), mode="reflect"),
        "mode is 'reflect', only 'constant' is computed",
    ),
    (case("Pad", x(2), host(1)), "pads has 1 numbers, it must have 2 for each of 1 axes"),
    (case("Pad", x(2), host(-3, 0)), "pads take more from data [2] at axis 0 than there is"),
    (
        case("Range", one(0), one(3), one(0)),
        "start, limit and delta must be one number each, and delta not 0",
    ),
    (case("ConstantOfShape", host(-1)), "input has -1"),
    (case("OneHot", data([0], "i64"), one(-1), x(2)), "depth is -1, it must be 0 or more"),
    (case("Trilu", x(2)), "input is [2], it must be a matrix or a batch of them"),
    (case("CumSum", x(2), one(1)), "axis is 1, it must be from -1 to 0"),
    (case("TopK", x(2), host(3), outputs=2), "K is 3 (1 numbers), it must be one from 0 to 2"),
    (case("ArgMax", x(0)), "data is [0], it has no largest element at axis 0"),
    (case("ReduceSum", x(2), host(1)), "one of axes is 1, it must be from -1 to 0"),
    (
        case("RMSNormalization", x(2, 3), x(2)),
        "scale is [2], it must be one number or as X [2,3] is from axis 1 on",
    ),
    (
        case("LayerNormalization", x(2, 3), x(3), stash_type=16),
        "stash_type is 16, only 1 (float32) is computed",
    ),
    (case("MatMul", x(2, 3), x(2, 3)), "A has 3 columns, B 2 rows"),
    (case("MatMul", x(), x(2, 3)), "A is [scalar] and B [2,3], neither may be a scalar"),
    (case("Gemm", x(2, 3), x(2, 3)), "two matrices that can be multiplied are wanted"),
    (case("Gemm", x(2, 3), x(3, 2), x(3)), "C is [3], which does not broadcast to [2,2]"),
    (
        case("QuantizeLinear", x(2, 3), x(2)),
        "the scale is [2], it must be one number or a vector of 3, as x [2,3] at axis 1",
    ),
    (
        case("QuantizeLinear", x(2, 3), x(2, 3), block_size=2),
        "with block_size = 2 at axis 1 it must be as x",
    ),
    (
        case("QuantizeLinear", x(2), x(), output_dtype=I32),
        "output_dtype is i32, it must be u8, i8, u4, i4, f8e4m3 or f8e5m2",
    ),
    (
        case("QuantizeLinear", x(2), x(), x(word="u8"), output_dtype=I8),
        "output_dtype is i8 and the zero point u8",
    ),
    (
        case("DequantizeLinear", x(2, word="u8"), x(), x(2, word="u8")),
        "the zero point is [2], it must be as the scale [scalar]",
    ),
    (
        case("RotaryEmbedding", x(1, 2, 8), x(1, 2, 4), x(1, 2, 4)),
        "num_heads is 0, X [1,2,8] cannot be divided by it",
    ),
    (
        case("RotaryEmbedding", x(1, 1, 1, 8), x(3, 4), x(3, 4), data([[3]], "i64")),
        "position_ids has 3 at place 0",
    ),
    (case("Attention", x(1, 2, 8), x(1, 2, 8), x(1, 2, 8)), "with q_num_heads and kv_num_heads"),
    (
        case("Attention", x(1, 3, 2, 8), x(1, 2, 2, 8), x(1, 2, 2, 8)),
        "with query heads a multiple of the key heads",
    ),
    (
        case("Attention", x(1, 1, 2, 8), x(1, 1, 2, 8), x(1, 1, 2, 8), x(3, 2)),
        "attn_mask is [3,2], it must broadcast to [1,1,2,2]",
    ),
]

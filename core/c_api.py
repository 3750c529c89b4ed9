"""kernels/include/ingot.h for ctypes: its structs, and the types of its functions."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_double, c_float, c_int32, c_int64, c_uint64, c_void_p


class Sized(ctypes.Structure):
    """A struct that begins with its size, so that the library knows which fields its caller has."""

    def __init__(self, **values):
        super().__init__(size=ctypes.sizeof(type(self)), **values)


class Options(Sized):
    _fields_ = [
        ("size", ctypes.c_uint32),
        ("threads", c_int32),
        ("cache_bytes", c_int64),
        ("max_sequences", c_int32),
        ("token_budget", c_int32),
        ("verify_weights", c_int32),
        ("kernels", c_char_p),
        ("profile", c_int32),
        ("policy", c_char_p),
        ("lag", c_int32),
        ("cache_fraction", ctypes.c_double),
        ("device", c_int32),
        ("tune", c_int32),
        ("eager", c_int32),
    ]


class Request(Sized):
    _fields_ = [
        ("size", ctypes.c_uint32),
        ("ids", POINTER(c_int32)),
        ("n_ids", c_int32),
        ("max_tokens", c_int32),
        ("min_tokens", c_int32),
        ("temperature", c_float),
        ("top_p", c_float),
        ("top_k", c_int32),
        ("seed", c_uint64),
        ("logprobs", c_int32),
        ("ignore_eos", c_int32),
        ("stop_ids", POINTER(c_int32)),
        ("n_stop_ids", c_int32),
        ("stops", POINTER(c_char_p)),
        ("n_stops", c_int32),
        ("logits", POINTER(c_float)),
        ("priority", c_int32),
        ("bias_ids", POINTER(c_int32)),
        ("bias_values", POINTER(c_float)),
        ("n_bias", c_int32),
        ("repetition_penalty", c_float),
        ("presence_penalty", c_float),
        ("frequency_penalty", c_float),
        ("no_repeat_ngram_size", c_int32),
        ("n_bad_words", c_int32),
        ("bad_words", POINTER(c_int32)),
        ("bad_word_lengths", POINTER(c_int32)),
        ("min_p", c_float),
        ("n_prompt_top", c_int32),
        ("prompt_logprobs", POINTER(c_float)),
        ("prompt_top_ids", POINTER(c_int32)),
        ("prompt_top_logprobs", POINTER(c_float)),
        ("hidden", POINTER(c_float)),
        ("n", c_int32),
        ("best_of", c_int32),
        ("beam_width", c_int32),
        ("early_stopping", c_int32),
        ("length_penalty", c_float),
        ("no_reuse", c_int32),
        ("salt", c_char_p),
        ("embeddings", POINTER(c_float)),
    ]


class Event(Sized):
    _fields_ = [
        ("size", ctypes.c_uint32),
        ("kind", c_int32),
        ("request", c_uint64),
        ("token", c_int32),
        ("finish", c_int32),
        ("logprob", c_float),
        ("n_top", c_int32),
        ("top_ids", POINTER(c_int32)),
        ("top_logprobs", POINTER(c_float)),
        ("text", c_void_p),
        ("text_bytes", c_int32),
        ("prompt_tokens", c_int32),
        ("cached_tokens", c_int32),
        ("generated_tokens", c_int32),
        ("queued_s", c_double),
        ("first_token_s", c_double),
        ("total_s", c_double),
        ("index", c_int32),
        ("score", c_float),
    ]


class Array(ctypes.Structure):
    _fields_ = [
        ("data", c_void_p),
        ("shape", c_int64 * 8),
        ("dtype", c_int32),
        ("rank", c_int32),
    ]


class DeviceRun(Sized):
    _fields_ = [
        ("size", ctypes.c_uint32),
        ("device", c_char_p),
        ("ordinal", c_int32),
        ("kernel", c_char_p),
        ("tactic", c_int32),
        ("repeat", c_int32),
        ("tactics", c_int32),
        ("seconds", c_double),
        ("chosen", ctypes.c_char * 64),
    ]


SIGNATURES = {
    "ingot_abi": (c_int32, []),
    "ingot_version": (c_char_p, []),
    "ingot_last_error": (c_char_p, []),
    "ingot_op_table": (c_void_p, [c_char_p]),
    "ingot_free": (None, [c_void_p]),
    "ingot_open": (c_int32, [c_char_p, POINTER(Options), POINTER(c_void_p)]),
    "ingot_close": (None, [c_void_p]),
    "ingot_describe": (c_void_p, [c_void_p]),
    "ingot_statistics": (c_void_p, [c_void_p]),
    "ingot_submit": (c_int32, [c_void_p, POINTER(Request), POINTER(c_uint64)]),
    "ingot_cancel": (c_int32, [c_void_p, c_uint64]),
    "ingot_poll": (c_int32, [c_void_p, POINTER(Event), c_int32, c_double]),
    "ingot_run_op": (
        c_int32,
        [c_char_p, c_char_p, c_char_p, c_int32, POINTER(Array), c_int32, POINTER(Array), c_int32],
    ),
    "ingot_infer_op": (
        c_int32,
        [c_char_p, c_char_p, POINTER(Array), c_int32, POINTER(Array), c_int32],
    ),
    "ingot_devices": (c_void_p, []),
    "ingot_run_op_on": (
        c_int32,
        [
            c_char_p,
            c_char_p,
            POINTER(DeviceRun),
            POINTER(Array),
            c_int32,
            POINTER(Array),
            c_int32,
        ],
    ),
    "ingot_measure_on": (
        c_int32,
        [c_char_p, c_int32, c_char_p, c_double, POINTER(c_double)],
    ),
    "ingot_measure": (c_int32, [c_char_p, c_int32, c_double, POINTER(c_double)]),
    "ingot_random": (c_int32, [c_uint64, c_uint64, c_uint64, c_float, c_int32, c_void_p]),
}

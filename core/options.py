"""How an engine is opened: its folder and the runtime's options, judged before C sees them.

ctypes cuts a number that does not fit its C type, so each is compared with that type's range here;
what the engine can do with it is for the runtime to judge.
"""

from __future__ import annotations

import os
from pathlib import Path

from . import native
from .command import ArgumentError, MachineError
from .values import flag, integer

KERNELS = ("auto", "batch_invariant", "avx512", "avx2", "portable", "naive")
TUNE = ("never", "time", "bake")  # by number
POLICIES = ("max_utilization", "guaranteed_no_evict")


def folder(directory: str | os.PathLike) -> Path:
    """The path of an engine folder; `~` is the home.

    Raises:
        ArgumentError: it is no path.
    """
    path = os.path.expanduser(os.fspath(directory))
    if not isinstance(path, str) or "\0" in path:
        raise ArgumentError(f"engine={directory!r}: a path is a text without NUL characters")
    return Path(path)


def options_struct(
    threads: int,
    cache_bytes: int | None,
    max_sequences: int,
    token_budget: int,
    kernels: str,
    verify: bool,
    profile: bool,
    policy: str,
    lag: int | None,
    cache_fraction: float | None = None,
    device: int = 0,
    tune: str = "time",
    graphs: bool = True,
) -> native.Options:
    """The C struct.

    Raises:
        ArgumentError: a value is of another type, or does not fit its C type.
        MachineError: there is not as much memory.
    """
    if kernels not in KERNELS:
        raise ArgumentError(f"kernels is {kernels!r}; it must be one of {', '.join(KERNELS)}")
    if policy not in POLICIES:
        raise ArgumentError(f"policy is {policy!r}; it must be one of {', '.join(POLICIES)}")
    cache_bytes = integer("cache_bytes", 0 if cache_bytes is None else cache_bytes, 0, 2**63 - 1)
    if tune not in TUNE:
        raise ArgumentError(f"tune is {tune!r}; it must be one of {', '.join(TUNE)}")
    if cache_bytes > (memory := os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")):
        largest = max([memory, *(known["memory_bytes"] for known in native.devices())])
        if cache_bytes > largest:
            raise MachineError(
                f"cache_bytes is {cache_bytes}; this machine has {largest} bytes of memory"
            )
    return native.Options(
        threads=integer("threads", threads, 0, 4096, " (0: one for each core)"),
        cache_bytes=cache_bytes,
        max_sequences=integer("max_sequences", max_sequences, 0, 2**31 - 1, " (0: all)"),
        token_budget=integer("token_budget", token_budget, 0, 2**31 - 1, " (0: all)"),
        verify_weights=int(flag("verify", verify)),
        kernels=kernels.encode(),
        profile=int(flag("profile", profile)),
        policy=policy.encode(),
        lag=-1 if lag is None else integer("lag", lag, 0, 2, " steps (null: the engine's own)"),
        cache_fraction=_fraction(cache_fraction),
        device=integer("device", device, 0, 1023, ", which GPU"),
        tune=TUNE.index(tune),
        eager=int(not flag("graphs", graphs)),
    )


def _fraction(given: float | None) -> float:
    """A part of the memory; 0 stands for the runtime's own."""
    if given is None:
        return 0.0
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= 1:
        raise ArgumentError(f"cache_fraction is {given!r}; it must be above 0 and at most 1")
    return float(given)

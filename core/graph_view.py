"""Serve a rank's lowered graph in netron, a viewer of models, on this machine's loopback only."""

from __future__ import annotations

import logging
from pathlib import Path

from .command import ConfigError, MachineError
from .values import integer

LOOPBACK = "127.0.0.1"


def serve(folder: Path, rank: int) -> None:
    """Prints the address of the page and serves it until Ctrl-C.

    Raises:
        MachineError: netron is not installed.
        ConfigError: the engine has no such rank, or it no graph.
    """
    graph = folder / f"rank{integer('rank', rank, 0, 1 << 16)}" / "graph.onnx"
    if not graph.is_file():
        raise ConfigError(f"rank={rank}: {graph} is not there; choose a rank of this engine")
    try:
        import netron
    except ImportError as error:
        raise MachineError(
            f"view=true needs netron, which cannot be imported ({error}); run `pip install netron`"
        ) from error
    logging.getLogger("netron").setLevel(logging.WARNING)
    host, port = netron.start(str(graph), address=(LOOPBACK, 0), browse=False)
    print(f"{graph} is at http://{host}:{port} until Ctrl-C", flush=True)
    netron.wait()  # returns at Ctrl-C

"""Where pip put NVIDIA's libraries: the CUDA half looks for cuBLASLt in INGOT_CUDA_LIBRARIES."""

from __future__ import annotations

import os
import sys
from pathlib import Path

VARIABLE = "INGOT_CUDA_LIBRARIES"
# The packages nvidia-cublas (CUDA 13) and nvidia-cublas-cu12.
FOLDERS = ("nvidia/cu13/lib", "nvidia/cublas/lib")


def name_folders() -> None:
    """INGOT_CUDA_LIBRARIES names those folders below sys.path, unless the user set it."""
    if VARIABLE in os.environ:
        return
    places = [Path(entry or ".") / folder for folder in FOLDERS for entry in sys.path]
    found = [str(place.resolve()) for place in places if place.is_dir()]
    if found:
        os.environ[VARIABLE] = ":".join(dict.fromkeys(found))

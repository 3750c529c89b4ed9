"""Where the CUDA half is told to look for NVIDIA's libraries."""

import os
import sys

from core import cuda_libraries


def test_names_the_folders_of_pip(tmp_path, monkeypatch):
    """The folder of nvidia-cublas below an entry of sys.path is named, CUDA 13's before 12's."""
    monkeypatch.setenv(cuda_libraries.VARIABLE, "")
    monkeypatch.delenv(cuda_libraries.VARIABLE)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "a"), str(tmp_path / "b")])
    older, newer = tmp_path / "a/nvidia/cublas/lib", tmp_path / "b/nvidia/cu13/lib"
    older.mkdir(parents=True)
    newer.mkdir(parents=True)

    cuda_libraries.name_folders()

    assert f"{newer}:{older}" == os.environ[cuda_libraries.VARIABLE]


def test_leaves_what_the_user_named(monkeypatch):
    """Folders that the user named stay alone."""
    monkeypatch.setenv(cuda_libraries.VARIABLE, "/mine")

    cuda_libraries.name_folders()

    assert os.environ[cuda_libraries.VARIABLE] == "/mine"

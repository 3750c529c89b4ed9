"""A stranger's package: built as a wheel, installed beside ours in a fresh environment, and used
from another directory."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

TOP_LEVEL = {"core", "plugins", "conf"}


def run(*command, cwd, **environment):
    """The finished process; an error shows what it printed."""
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=900,
        env={**os.environ, **environment},
    )  # fmt: skip
    return done


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """(ours, the stranger's)."""
    folder = tmp_path_factory.mktemp("wheels")
    made = []
    theirs = shutil.copytree(ROOT / "tests" / "third_party", folder / "source")
    for source in (ROOT, theirs):
        done = run(
            sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source,
            cwd=folder, CMAKE_BUILD_PARALLEL_LEVEL="2",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for name in ("ingot", "acme_nf4"):
        made += folder.glob(f"{name}-*.whl")
    return made


@pytest.fixture(scope="module")
def python(wheels, tmp_path_factory):
    """The interpreter of an environment with both wheels; what they depend on is this one's."""
    folder = tmp_path_factory.mktemp("environment")
    assert run(sys.executable, "-m", "venv", folder, cwd=folder).returncode == 0
    interpreter = folder / "bin" / "python"
    done = run(interpreter, "-m", "pip", "install", "--no-deps", "--no-index", *wheels, cwd=folder)
    assert done.returncode == 0, done.stderr
    place = run(
        interpreter, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder
    )
    # A plain path: the .pth files there, of editable installs, are not read.
    dependencies = Path(place.stdout.strip()) / "dependencies.pth"
    dependencies.write_text(sysconfig.get_path("purelib") + "\n")
    return interpreter


def test_wheels_hold_what_they_should(wheels):
    """Ours installs core, plugins and conf for any Python 3, with the compiled half inside."""
    ours, theirs = wheels
    with zipfile.ZipFile(ours) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == TOP_LEVEL
    assert ours.name.split("-")[2:4] == ["py3", "none"]
    assert "core/_native/libingot.so" in names
    assert "core/_native/include/ingot_op.h" in names
    assert not [name for name in names if name.startswith("core/") and "test" in name]
    with zipfile.ZipFile(theirs) as archive:
        assert "acme_nf4/conf/quant/nf4.yaml" in archive.namelist()


def test_a_strangers_quantization(python, tmp_path, tiny_llama):
    """quant=nf4 builds and generates elsewhere, and changes every product but the head."""
    imported = run(python, "-c", "import core; print(core.__file__)", cwd=tmp_path)
    assert str(python.parent.parent) in imported.stdout, imported.stdout + imported.stderr

    done = run(
        python, "-m", "core.build", "model=llama2", "quant=nf4", "quant.block=32",
        f"checkpoint={tiny_llama}", "out=nf4", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "quant.nf4: 42 quantized, 1 left" in done.stdout
    done = run(
        python.parent / "ingot",
        "run",
        "engine=nf4",
        "prompt=def read(",
        "max_tokens=8",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nf4"]


def test_a_strangers_numbers(python, tmp_path, tiny_llama):
    """The engine's logits are transformers' on weights that numpy rounded to NF4."""
    import torch
    import transformers

    sys.path.insert(0, str(ROOT / "tests" / "third_party"))
    try:
        from acme_nf4 import LEVELS, encode
    finally:
        sys.path.pop(0)
    done = run(
        python, "-m", "core.build", "model=llama2", "quant=nf4", f"checkpoint={tiny_llama}",
        "dtype=float32", "out=nf4", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    ids = [1, 532, 1084, 77, 300, 12]
    done = run(
        python, "-c",
        f"import numpy, core; numpy.save('l.npy', core.Engine('nf4').logits({ids}))", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    got_LV = np.load(tmp_path / "l.npy")

    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    for name, weight in model.named_parameters():
        if weight.ndim == 2 and ".layers." in f".{name}":
            codes_FNB, scale_FN1 = encode(weight.detach().numpy(), 64)
            weight.data = torch.tensor((LEVELS[codes_FNB] * scale_FN1).reshape(weight.shape))
    with torch.no_grad():
        want_LV = model(torch.tensor([ids])).logits[0].numpy()
    # Measured 1e-5: the order of summation in float32.
    assert np.abs(got_LV - want_LV).max() / want_LV.std() < 1e-4


def test_installing_changes_nothing(python, tmp_path, tiny_llama):
    """A build that does not name the stranger's plugin never imports its package."""
    done = run(
        python, "-X", "importtime", "-m", "core.build", "model=llama2", f"checkpoint={tiny_llama}",
        "out=plain", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "acme_nf4" not in done.stderr
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert not imported & {"torch", "transformers", "tensorrt"}

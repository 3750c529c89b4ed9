"""An engine folder that was changed, and sealed again, is refused by a sentence or works."""

import subprocess
import sys
from pathlib import Path

COUNT = 250


def test_changed_engines_are_refused_or_work(build, tiny_llama, tmp_path):
    """No change of a manifest, plan, table of tokens or header ends in a signal or a traceback."""
    engine = build("model=llama2", f"checkpoint={tiny_llama}")
    done = subprocess.run(
        [sys.executable, Path(__file__).parent / "edited_engines.py", engine, "0", str(COUNT)],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"after {lines[-1:]}: {done.returncode} {done.stderr[-2000:]}"
    assert len(lines) == COUNT
    works = sum(line.endswith(" ok") for line in lines)
    assert 0 < works < COUNT / 2

"""An engine folder that appears whole or not at all.

It is written beside its place under a hidden name, which is also the lock against a second build,
and takes its place by one rename. Whatever ends the build, the hidden folder goes.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .command import ConfigError, MachineError

MANIFEST = "engine.json"
LOCK = ".lock"
EXCHANGE = 2  # renameat2: RENAME_EXCHANGE
HERE = -100  # AT_FDCWD


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """A folder to write into; it becomes `out` when the block ends without an error.

    Raises:
        ConfigError: `out` is something else than an engine folder or an empty one.
        MachineError: another build of `out` is running.
    """
    place = Path(os.path.realpath(out))
    _check_replaceable(out, place)
    place.parent.mkdir(parents=True, exist_ok=True)
    hidden = place.parent / f".{place.name}.building"
    lock = _locked(hidden, out)
    try:
        yield hidden
        os.unlink(hidden / LOCK)
        _check_replaceable(out, place)
        _replace(hidden, place)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        os.close(lock)


def _check_replaceable(out: Path, place: Path) -> None:
    if not os.path.lexists(place):
        return
    if not place.is_dir():
        raise ConfigError(f"out={out} is a file; name a folder that does not exist yet")
    if any(place.iterdir()) and not (place / MANIFEST).is_file():
        raise ConfigError(
            f"out={out} exists and is not an engine folder (it has no {MANIFEST}), so it is not "
            "replaced; choose another folder, or remove it yourself"
        )


def _locked(hidden: Path, out: Path) -> int:
    """The hidden folder is new and ours; what a killed build left there is gone."""
    for _ in range(2):
        try:
            hidden.mkdir()
        except FileExistsError:
            try:
                lock = os.open(hidden / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            except FileNotFoundError:
                continue
            if not _take(lock):
                break
            shutil.rmtree(hidden)
            os.close(lock)
            continue
        lock = os.open(hidden / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        if _take(lock):
            return lock
        break
    raise MachineError(f"out={out} is being built by another process; wait for it, or name another")


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    return True


def _replace(new: Path, place: Path) -> None:
    """`new` stands at `place`, and what stood there is at `new`, to be removed."""
    if not place.exists():
        os.rename(new, place)
        return
    if not any(place.iterdir()):
        os.rmdir(place)
        os.rename(new, place)
    elif not _exchange(new, place):
        aside = new.with_suffix(".replaced")
        os.rename(place, aside)
        os.rename(new, place)
        shutil.rmtree(aside)


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two folders in one step; False where the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    if renameat2(HERE, os.fsencode(one), HERE, os.fsencode(other), EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(other))

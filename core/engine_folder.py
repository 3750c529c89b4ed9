"""An engine folder that appears whole or not at all.

It is written beside its place under a hidden name, which is also the lock against a second build,
and takes its place by one rename. Whatever ends the build, the hidden folder goes.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .command import ConfigError, MachineError

MANIFEST = "engine.json"
SEAL = b'{"sha256":"'  # with which a manifest begins
LOCK = ".lock"
DUMP = "dump"  # graphs that dump=true keeps; no part of the engine
SHOWN = 3  # names in a sentence
EXCHANGE = 2  # renameat2: RENAME_EXCHANGE
HERE = -100  # AT_FDCWD


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """A folder to write into; it becomes `out` when the block ends without an error.

    Raises:
        ConfigError: `out` is something else than an engine folder or an empty one.
        MachineError: another build of `out` is running, or it cannot be written.
    """
    place = Path(os.path.realpath(out))
    hidden = place.parent / f".{place.name}.building"
    made = [folder for folder in place.parents if not folder.exists()]  # the nearest first
    try:
        _check_replaceable(out, place)
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = _locked(hidden, out)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(
            f"out={out}: {error.filename} is a file, so no folder can be made in it"
        ) from error
    except OSError as error:
        raise MachineError(
            f"out={out}: the folder cannot be made ({error.strerror}); choose another"
        ) from error
    try:
        yield hidden
        os.unlink(hidden / LOCK)
        _check_replaceable(out, place)
        _replace(hidden, place)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise MachineError(
            f"out={out}: no space is left on its disk ({error.strerror}); free some or choose "
            "another place, nothing was kept"
        ) from error
    finally:
        _remove(hidden)
        for folder in made:
            with suppress(OSError):  # it holds what was built
                folder.rmdir()
        os.close(lock)


def _remove(folder: Path) -> None:
    """The folder is gone, even where Ctrl-C comes a second time."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _check_replaceable(out: Path, place: Path) -> None:
    if not os.path.lexists(place):
        return
    if not place.is_dir():
        raise ConfigError(f"out={out} is a file; name a folder that does not exist yet")
    if not any(place.iterdir()):
        return
    if not _is_engine(place):
        raise ConfigError(
            f"out={out} exists and is not an engine folder (it has no {MANIFEST} of Ingot), so it "
            "is not replaced; choose another folder, or remove it yourself"
        )
    if others := _strangers(place):
        shown = ", ".join(others[:SHOWN]) + (" …" if len(others) > SHOWN else "")
        raise ConfigError(
            f"out={out} holds what is no part of the engine there ({shown}), so it is not "
            "replaced; move that away, or choose another folder"
        )


def _is_engine(place: Path) -> bool:
    """Whether its manifest begins with a seal; it may be damaged otherwise, and is built again."""
    try:
        with open(place / MANIFEST, "rb") as file:
            return file.read(len(SEAL)) == SEAL
    except OSError:
        return False


def _strangers(place: Path) -> list[str]:
    """Files in an engine folder that its manifest does not name; none where it cannot be read."""
    try:
        named = set(json.loads((place / MANIFEST).read_bytes())["files"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []
    files = (path for path in place.rglob("*") if not path.is_dir() or path.is_symlink())
    names = {path.relative_to(place).as_posix() for path in files} - named - {MANIFEST}
    return sorted(name for name in names if not name.startswith(f"{DUMP}/"))


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

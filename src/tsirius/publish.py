"""Files and folders that are published whole or not at all, by several processes at once if need be.

What is written is written under a hidden name beside its place and renamed into it when it is whole; the name says
which process writes it, so that what a killed one left is removed by the next that writes there.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from tsirius.errors import UserError

PARTIAL_SECONDS = 3600.0
"""What a process left unfinished that cannot be asked for (of another machine or container, or from before a restart)
is removed once nothing in it has changed for this long: it may be at work on a shared disk."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it when the block ends well; else ``path`` stays as it was.

    What is not an ordinary file (a pipe, a device) is not replaced: it is yielded itself. A link stays one: the file
    that it leads to is replaced.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        with failures_named(path):
            yield path
        return
    _sweep(target)
    with _beside(target) as temporary:
        try:
            with failures_named(path):
                yield temporary
            with temporary.open("rb") as handle:
                os.fsync(handle.fileno())
            if target.exists():
                shutil.copymode(target, temporary)
            temporary.replace(target)
        except OSError as error:
            if error.filename == str(temporary):
                error.filename = str(path)
            raise
        finally:
            with suppress(OSError):  # on a read-only disk, where it could not be written, this fails as well
                temporary.unlink(missing_ok=True)


@contextmanager
def publishing(path: Path) -> Iterator[Path]:
    """A new folder beside the folder ``path`` that replaces it when the block ends well; else it stays as it was.

    A link stays one: the folder that it leads to is replaced. Of several processes that publish the same folder at
    once, the last one wins.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    recover(target)
    _sweep(target)
    with _beside(target) as temporary:
        temporary.mkdir()
        try:
            yield temporary
            publish(temporary, target)
        finally:
            _remove(temporary)


def publish(work: Path, target: Path) -> None:
    """Rename the finished folder ``work`` to ``target``, in place of the folder that is there.

    A process that is killed between its two renames leaves the old folder beside ``target``: see :func:`recover`.
    """
    _sync(work)
    try:
        while True:  # another process may publish the same folder between two steps
            try:
                work.rename(target)
                return
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) and not target.is_symlink():
                    raise
            with suppress(FileNotFoundError):
                target.rename(target.with_name(f".{target.name}.{secrets.token_hex(4)}.replaced"))
    finally:
        recover(target)


def recover(target: Path) -> None:
    """Put back the folder that a process killed in :func:`publish` was replacing; remove it where the new one is."""
    left = _listed(target, "replaced")
    if left and not target.exists():
        with suppress(OSError):
            left[-1].rename(target)
    for path in left:
        _remove(path)


@contextmanager
def locked(folder: Path, busy: UserError) -> Iterator[None]:
    """Hold ``folder`` against other processes; the system releases it when the holder dies.

    Raises:
        UserError: ``busy``, where another process holds it.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise busy from None
    try:
        yield
    finally:
        lock.release()


_WRITER = re.compile(r"\..*\.(\d+)-([^.-]+)-([^.-]*)[^.]*\.partial")
"""The name of what is not finished: the process that writes it, its machine, and when it started there."""
_OWN = set[str]()
"""Names of the unfinished files and folders that this process is writing."""


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """An unused hidden name beside ``target`` for what is not finished: it says which process writes it."""
    writer = f"{os.getpid()}-{_machine()}-{_start(os.getpid())}-{secrets.token_hex(3)}"
    path = target.with_name(f".{target.name}.{writer}.partial")
    _OWN.add(path.name)
    try:
        yield path
    finally:
        _OWN.discard(path.name)


def _sweep(target: Path) -> None:
    """Remove what killed processes left unfinished of ``target``."""
    for left in _listed(target, "partial"):
        with suppress(OSError):
            if _abandoned(left):
                _remove(left)


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder, as far as that is possible."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _abandoned(path: Path) -> bool:
    """Whether the process that writes ``path`` is gone; of one that cannot be asked for: :data:`PARTIAL_SECONDS`."""
    named = _WRITER.fullmatch(path.name)
    if named is None:
        return False
    process, machine, start = named.groups()
    if machine != _machine():
        return time.time() - _last_change(path) > PARTIAL_SECONDS
    if int(process) == os.getpid() and start == _start(os.getpid()):
        return path.name not in _OWN
    return not psutil.pid_exists(int(process)) or _start(int(process)) not in ("", start)


def _last_change(path: Path) -> float:
    """When a file, or anything in a folder, was last written to, in seconds since 1970."""
    return max(item.lstat().st_mtime for item in [path, *path.rglob("*")])


def _listed(target: Path, ending: str) -> list[Path]:
    """What lies hidden beside ``target`` under its name, the oldest first."""
    stamped = []
    for path in target.parent.glob(f".{glob.escape(target.name)}.*.{ending}"):
        with suppress(FileNotFoundError):
            stamped.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(stamped)]


@cache
def _machine() -> str:
    """A short name, without a dot or a dash, of where a process number means the same process as here.

    That is this machine since its start, and in it this container (its process namespace), where the system tells.
    """
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        parts.append(os.readlink("/proc/self/ns/pid"))  # noqa: PTH115 (no path: what it names)
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=4).hexdigest()


def _start(process: int) -> str:
    """When a process of this machine started, by a clock that nobody sets; empty where it is gone or not to be seen."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    with suppress(psutil.Error):
        return str(int(psutil.Process(process).create_time()))
    return ""


@contextmanager
def failures_named(path: Path) -> Iterator[None]:
    """Have a failure of the operating system name its file, as a library's own error may hide both.

    Raises:
        OSError: with ``path`` as its file name, where it had none.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    except Exception as error:
        hidden = re.search(r"\(os error (\d+)\)", str(error))  # how libraries written in Rust pass it on
        if hidden is None:
            raise
        raise OSError(int(hidden[1]), os.strerror(int(hidden[1])), str(path)) from error


def write_text(path: Path, text: str) -> None:
    """Write a small text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _sync(folder: Path) -> None:
    """Have the system put a folder's files on the disk before the folder is renamed."""
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

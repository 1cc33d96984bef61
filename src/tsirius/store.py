"""Stage folders: published whole or not at all, each with a record that says what it was made from.

A stage writes into a work folder; the folder is renamed into ``runs/<name>/<stage>/`` once its ``record.json``,
written last, is in it. A stage runs again when its key (version, settings, seed, fingerprints of what it reads) differs
from the record's, or when its files no longer match the recorded hash. A killed stage leaves only its work folder
behind: what it put under ``scratch`` there is found again by the next run with the same key.
"""

from __future__ import annotations

import glob
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from tsirius.errors import UserError

RECORD = "record.json"
KEPT = ".kept"
WORK = ".work"
PACKAGES = ("tsirius", "polars", "scikit-learn", "torch", "transformers", "peft", "pymorphy3", "natasha", "navec")
PARTIAL_SECONDS = 3600.0
"""What a process that is gone left half-written is removed after this long: another machine may be at work on it."""

Key = Mapping[str, Any]


@dataclass(frozen=True)
class Decision:
    """Whether a stage has to run, and the reason in words."""

    run: bool
    why: str


class Store:
    """The folder of one run.

    Args:
        root: ``runs/<name>``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run's folder against a second process; released by the system when the holder dies.

        Raises:
            UserError: another process holds it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.root / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError("another run is at work in this folder", where=self.root,
                            remedy="Wait for it to end, or give this run another name.") from None  # fmt: skip
        try:
            yield
        finally:
            lock.release()

    def folder(self, stage: str) -> Path:
        """Where the published output of ``stage`` lies."""
        return self.root / stage

    def record(self, stage: str) -> dict[str, Any] | None:
        """The record of the published output of ``stage``; None where there is none that can be read."""
        try:
            record = json.loads((self.folder(stage) / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        whole = isinstance(record, dict) and isinstance(record.get("key"), dict) and "output" in record
        return record if whole else None

    def check_finished(self, stages: Iterable[str]) -> None:
        """Make sure that ``stages`` are as they were made, and from what the stages before them hold now.

        Raises:
            UserError: one is missing, altered, or older than what it reads.
        """
        remedy = "Finish the run with 'tsirius run'."
        for stage in stages:
            record = self.record(stage)
            if record is None:
                raise UserError(f"the run is not finished: no {stage}", where=self.root, remedy=remedy)
            if fingerprint(self.folder(stage)) != record["output"]:
                raise UserError("its files were altered or damaged since it ran", where=self.folder(stage),
                                remedy="'tsirius run' makes them anew.")  # fmt: skip
            for name, output in record["key"].get("inputs", {}).items():
                if (self.record(name) or {}).get("output") != output:
                    raise UserError(f"the run is not finished: {stage} is older than {name}", where=self.root,
                                    remedy=remedy)  # fmt: skip

    def decide(self, stage: str, key: Key) -> Decision:
        """Whether ``stage`` has to run to have the output that ``key`` stands for."""
        record = self.record(stage)
        if record is None:
            return Decision(True, "has not run yet")
        change = _first_change(record["key"], _plain(key))
        if change:
            return Decision(True, change)
        if fingerprint(self.folder(stage)) != record["output"]:
            return Decision(True, "its files were altered since it ran")
        return Decision(False, "nothing that it depends on has changed")

    def make(
        self,
        stage: str,
        key: Key,
        work: Callable[[Path, Path], Mapping[str, Any]],
        source: str,
        *,
        keeps: bool = False,
        from_start: bool = False,
    ) -> dict[str, Any]:
        """Run ``work(out, scratch)`` and publish ``out`` as the output of ``stage``; returns its record.

        Args:
            stage: the stage's name.
            key: what the output depends on.
            work: fills the empty folder ``out``; may leave in ``scratch`` what the next try goes on from.
            source: fingerprint of the code, kept to warn when it changes under the same version.
            keeps: leave ``scratch`` to this stage for good, whatever the key: the stage tells apart what lies in it.
            from_start: do not go on from what an earlier try left.
        """
        place = self._place(stage, key)
        for other in place.parent.glob(f"{stage}-*"):
            if from_start or other != place:
                shutil.rmtree(other)
        out, scratch = place / "out", self.root / KEPT / stage if keeps else place / "scratch"
        if out.exists():
            shutil.rmtree(out)
        if from_start and scratch.exists():
            shutil.rmtree(scratch)
        out.mkdir(parents=True)
        scratch.mkdir(parents=True, exist_ok=True)
        _reset_peak_memory()
        start = time.monotonic()
        with _failures_named(out):
            notes = work(out, scratch)
        record = {
            "stage": stage,
            "key": _plain(key),
            "output": fingerprint(out),
            "source": source,
            "notes": _plain(notes),
            "seconds": round(time.monotonic() - start, 3),
            "peak_memory_mib": _peak_memory_mib(),
            "versions": versions(),
        }
        write_text(out / RECORD, json.dumps(record, ensure_ascii=False, indent=1))
        _sync(out)
        self._publish(stage, out)
        shutil.rmtree(place)
        return record

    def _place(self, stage: str, key: Key) -> Path:
        return self.root / WORK / f"{stage}-{digest(key)}"

    def tidy(self, stage: str, key: Key) -> None:
        """Remove what a process killed just after it published ``stage`` had no time to."""
        for left in (self._place(stage, key), self._replaced(stage)):
            if left.exists():
                shutil.rmtree(left)

    def _replaced(self, stage: str) -> Path:
        return self.root / WORK / f"{stage}-replaced"

    def _publish(self, stage: str, out: Path) -> None:
        target, old = self.folder(stage), self._replaced(stage)
        if old.exists():
            shutil.rmtree(old)
        if target.exists():
            target.rename(old)
        out.rename(target)
        if old.exists():
            shutil.rmtree(old)

    def withdraw(self, stage: str, exports: Iterable[str]) -> None:
        """Remove the output of a stage that the run no longer has, and what was exported of it."""
        if self.folder(stage).exists():
            for name in exports:
                (self.root / name).unlink(missing_ok=True)
            shutil.rmtree(self.folder(stage))

    def export(self, stage: str, name: str) -> Path:
        """Copy the file ``name`` of ``stage`` to the run's folder, unless the same bytes are there already."""
        source, target = self.folder(stage) / name, self.root / name
        if not target.is_file() or file_fingerprint(target) != file_fingerprint(source):
            with replacing(target) as temporary:
                shutil.copyfile(source, temporary)
        return target


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well; else ``path`` stays as it was.

    What is not an ordinary file (a pipe, a device) is not replaced: it is yielded itself. A link stays one: the file
    that it leads to is replaced.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        with _failures_named(path):
            yield path
        return
    _sweep(target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with _failures_named(path):
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
        with suppress(OSError):  # where it could not be made, on a disk that is only to be read, this fails as well
            temporary.unlink(missing_ok=True)


def _sweep(target: Path) -> None:
    """Remove what killed processes left half-written of ``target``."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):
        process = left.suffixes[-2].removeprefix(".")
        if process.isdigit() and not psutil.pid_exists(int(process)):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > PARTIAL_SECONDS:
                    left.unlink()


@contextmanager
def _failures_named(place: Path) -> Iterator[None]:
    """Have a failure of the operating system say where it was, as a library's own error may hide both.

    Raises:
        OSError: with ``place`` as its file name, where it had none.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(place)) from error
    except Exception as error:
        hidden = re.search(r"\(os error (\d+)\)", str(error))  # how libraries written in Rust pass it on
        if hidden is None:
            raise
        raise OSError(int(hidden[1]), os.strerror(int(hidden[1])), str(place)) from error


def write_text(path: Path, text: str) -> None:
    """Write a small text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def file_fingerprint(path: Path) -> str:
    """BLAKE2b of a file's bytes, 128 bits, hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def fingerprint(path: Path) -> str:
    """The same for a file, or for all names and files of a folder but its record and what Python compiled."""
    if path.is_file():
        return file_fingerprint(path)
    total = hashlib.blake2b(digest_size=16)
    for file in sorted(item for item in path.rglob("*") if item.is_file()):
        name = file.relative_to(path).as_posix()
        if name != RECORD and file.suffix != ".pyc":
            total.update(f"{name}\0{file_fingerprint(file)}\n".encode())
    return total.hexdigest()


def digest(key: Key) -> str:
    """A short name for a key."""
    text = json.dumps(_plain(key), ensure_ascii=False, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def versions() -> dict[str, str]:
    """The installed versions of the packages that decide a result."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _plain(value: Any) -> Any:
    """``value`` as it comes back from JSON, so that keys compare equal across a save."""
    return json.loads(json.dumps(value, ensure_ascii=False, default=str))


def _first_change(old: Any, new: Any, name: str = "") -> str:
    """The first difference between two keys in words; empty where they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for part in sorted(old.keys() | new.keys()):
            # "settings.sure" reads as the user wrote it; the other parts keep their name.
            inner = part if name in ("", "settings") else f"{name} {part}"
            change = _first_change(old.get(part), new.get(part), inner)
            if change:
                return change
        return ""
    if old == new:
        return ""
    if name.startswith(("inputs ", "files ")):
        kind, what = name.split(" ", 1)
        return f"the output of {what} changed" if kind == "inputs" else f"the file of {what} changed"
    return f"{name} changed from {old} to {new}"


def _sync(folder: Path) -> None:
    """Have the system put a folder's files on the disk before the folder is renamed into its place."""
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _reset_peak_memory() -> None:
    """Start a new peak, where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_memory_mib() -> float | None:
    """The process's peak resident memory in MiB since the last reset; None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((round(int(line.split()[1]) / 1024, 1) for line in lines if line.startswith("VmHWM")), None)

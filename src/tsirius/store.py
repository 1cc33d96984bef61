"""The folder of a run: each stage's output, published with a record of what it was computed from.

A stage writes into a work folder; the folder is renamed into ``runs/<name>/<stage>/`` once its ``record.json``,
written last, is in it. A stage runs again when its key (version, settings, seed, fingerprints of what it reads) differs
from the record's, or when its files no longer match the recorded fingerprint. A killed stage leaves only its work
folder behind: the next run with the same key resumes from what lies under ``scratch`` there.

Whoever reads a run's files verifies them first: :meth:`Store.read` for a stage's folder, :func:`verify` for a path in
one.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsirius.errors import UserError
from tsirius.publish import failures_named, locked, publish, recover, replacing, write_text

RECORD = "record.json"
CONFIG, CONFIG_SUMS = "config.json", ".config.sums"
KEPT = ".kept"
WORK = ".work"
PACKAGES = ("tsirius", "polars", "scikit-learn", "torch", "transformers", "peft", "pymorphy3", "natasha", "navec")
CHECKSUM = "checksum"
"""In a record: of all else that it says."""
CHECKSUMS = "checksums.json"
"""In a folder that people copy, such as a model's: the fingerprint of each of its files."""
README = "README.md"
"""What a person may write in such a folder."""
DEPTH = 6
"""A model, a member of an ensemble or its adapter lies at most this many folders below its stage's."""

FINISH = "Finish the run with 'tsirius run'."
REPAIR = "'tsirius run' computes them again."

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
        """Hold the run's folder against a second process.

        Raises:
            UserError: another process holds it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        busy = UserError("in use by another run", where=self.root,
                         remedy="Wait for it to end, or give this run another name.")  # fmt: skip
        with locked(self.root, busy):
            yield

    def write_config(self, text: str) -> None:
        """Write the run's ``config.json``, and its checksum beside it."""
        path, sums = self.root / CONFIG, self.root / CONFIG_SUMS
        known = sums.read_text(encoding="utf-8", errors="replace").split() if sums.is_file() else []
        new = [_text_fingerprint(text)]
        if path.is_file() and (before := file_fingerprint(path)) in known and before not in new:
            new.append(before)  # killed between the two writes, the old configuration is still known
        if new != known:
            write_text(sums, "\n".join(new) + "\n")
        write_text(path, text)

    def config(self) -> str:
        """The text of the run's ``config.json``.

        Raises:
            UserError: there is none, or it was altered or damaged.
        """
        altered = UserError("was altered or damaged", where=self.root / CONFIG, remedy="'tsirius run' writes it again.")
        try:
            text = (self.root / CONFIG).read_text(encoding="utf-8")
            sums = self.root / CONFIG_SUMS
            known = sums.read_text(encoding="utf-8").split() if sums.is_file() else []
        except FileNotFoundError:
            raise UserError("holds no run", where=self.root,
                            remedy="Name a folder that 'tsirius run' made.") from None  # fmt: skip
        except ValueError:
            raise altered from None
        if known and _text_fingerprint(text) not in known:
            raise altered
        return text

    def settings(self, section: str) -> dict[str, Any]:
        """A section of the settings that the run was made with; {} where there is none, or no run.

        Raises:
            UserError: ``config.json`` was altered or damaged.
        """
        if not (self.root / CONFIG).is_file():
            return {}
        try:
            found = json.loads(self.config())[section]
        except (ValueError, KeyError, TypeError):
            return {}
        return found if isinstance(found, dict) else {}

    def folder(self, stage: str) -> Path:
        """The folder of ``stage``, whatever is in it; :meth:`read` verifies that."""
        return self.root / stage

    def record(self, stage: str) -> dict[str, Any] | None:
        """The record of the published output of ``stage``; None where there is none, or it is damaged or too old."""
        record = _record(self.folder(stage))
        return record if isinstance(record, dict) else None

    def read(self, stage: str) -> Path:
        """The folder of ``stage``, verified: its files are those that the stage published.

        They are hashed once per process, and again only where one has changed.

        Raises:
            UserError: the stage has not run, or its files or its record were altered or damaged.
        """
        if _record(self.folder(stage)) is None:
            raise UserError(f"the run is not finished: no {stage}", where=self.root, remedy=FINISH)
        _check_published(self.folder(stage))
        return self.folder(stage)

    def check_finished(self, stages: Iterable[str]) -> None:
        """Make sure that ``stages`` are as they were published, and from what the stages before them hold now.

        Raises:
            UserError: one is missing, altered, or older than what it reads.
        """
        for stage in stages:
            self.read(stage)
            record = self.record(stage) or {"key": {}}
            for name, output in record["key"].get("inputs", {}).items():
                if (self.record(name) or {}).get("output") != output:
                    raise UserError(f"the run is not finished: {stage} is older than {name}", where=self.root,
                                    remedy=FINISH)  # fmt: skip

    def decide(self, stage: str, key: Key) -> Decision:
        """Whether ``stage`` has to run to have the output that ``key`` stands for."""
        record = _record(self.folder(stage))
        if not isinstance(record, dict):
            return Decision(True, record or ("its record is missing" if self.folder(stage).exists() else "first time"))
        change = _first_change(record["key"], _plain(key))
        if change:
            return Decision(True, change)
        if fingerprint(self.folder(stage)) != record["output"]:
            return Decision(True, "its files were altered or damaged")
        return Decision(False, "unchanged")

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
            work: fills the empty folder ``out``; may keep in ``scratch`` what the next try resumes from.
            source: fingerprint of the code, kept to warn when it changes under the same version.
            keeps: keep ``scratch`` for this stage's later runs with other keys: the stage tells apart what lies in it.
            from_start: do not resume from what an earlier try left.
        """
        recover(self.folder(stage))
        work_folder = self._work_folder(stage, key)
        for other in work_folder.parent.glob(f"{stage}-*"):
            if from_start or other != work_folder:
                shutil.rmtree(other)
        out, scratch = work_folder / "out", self.root / KEPT / stage if keeps else work_folder / "scratch"
        if out.exists():
            shutil.rmtree(out)
        if from_start and scratch.exists():
            shutil.rmtree(scratch)
        out.mkdir(parents=True)
        scratch.mkdir(parents=True, exist_ok=True)
        _reset_peak_memory()
        start = time.monotonic()
        with failures_named(out):
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
        _write_json(out / RECORD, with_checksum(record))
        publish(out, self.folder(stage))
        shutil.rmtree(work_folder)
        return record

    def _work_folder(self, stage: str, key: Key) -> Path:
        return self.root / WORK / f"{stage}-{digest(key)}"

    def tidy(self, stage: str, key: Key) -> None:
        """Remove what a process that was killed just after it published ``stage`` had no time to."""
        recover(self.folder(stage))
        work_folder = self._work_folder(stage, key)
        if work_folder.exists():
            shutil.rmtree(work_folder)

    def withdraw(self, stage: str, exports: Iterable[str]) -> None:
        """Remove the output of a stage that the run no longer has, and its exported files."""
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


# --- fingerprints and records -----------------------------------------------------------------------------------------


def file_fingerprint(path: Path) -> str:
    """BLAKE2b of a file's bytes, 128 bits, hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _text_fingerprint(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


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


_HASHED = dict[Path, tuple[Any, str]]()
"""What :func:`fingerprint_once` hashed, with the state of the files then."""


def fingerprint_once(path: Path) -> str:
    """:func:`fingerprint`, computed once per process, and again where a file has changed since (by time or size)."""
    real = Path(os.path.realpath(path))
    files = [real] if real.is_file() else sorted(item for item in real.rglob("*") if item.is_file())
    states = [(file, file.stat()) for file in files]
    now = [(file, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns) for file, state in states]
    before = _HASHED.get(real)
    if before is None or before[0] != now:
        _HASHED[real] = before = now, fingerprint(real)
    return before[1]


def verify(path: Path) -> bool:
    """Make sure that the stage's folder in which ``path`` lies is as it was published; it need not lie in one.

    Of a folder that lies in none, the files that its own :data:`CHECKSUMS`, or those of the folders in it, name.

    Returns:
        Whether anything says how it was published.

    Raises:
        UserError: its files or its record were altered or damaged.
    """
    real = Path(os.path.realpath(path))
    for folder in [real, *real.parents][: DEPTH + 1]:
        if (folder / RECORD).is_file():
            _check_published(folder)
            return True
    found = sorted(real.rglob(CHECKSUMS)) if real.is_dir() else []
    for sums in found:
        _check_files(sums)
    return bool(found)


def write_checksums(folder: Path) -> None:
    """Write the fingerprint of each file in ``folder``, folders in it left out, beside them: see :func:`verify`."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name not in (CHECKSUMS, README))
    sums = {path.name: file_fingerprint(path) for path in files}
    _write_json(folder / CHECKSUMS, sums)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    """As a person can read it, whole or not at all."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1))


def _check_files(sums: Path) -> None:
    remedy = "Copy the folder again, or train the model again."
    try:
        names = dict(json.loads(sums.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        raise UserError("was altered or damaged", where=sums, remedy=remedy) from None
    for name, wanted in names.items():
        path = sums.parent / name
        if not path.is_file():
            raise UserError(f"has no {name}", where=sums.parent, remedy=remedy)
        if fingerprint_once(path) != wanted:
            raise UserError("was altered or damaged since it was written", where=path, remedy=remedy)


def seal(folder: Path, notes: Mapping[str, Any]) -> None:
    """Write a record into a finished folder that is no stage's, so that :func:`sealed` tells whether it is intact."""
    record = {"key": {}, "output": fingerprint(folder), "notes": _plain(notes)}
    _write_json(folder / RECORD, with_checksum(record))


def sealed(folder: Path) -> dict[str, Any] | None:
    """The notes that ``folder`` was sealed with; None where it was not, or was altered or damaged since."""
    record = _record(folder)
    if not isinstance(record, dict) or fingerprint(folder) != record["output"]:
        return None
    return dict(record.get("notes") or {})


def _check_published(folder: Path) -> None:
    record = _record(folder)
    if isinstance(record, str):
        raise UserError(record, where=folder / RECORD, remedy="'tsirius run' runs the stage again.")
    if record is not None and fingerprint_once(folder) != record["output"]:
        raise UserError("its files were altered or damaged since they were published", where=folder, remedy=REPAIR)


def _record(folder: Path) -> dict[str, Any] | str | None:
    """The record in a stage's folder; None where there is none, else what is wrong with it, in words."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        return "its record is damaged"
    if not isinstance(record, dict) or not isinstance(record.get("key"), dict) or "output" not in record:
        return "its record is damaged"
    if CHECKSUM not in record:
        return "published by an older version"
    return record if record[CHECKSUM] == with_checksum(record)[CHECKSUM] else "its record is damaged"


def with_checksum(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record, or another object of JSON, with its checksum."""
    rest = {name: value for name, value in record.items() if name != CHECKSUM}
    text = json.dumps(rest, ensure_ascii=False, sort_keys=True)
    return {**rest, CHECKSUM: hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()}


def digest(key: Key) -> str:
    """A short name for a key."""
    text = json.dumps(_plain(key), ensure_ascii=False, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def versions() -> dict[str, str]:
    """The installed versions of the packages that decide a result."""
    installed = {}
    for package in PACKAGES:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            installed[package] = "not installed"
    return installed


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

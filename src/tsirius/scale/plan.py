"""The plan: which files, and which row groups of long ones, become which parts; each part has one output file.

The same files, model and settings give the same plan wherever it is made, so that nothing is shared between workers but
the folder that they write to. The plan lies there as ``_plan.json``; who comes later is held to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from tsirius.errors import UserError
from tsirius.io import addresses
from tsirius.progress import progress, say
from tsirius.stages import predict
from tsirius.store import digest

T = TypeVar("T")
R = TypeVar("R")

PLAN, MANIFEST, SUCCESS = "_plan.json", "_manifest.json", "_SUCCESS"
NOTE = "tsirius"
"""The key of the metadata of a part's output file."""
ROWS_PER_PART = 200_000
"""A Parquet file with more rows is cut between row groups."""
THREADS = 16
"""Requests to a store at a time, for what is small."""
SHOWN = 3
"""Changed parts that are told by name."""


@dataclass(frozen=True)
class Part:
    """A piece of the work: a file, or some row groups of it.

    Attributes:
        address: of the file.
        name: its path below the folder of reviews.
        size: its bytes.
        mark: see :class:`tsirius.io.addresses.File`.
        groups: the first row group and the one after the last; None for the whole file.
        rows: how many it has, where that is known before it is read.
        output: the path of its predictions below the folder of outputs.
    """

    address: str
    name: str
    size: int
    mark: str
    groups: tuple[int, int] | None
    rows: int | None
    output: str

    @property
    def shown(self) -> str:
        """Its name for a message."""
        groups = f" (row groups {self.groups[0]} to {self.groups[1] - 1})" if self.groups else ""
        return f"{addresses.shown(self.address)}{groups}"


@dataclass(frozen=True)
class Job:
    """What is done with every part: plain values, which any worker can be given.

    Attributes:
        model: the folder of a run or a model.
        fingerprint: of the model's files.
        output: the address of the folder of outputs.
        text_columns: see :func:`tsirius.io.source.open_source`; the same for all parts.
        id_column: the same; "none": there is none.
        encoding: the same.
        columns: that are written: see :func:`tsirius.io.writers.layout`.
        runner_up: whether the second category is written too.
    """

    model: str
    fingerprint: str
    output: str
    text_columns: tuple[str, ...]
    id_column: str
    encoding: str
    columns: tuple[str, ...]
    runner_up: bool

    def key(self) -> dict[str, Any]:
        """What the outputs depend on, but for the reviews."""
        rest = {name: value for name, value in asdict(self).items() if name not in ("model", "fingerprint", "output")}
        return {"model": self.fingerprint, "version": predict.VERSION, "settings": json.loads(json.dumps(rest))}

    def note(self, part: Part) -> dict[str, str]:
        """The metadata of a part's output: it is done where this is there."""
        about = {"part": [part.name, part.size, part.mark, part.groups], "key": digest(self.key())}
        return {NOTE: json.dumps(about, ensure_ascii=False, sort_keys=True)}

    def place(self, part: Part) -> str:
        """The address of a part's output."""
        return addresses.join(self.output, part.output)


def make(reviews: str, *, rows_per_part: int) -> list[Part]:
    """The parts of a file, a folder or a pattern, in the order of their names.

    Parquet files are asked for their row groups; one with more than ``rows_per_part`` rows is cut between them.

    Raises:
        UserError: there are no files of reviews, or one cannot be read.
    """
    files = addresses.listed(reviews)
    with progress("plan", total=len(files)) as advance:

        def parts_of(file: addresses.File) -> list[Part]:
            groups = _row_groups(file)
            advance()
            return list(_cut(file, groups, rows_per_part))

        parts = [part for some in in_threads(parts_of, files) for part in some]
    names = [part.output for part in parts]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise UserError(f"two files would be written as {twice}", where=addresses.shown(reviews), remedy="Rename one.")
    return parts


def in_threads(action: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """What ``action`` returns for each item, in their order; for requests to a store."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(action, items))


def _row_groups(file: addresses.File) -> list[int] | None:
    """The rows of each row group; None for other formats and compressed files, which are read whole."""
    if not file.name.lower().endswith(".parquet"):
        return None
    import pyarrow.parquet as pq

    def read() -> list[int]:
        with addresses.opened(file.address) as handle:
            footer = pq.read_metadata(handle)
        return [footer.row_group(number).num_rows for number in range(footer.num_row_groups)]

    return addresses.retrying(read, addresses.shown(file.address))


def _cut(file: addresses.File, groups: Sequence[int] | None, rows_per_part: int) -> Iterable[Part]:
    stem = re.sub(r"\.parquet$", "", file.name, flags=re.IGNORECASE)
    whole = Part(file.address, file.name, file.size, file.mark, None, None, f"{stem}.parquet")
    if groups is None:
        yield whole
        return
    if sum(groups) <= rows_per_part or len(groups) == 1:
        yield replace(whole, rows=sum(groups))
        return
    first = rows = 0
    for number, count in enumerate(groups):
        if rows and rows + count > rows_per_part:
            yield _piece(whole, stem, first, number, rows, len(groups))
            first, rows = number, 0
        rows += count
    yield _piece(whole, stem, first, len(groups), rows, len(groups))


def _piece(whole: Part, stem: str, first: int, end: int, rows: int, groups: int) -> Part:
    width = len(str(groups - 1))
    output = f"{stem}.groups-{first:0{width}}-{end - 1:0{width}}.parquet"
    return replace(whole, groups=(first, end), rows=rows, output=output)


def share(parts: Sequence[Part], wanted: str) -> list[Part]:
    """The parts of one share: "2/3" is the second of three. The shares have all parts, each once.

    Raises:
        UserError: it is not so written.
    """
    found = re.fullmatch(r"([0-9]+)/([0-9]+)", wanted.strip())
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count:
        raise UserError(f"{wanted!r} is no share", where="--part", remedy="Write 1/3 for the first of three.")
    return list(parts[number - 1 :: count])


def hold(job: Job, parts: Sequence[Part], *, redo: bool) -> None:
    """Compare with the plan that the folder of outputs was begun with, and keep this one there.

    Files may have been added since. With ``redo`` what was predicted from another model or from files that have changed
    is named, and predicted again; outputs of files that are gone are removed.

    Raises:
        UserError: the model, the settings or a file changed, and ``redo`` is not given.
    """
    text = json.dumps({**job.key(), "parts": [_entry(part) for part in parts]}, ensure_ascii=False, indent=0)
    place = addresses.join(job.output, PLAN)
    before = _read(place)
    if before is not None:
        changes = [*_changes(before, job), *_changed_files(before["parts"], parts)]
        if changes and not redo:
            more = f", and {len(changes) - 1} more changes" if len(changes) > 1 else ""
            raise UserError(f"was begun otherwise: {changes[0]}{more}", where=addresses.shown(job.output),
                            remedy="Add --redo to predict again what changed, or name another folder.")  # fmt: skip
        for change in changes[:SHOWN]:
            say(f"  predicted again: {change}")
        if len(changes) > SHOWN:
            say(f"  and {len(changes) - SHOWN:,} more")
        for output in {entry["output"] for entry in before["parts"]} - {part.output for part in parts}:
            addresses.remove(addresses.join(job.output, output))
    if before is None or json.dumps(before, ensure_ascii=False, indent=0) != text:
        unmark(job)
        addresses.put_text(text, place)


def unmark(job: Job) -> None:
    """Take back the mark that all is done."""
    for name in (SUCCESS, MANIFEST):
        addresses.remove(addresses.join(job.output, name))


def _entry(part: Part) -> dict[str, Any]:
    about = asdict(part)
    return {**about, "address": addresses.shown(part.address), "groups": list(part.groups) if part.groups else None}


def _read(place: str) -> dict[str, Any] | None:
    text = addresses.get_text(place)
    if text is None:
        return None
    try:
        found = json.loads(text)
        return {**found, "parts": [{**entry, "output": str(entry["output"])} for entry in found["parts"]]}
    except (ValueError, KeyError, TypeError, IndexError):
        raise UserError(
            "is no plan", where=addresses.shown(place), remedy="Remove it, or name another folder."
        ) from None


def _changes(before: Mapping[str, Any], job: Job) -> Iterable[str]:
    for name, value in job.key().items():
        if name == "model" and before.get(name) != value:
            yield f"with another model ({str(before.get(name))[:8]}, now {value[:8]})"
        elif before.get(name) != value:
            yield f"with other {name} ({before.get(name)}, now {value})"


def _changed_files(before: Sequence[Mapping[str, Any]], parts: Sequence[Part]) -> Iterable[str]:
    now = {part.output: part for part in parts}
    for entry in before:
        part = now.get(entry["output"])
        if part is None:
            yield f"{entry['name']} is gone, or is cut otherwise"
        elif [entry["size"], entry["mark"]] != [part.size, part.mark]:
            yield f"{entry['name']} has changed since"


def unfinished(job: Job, parts: Sequence[Part]) -> list[Part]:
    """Those of the parts whose output is not there, is damaged, or was made from something else."""
    there = addresses.names_in(job.output)
    done = in_threads(lambda part: part.output in there and is_done(job, part), parts)
    return [part for part, yes in zip(parts, done, strict=True) if not yes]


def is_done(job: Job, part: Part) -> bool:
    """Whether a part's output is there, whole, and made by this job from this part."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def read() -> bool:
        with addresses.opened(job.place(part)) as handle:
            try:
                notes = pq.read_metadata(handle).metadata or {}
            except pa.ArrowInvalid:  # cut off
                return False
        return bool(notes.get(NOTE.encode()) == job.note(part)[NOTE].encode())

    try:
        return addresses.retrying(read, job.place(part))
    except UserError as error:
        if error.what == "is not there":
            return False
        raise

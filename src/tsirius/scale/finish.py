"""The last step: count the rows of all parts, look for ids that come twice among them, and mark the folder as whole.

Memory does not grow with the rows: the hashes of the ids are sorted into files on the disk by their first bits, and one
such file at a time is looked at. Reading checks each page of what was written against its checksum.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tsirius import __version__
from tsirius.errors import UserError
from tsirius.io import addresses
from tsirius.io.ids import REMEDY
from tsirius.progress import progress
from tsirius.scale.plan import MANIFEST, SUCCESS, THREADS, Job, Part, in_threads
from tsirius.store import with_checksum

BUCKET_IDS = 2_000_000
"""Ids whose hashes are looked at together: 16 MB."""
BUCKETS = 512
"""At most so many files of them are open at a time."""
SUSPECTS = 1000
"""Hashes that come twice, of which the ids themselves are compared: so many by chance are unheard of."""
READ_ROWS = 100_000


@dataclass(frozen=True)
class Counted:
    """What a part's output holds: its rows, the reviews of each category, and the hash of each id."""

    rows: int
    categories: Mapping[str, int]
    hashes: NDArray[np.uint64]


def finish(job: Job, parts: Sequence[Part], *, id_column: str | None, bucket_ids: int = BUCKET_IDS) -> str:
    """Check the outputs of all parts together, write the manifest, then the mark; returns the counts in one line.

    Args:
        job: what was done.
        parts: all of them, which are done.
        id_column: the name of the ids in the outputs; None where there are none.
        bucket_ids: see :data:`BUCKET_IDS`.

    Raises:
        UserError: an output is missing, damaged, or has another number of rows than its part; an id comes twice.
    """
    entries, total = list[dict[str, Any]](), Counter[str]()
    known = sum(part.rows or part.size // 100 for part in parts)  # about: a row of text has that many bytes
    with _Buckets(min(BUCKETS, 1 << (known // bucket_ids).bit_length())) as buckets:
        with progress("check parts", total=len(parts)) as advance:
            for start in range(0, len(parts), THREADS):
                some = parts[start : start + THREADS]
                for part, counted in zip(some, in_threads(lambda one: _count(job, one, id_column), some), strict=True):
                    if part.rows not in (None, counted.rows):
                        raise UserError(f"has {counted.rows:,} rows where {part.rows:,} were planned",
                                        where=addresses.shown(job.place(part)), remedy=_AGAIN)  # fmt: skip
                    buckets.add(counted.hashes)
                    total.update(counted.categories)
                    entries.append({"output": part.output, "input": part.name, "groups": part.groups,
                                    "rows": counted.rows, "categories": _ordered(counted.categories)})  # fmt: skip
                    advance()
        suspects = buckets.repeated()
    if suspects:
        _look_closer(job, parts, str(id_column), suspects)
    rows = sum(entry["rows"] for entry in entries)
    manifest = {"tsirius": __version__, **job.key(), "rows": rows, "categories": _ordered(total),
                "ids": id_column, "parts": entries}  # fmt: skip
    addresses.put_text(json.dumps(with_checksum(manifest), ensure_ascii=False, indent=1),
                       addresses.join(job.output, MANIFEST))  # fmt: skip
    addresses.put_text("", addresses.join(job.output, SUCCESS))
    counts = ", ".join(f"{count:,} {name}" for name, count in _ordered(total).items())
    return f"{rows:,} reviews in {len(parts):,} parts: {counts}"


def _ordered(counts: Mapping[str, int]) -> dict[str, int]:
    """The commonest first, else by name."""
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


_AGAIN = "Remove it, and give the same command again."


def _batches(job: Job, part: Part, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with addresses.opened(job.place(part)) as handle:
        file = pq.ParquetFile(handle, page_checksum_verification=True)
        for batch in file.iter_batches(batch_size=READ_ROWS, columns=list(columns)):
            yield pl.DataFrame(pl.from_arrow(pa.Table.from_batches([batch])))


def _read(job: Job, part: Part, action: Callable[[], Any]) -> Any:
    """What ``action`` returns, which reads a part's output."""
    import pyarrow as pa

    def read() -> Any:
        try:
            return action()
        except (pa.ArrowInvalid, OSError) as error:
            if not addresses.is_url(job.output) and not isinstance(error, (FileNotFoundError, PermissionError)):
                raise UserError("is damaged", where=job.place(part), remedy=_AGAIN) from None
            raise

    return addresses.retrying(read, addresses.shown(job.place(part)))


def _count(job: Job, part: Part, id_column: str | None) -> Counted:
    columns = ["category", *([id_column] if id_column else [])]

    def action() -> Counted:
        categories, hashes = Counter[str](), list[NDArray[np.uint64]]()
        for batch in _batches(job, part, columns):
            categories.update(dict(batch["category"].value_counts().iter_rows()))
            if id_column is not None:
                hashes.append(_hashes(batch[id_column]))
        ids = np.concatenate(hashes) if hashes else np.empty(0, dtype=np.uint64)
        return Counted(categories.total(), categories, ids)

    counted: Counted = _read(job, part, action)
    return counted


def _hashes(ids: pl.Series) -> NDArray[np.uint64]:
    return ids.hash(0).to_numpy()


class _Buckets:
    """Hashes on the disk, apart by their first bits.

    Args:
        count: of the files, a power of two.
    """

    def __init__(self, count: int) -> None:
        self._shift = np.uint64(64 - max(count.bit_length() - 1, 0))
        self._count, self._files, self._stack = count, list[IO[bytes]](), ExitStack()

    def __enter__(self) -> _Buckets:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="tsirius-")))
        for number in range(self._count):
            self._files.append(self._stack.enter_context((folder / str(number)).open("w+b")))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def add(self, hashes: NDArray[np.uint64]) -> None:
        """Keep these."""
        if self._count == 1:
            self._files[0].write(hashes.tobytes())
            return
        hashes = np.sort(hashes)
        ends = np.searchsorted(hashes >> self._shift, np.arange(1, self._count, dtype=np.uint64))
        for file, some in zip(self._files, np.split(hashes, ends), strict=True):
            file.write(some.tobytes())

    def repeated(self) -> list[int]:
        """Some of those that came twice, at most :data:`SUSPECTS`."""
        found = list[int]()
        for file in self._files:
            file.seek(0)
            hashes = np.sort(np.frombuffer(file.read(), dtype=np.uint64))
            found += np.unique(hashes[1:][hashes[1:] == hashes[:-1]]).tolist()
            if len(found) >= SUSPECTS:
                break
        return found[:SUSPECTS]


def _look_closer(job: Job, parts: Sequence[Part], id_column: str, suspects: Sequence[int]) -> None:
    """Refuse the first id that does come twice; two ids may share a hash.

    Raises:
        UserError: one does.
    """
    wanted, first = pl.Series(suspects, dtype=pl.UInt64), dict[str, str]()
    for part in parts:

        def some(part: Part = part) -> list[str]:
            found = list[str]()
            for batch in _batches(job, part, [id_column]):
                found += batch[id_column].filter(batch[id_column].hash(0).is_in(wanted)).to_list()
            return found

        for name in _read(job, part, some):
            if name in first:
                raise UserError(f"repeats the id {name!r} of {first[name]}", where=part.shown, remedy=REMEDY)
            first[name] = part.name

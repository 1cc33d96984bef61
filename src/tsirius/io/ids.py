"""Whether ids are there and unique, in files of any length: eight bytes an id are kept, not the id."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tsirius.errors import UserError
from tsirius.io.source import Source, read_batches
from tsirius.language.clean import LONGEST
from tsirius.progress import say

SHOWN = 5
"""Rows with a text that is cut of which each is told."""
ROWS = 50_000
"""Rows of a batch."""
REMEDY = 'Make ids unique, or set id_column = "none" to number the rows.'


class Hashes:
    """The 64-bit hashes of all ids so far, in sorted arrays that double in length: quick to look up."""

    def __init__(self) -> None:
        self._sorted: list[NDArray[np.uint64]] = []

    def repeated(self, ids: pl.Series) -> list[str]:
        """Those of ``ids`` that seem to repeat an earlier one; the others are remembered. Two ids may share a hash."""
        hashes = ids.hash().to_numpy()
        repeats = ids.is_duplicated().to_numpy().copy()
        for known in self._sorted:
            at = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
            repeats |= known[at] == hashes
        self._add(np.sort(hashes))
        return list(ids.filter(pl.Series(repeats)).unique())

    def _add(self, new: NDArray[np.uint64]) -> None:
        while self._sorted and len(self._sorted[-1]) <= len(new):
            new = np.sort(np.concatenate([self._sorted.pop(), new]), kind="stable")
        if len(new):
            self._sorted.append(new)


class Unique:
    """Refuses an id that is empty or comes twice, in one file or in several that are read one after the other."""

    def __init__(self) -> None:
        self._hashes, self._sources = Hashes(), list[Source]()

    def check(self, source: Source, batch: pl.DataFrame) -> None:
        """Check the next batch of ``source``; where rows are numbered there is nothing to check.

        Raises:
            UserError: an id is empty or comes twice.
        """
        if source.id_column is None:
            return
        if source not in self._sources:
            self._sources.append(source)
        empty = batch.filter(pl.col("id") == "")
        if empty.height:
            raise UserError("has no id", where=f"{source.path}, row {empty['row'][0]}",
                            remedy='Fill it in, or set id_column = "none" to number the rows.')  # fmt: skip
        suspects = self._hashes.repeated(batch["id"])
        if suspects:
            look_closer(self._sources, set(suspects))


def read_unique(source: Source, *, rows: int, unique: Unique | None = None) -> Iterator[pl.DataFrame]:
    """:func:`tsirius.io.source.read_batches`, with the ids checked; ``unique`` knows those of files read before.

    Raises:
        UserError: a row cannot be read, or an id is empty or comes twice.
    """
    unique = unique or Unique()
    for batch in read_batches(source, rows=rows, cut=say_cut(source)):
        unique.check(source, batch)
        yield batch


def read_together(
    sources: Sequence[Source], *, rows: int, keep: Mapping[Source, Sequence[str]] | None = None
) -> Iterator[tuple[Source, pl.DataFrame]]:
    """The rows of several files as one input, each batch with its file; the ids are unique in all of them.

    With several files, running numbers are preceded by the file's own: "2:17".

    Args:
        sources: the files.
        rows: of a batch.
        keep: by file the columns to hand on, of ids that were checked before: see
            :func:`tsirius.io.source.read_batches`.

    Raises:
        UserError: a row cannot be read, or an id is empty or comes twice.
    """
    unique = Unique()
    for number, source in enumerate(sources, 1):
        batches = (
            read_unique(source, rows=rows, unique=unique)
            if keep is None
            else read_batches(source, rows=rows, keep=keep[source])
        )
        for batch in batches:
            if len(sources) > 1 and source.id_column is None:
                batch = batch.with_columns(id=pl.format("{}:{}", pl.lit(number), "id"))
            yield source, batch


def say_cut(source: Source) -> Callable[[int, int], None]:
    """A function that tells the user of each row whose text is cut, of the first few by one."""
    told = 0

    def cut(row: int, characters: int) -> None:
        nonlocal told
        told += 1
        if told <= SHOWN:
            more = "; later ones are not shown" if told == SHOWN else ""
            say(f"{source.path}, row {row}: of {characters:,} characters the first {LONGEST:,} are read{more}")

    return cut


def check(source: Source) -> int:
    """Read a file of reviews to its end, so that no fault in it shows only hours later; returns how many rows it has.

    Raises:
        UserError: a row cannot be read, an id is empty or comes twice, or there are no rows.
    """
    rows = sum(batch.height for batch in read_unique(source, rows=ROWS))
    if not rows:
        raise UserError("has no rows", where=source.path, remedy="Give a file with reviews.")
    return rows


def check_alone(source: Source) -> None:
    """Read the ids of a file, and no text: an id that repeats shows before any work.

    Raises:
        UserError: a row cannot be read, or an id is empty or comes twice.
    """
    if source.id_column is not None:
        for _ in read_unique(replace(source, text_columns=(), category_column=None), rows=ROWS):
            pass


def look_closer(sources: Sequence[Source], suspects: Collection[str]) -> None:
    """Refuse the first of ``suspects`` that does come twice in the files.

    Raises:
        UserError: one does.
    """
    first: dict[str, tuple[Source, int]] = {}
    for source in sources:
        for batch in read_batches(source, rows=ROWS):
            for row, name in batch.filter(pl.col("id").is_in(list(suspects))).select("row", "id").iter_rows():
                if name in first:
                    other, before = first[name]
                    of = "" if other is source else f" of {other.path}"
                    raise UserError(f"repeats the id {name!r} of row {before}{of}", where=f"{source.path}, row {row}",
                                    remedy=REMEDY)  # fmt: skip
                first[name] = source, row

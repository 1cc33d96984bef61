"""Whether ids are there and come once, in a file of any length: eight bytes an id are kept, not the id."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tsirius.errors import UserError
from tsirius.io.source import Source, read_batches

ROWS = 50_000
"""Rows that are looked at together."""
REMEDY = 'Make ids unique, or set id_column = "none" to number the rows.'


class Hashes:
    """The 64-bit hashes of all ids so far, in sorted arrays that double in length: a new one is soon looked up."""

    def __init__(self) -> None:
        self._sorted: list[NDArray[np.uint64]] = []

    def repeated(self, ids: pl.Series) -> list[str]:
        """Those of ``ids`` that seem to have come before; the others are remembered. Two ids may share a hash."""
        hashes = ids.hash().to_numpy()
        found = ids.is_duplicated().to_numpy().copy()
        for known in self._sorted:
            places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
            found |= known[places] == hashes
        self._add(np.sort(hashes))
        return list(ids.filter(pl.Series(found)).unique())

    def _add(self, new: NDArray[np.uint64]) -> None:
        while self._sorted and len(self._sorted[-1]) <= len(new):
            new = np.sort(np.concatenate([self._sorted.pop(), new]), kind="stable")
        if len(new):
            self._sorted.append(new)


def check(source: Source) -> int:
    """Read a file of reviews once to its end, so that nothing is wrong with it that would show only hours later.

    Returns:
        How many rows it has.

    Raises:
        UserError: a row cannot be read, or an id is empty or comes twice.
    """
    rows, hashes = 0, Hashes()
    for batch in read_batches(source, rows=ROWS, check_ids=False):
        if source.id_column is not None:
            empty = batch.filter(pl.col("id") == "")
            if empty.height:
                raise UserError("has no id", where=f"{source.path}, row {empty['row'][0]}",
                                remedy='Fill it in, or set id_column = "none" to number the rows.')  # fmt: skip
            suspects = hashes.repeated(batch["id"])
            if suspects:
                look_closer(source, set(suspects))
        rows += batch.height
    return rows


def look_closer(source: Source, suspects: Collection[str]) -> None:
    """Refuse the first of ``suspects`` that does come twice.

    Raises:
        UserError: one does.
    """
    first: dict[str, int] = {}
    for batch in read_batches(source, rows=ROWS, check_ids=False):
        for row, name in batch.filter(pl.col("id").is_in(list(suspects))).select("row", "id").iter_rows():
            if name in first:
                raise UserError(f"repeats the id {name!r} of row {first[name]}", where=f"{source.path}, row {row}",
                                remedy=REMEDY)  # fmt: skip
            first[name] = row

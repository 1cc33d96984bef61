"""Compare: predictions are published only once they were compared with the file that they are for.

Row count, ids, their order and the categories are read back from the written file. The class prior of the predictions
is compared with the one estimated by the labellers; a difference is reported, not refused, since either may be right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

import polars as pl

from tsirius.categories import key, spellings
from tsirius.errors import UserError, nearest
from tsirius.io import ids
from tsirius.io.source import Source, read_batches
from tsirius.io.spreadsheet import unescape

FAR = 0.2
"""Total variation between the two priors from which on it is reported."""
REMEDY = "Predict the file again."


def check(written: Source, reviews: Source, *, names: Sequence[str], escaped: bool) -> dict[str, int]:
    """Compare predictions as they were written with the file that they are for.

    Args:
        written: the predictions; without ids where ``reviews`` has none.
        reviews: the file of reviews.
        names: the categories.
        escaped: whether its cells are as :func:`tsirius.io.spreadsheet.escape` writes them.

    Returns:
        How many rows each category has, the commonest first, else in the order of ``names``.

    Raises:
        UserError: a row is missing, too many, out of order, twice there or of an unknown category.
    """
    counts: Counter[str] = Counter()
    spelled = spellings(names)
    hashes, known, by_id = ids.Hashes(), set(names), reviews.id_column is not None
    if by_id and written.id_column is None:
        raise UserError("has no ids, the test file has", where=written.path, remedy=REMEDY)
    written_rows = expected_rows = 0
    nothing = pl.DataFrame(schema={"row": pl.Int64, "id": pl.String, "category": pl.String})
    pairs = zip_longest(
        read_batches(written, rows=ids.ROWS),
        read_batches(reviews, rows=ids.ROWS),
        fillvalue=nothing,
    )
    wrong: tuple[int, str, str] | None = None
    for batch, expected in pairs:
        if escaped:
            batch = batch.with_columns(pl.Series(name, map(unescape, batch[name])) for name in ("id", "category"))
        batch = batch.with_columns(
            category=pl.Series([spelled.get(key(c), c) for c in batch["category"]], dtype=pl.String)
        )
        for row, name in batch.filter(~pl.col("category").is_in(names)).select("row", "category").head(1).iter_rows():
            raise UserError(f"unknown category {name!r}{nearest(name, known)}", where=f"{written.path}, row {row}",
                            remedy=REMEDY)  # fmt: skip
        if by_id:
            repeated = hashes.repeated(batch["id"])
            if repeated:
                ids.look_closer([written], set(repeated))
            both = min(batch.height, expected.height)
            same = batch["id"].head(both) == expected["id"].head(both)
            if wrong is None and not same.all():
                at = int((~same).arg_max() or 0)
                wrong = (written_rows + at + 1, batch["id"][at], expected["id"][at])
        counts.update(dict(batch["category"].value_counts().iter_rows()))
        written_rows += batch.height
        expected_rows += expected.height
    if written_rows != expected_rows:
        detail = f"; the first that differs is row {wrong[0]}: {wrong[1]!r} for {wrong[2]!r}" if wrong else ""
        raise UserError(f"has {written_rows:,} rows where the test file has {expected_rows:,}{detail}",
                        where=written.path, remedy=REMEDY)  # fmt: skip
    if wrong is not None:
        raise UserError(f"has the id {wrong[1]!r} where the test file has {wrong[2]!r}: rows are missing or out of"
                        " order", where=f"{written.path}, row {wrong[0]}", remedy=REMEDY)  # fmt: skip
    order = {name: number for number, name in enumerate(names)}
    return dict(sorted(counts.items(), key=lambda one: (-one[1], order[one[0]])))


@dataclass(frozen=True)
class Drift:
    """How far the mix of the predictions is from the estimated one.

    Attributes:
        distance: total variation: the share of rows that would have to change their category, 0 to 1.
        category: the one whose share differs most.
        predicted: its share of the predictions.
        estimated: its share in the estimate.
    """

    distance: float
    category: str
    predicted: float
    estimated: float

    def to_dict(self) -> dict[str, Any]:
        """The drift as JSON takes it."""
        return asdict(self)

    def line(self) -> str:
        """The drift in one line."""
        return (
            f"the predicted mix is {self.distance:.0%} away from the one estimated from the reviews"
            f" («{self.category}»: {self.predicted:.1%} predicted, {self.estimated:.1%} estimated)"
        )


def drift(counts: Mapping[str, int], estimated: Mapping[str, float]) -> Drift | None:
    """Compare rows per category with estimated shares; None where there is nothing to compare."""
    total, whole = sum(counts.values()), sum(estimated.values())
    if not total or not whole:
        return None
    names = sorted({*counts, *estimated})
    shares = {name: (counts.get(name, 0) / total, estimated.get(name, 0.0) / whole) for name in names}
    most = max(names, key=lambda name: abs(shares[name][0] - shares[name][1]))
    distance = sum(abs(one - other) for one, other in shares.values()) / 2
    return Drift(round(distance, 4), most, round(shares[most][0], 4), round(shares[most][1], 4))

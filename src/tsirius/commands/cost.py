"""What many reviews would cost with the model of a run, measured on some of its own reviews."""

from __future__ import annotations

from itertools import islice

from tsirius import tables
from tsirius.config import Config
from tsirius.errors import UserError
from tsirius.models.classifier import Classifier
from tsirius.scale import cost
from tsirius.scale.plan import ROWS_PER_PART
from tsirius.store import Store

TEXTS = 20_000
"""Reviews of the run, at most, from which those that are classified are drawn."""


def lines(config: Config, rows: str, *, workers: int) -> list[str]:
    """The cost of ``rows`` reviews ("1e9") with the model of the finished run of ``config``, as lines of text.

    Raises:
        UserError: the run is not finished or has too few reviews, or ``rows`` is no number.
    """
    try:
        count = int(float(rows.replace(",", "").replace("_", "")))
    except (ValueError, OverflowError):
        count = 0
    if count < 1:
        raise UserError(f"{rows!r} is no number of reviews", where="--rows", remedy="Write 1e9, or 1000000.")
    store = Store(config.runs / config.name)
    reviews = store.read("ingest") / "reviews.parquet"
    classifier = Classifier.load(store.root)
    texts = [text for batch in islice(tables.batches(reviews, rows=TEXTS), 1) for text in batch["text"]]
    try:
        found = cost.probe(classifier, texts)
    except ValueError as error:
        raise UserError(f"has too few reviews to measure with: {error}", where=reviews) from None
    return cost.lines(found, rows=count, workers=workers, rows_per_part=ROWS_PER_PART)

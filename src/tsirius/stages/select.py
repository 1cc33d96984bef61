"""Select: which labels are trusted enough to learn from.

A review is *sure* where its label's confidence reaches ``sure``. A category that has fewer than ``min_per_class`` sure
reviews is topped up from the grey zone (confidence between ``grey`` and ``sure``), the most confident first. A label
that is likely wrong is left out, however sure it is. What a person answered is kept, with its copies; exam
reviews are not. Every review keeps the reason why it was kept or left; "not sampled" where label drew a sample without
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import Field, model_validator

from tsirius import tables
from tsirius.progress import say
from tsirius.section import Section

VERSION = 3


ROLES = {
    "lesson": "answered",
    "copy": "copy of an answered one",
    "several": "several products",
    "disputed": "people are divided",
    "exam": "exam",
}
"""What answers make of a review → the reason why it is kept or left."""
TRUSTED = (ROLES["lesson"], ROLES["copy"])
BATCH_ROWS = 20_000
"""Texts in memory at a time."""


class Config(Section):
    sure: float = Field(0.6, ge=0, le=1)
    """Keep a review whose label has at least this confidence."""
    grey: float = Field(0.4, ge=0, le=1)
    """Down to this confidence, reviews top up a category that is short of sure ones."""
    min_per_class: int = Field(50, ge=0)
    """A category with fewer sure reviews than this is topped up from the grey zone."""
    doubtful: Literal["drop", "halve", "keep"] = "drop"
    """What to do with labels that are likely wrong, judged by the labels of similar reviews: drop them, halve their
    confidence (a row's training weight, see ``train.linear_weights``), or keep them."""

    @model_validator(mode="after")
    def _ordered(self) -> Config:
        if self.grey > self.sure:
            raise ValueError(f"grey ({self.grey}) is above sure ({self.sure}); lower grey or raise sure")
        return self


def run(config: Config, given: Mapping[str, Path], out: Path, *, seed: int, scratch: Path) -> dict[str, Any]:
    path = given["ingest"] / "reviews.parquet"
    labels = tables.read(given["answers"] / "labels.parquet", tables.TAUGHT)
    labelled = choose(
        tables.read(path, tables.REVIEWS, ("id",)).join(labels, on="id", how="left", maintain_order="left"),
        sure=config.sure,
        grey=config.grey,
        min_per_class=config.min_per_class,
        doubtful=config.doubtful,
    )
    with tables.writer(tables.LABELLED, out / "labelled.parquet") as write:
        batches = tables.batches(path, rows=BATCH_ROWS, columns=("id", "clean", "group"))
        for number, reviews in enumerate(batches):
            decided = labelled.slice(number * BATCH_ROWS, reviews.height)
            write(reviews.hstack(decided.drop("id")))
    reasons = dict(labelled["reason"].value_counts(sort=True).iter_rows())
    kept = int(labelled["kept"].sum())
    say(f"  {kept:,} of {labelled.height:,} reviews kept: " + ", ".join(f"{n:,} {r}" for r, n in reasons.items()))
    return {"rows": labelled.height, "kept": kept, "reasons": reasons}


def choose(labelled: pl.DataFrame, *, sure: float, grey: float, min_per_class: int, doubtful: str) -> pl.DataFrame:
    """Add ``kept`` and ``reason`` to reviews with ``label`` (null: no labeller spoke), ``confidence``, ``doubtful``,
    ``role`` and ``labellers`` (null: none was asked).

    Ties in confidence are broken by the order of the rows, so that the same reviews give the same choice.
    """
    confidence = pl.col("confidence").fill_null(0.0)
    zone = (
        pl.when(pl.col("role").is_in(list(ROLES))).then(pl.col("role").replace(ROLES))
        .when(pl.col("label").is_null() & pl.col("labellers").is_null()).then(pl.lit("not sampled"))
        .when(pl.col("label").is_null()).then(pl.lit("no label"))
        .when(pl.col("doubtful") & (doubtful == "drop")).then(pl.lit("likely wrong"))
        .when(confidence >= sure).then(pl.lit("sure"))
        .when(confidence >= grey).then(pl.lit("grey"))
        .otherwise(pl.lit("unsure"))
    )  # fmt: skip
    zoned = labelled.with_columns(zone.alias("zone"))
    missing = min_per_class - pl.col("zone").is_in(["sure", *TRUSTED]).cast(pl.Int64).sum().over("label")
    rank = confidence.rank("ordinal", descending=True).over("label", "zone")
    topped = (pl.col("zone") == "grey") & (rank <= missing)
    return zoned.with_columns(
        kept=pl.col("zone").is_in(["sure", *TRUSTED]) | topped,
        reason=pl.when(topped)
        .then(pl.lit("grey, tops up"))
        .when(pl.col("zone") == "grey")
        .then(pl.lit("grey, not needed"))
        .otherwise(pl.col("zone")),
        confidence=pl.when(pl.col("doubtful") & (doubtful == "halve"))
        .then(pl.col("confidence") / 2)
        .otherwise(pl.col("confidence")),
    ).drop("zone")

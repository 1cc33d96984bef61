"""Letters: how often a letter occurs in each review. A stage as CONTRIBUTING.md describes one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field

from tsirius import tables
from tsirius.progress import say
from tsirius.section import Section

VERSION = 1


class Config(Section):
    letter: str = Field("а", min_length=1, max_length=1)
    """The letter that is counted."""
    rows: int = Field(100, ge=1)
    """Rows at a time; changes no result."""

    speed_only = frozenset({"rows"})


def run(config: Config, given: Mapping[str, Path], out: Path, *, seed: int, scratch: Path) -> dict[str, Any]:
    reviews = tables.read(given["ingest"] / "reviews.parquet", tables.REVIEWS)
    counts = count(reviews["clean"], letter=config.letter)
    reviews.select("id").with_columns(count=counts).write_parquet(out / "counts.parquet")
    say(f"  {counts.sum():,} times {config.letter!r}")
    return {"rows": reviews.height, "count": int(counts.sum())}


def count(texts: pl.Series, *, letter: str) -> pl.Series:
    """How often ``letter`` occurs in each text."""
    return texts.str.count_matches(letter, literal=True)

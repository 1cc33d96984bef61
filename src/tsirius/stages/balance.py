"""Balance: how many reviews of each category are learned from.

A category with more than ``max_per_class`` reviews gives a sample of them; one with fewer than ``min_per_class`` has
its reviews repeated. Only training rows are touched: validation keeps the natural mix, and so do the predictions' true
categories, which is why balancing a lopsided set to equal parts makes a model predict rare categories far too often.
Hence the defaults: nothing is repeated, and only categories so large that more reviews would hardly teach more are cut.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field, model_validator

from tsirius import tables
from tsirius.progress import say
from tsirius.section import Section

VERSION = 2


class Config(Section):
    min_per_class: int = Field(0, ge=0)
    """Oversample categories with fewer training reviews up to this many, each review equally often (0: off)."""
    max_per_class: int = Field(10_000, ge=0)
    """Subsample categories with more training reviews down to this many (0: off). The default leaves files of up to
    some 20,000 reviews, and their mix, alone; beyond it pseudo-labelled rows cost training time and mostly repeat the
    labeller's own errors."""

    @model_validator(mode="after")
    def _ordered(self) -> Config:
        if 0 < self.max_per_class < self.min_per_class:
            raise ValueError(
                f"min_per_class ({self.min_per_class}) is above max_per_class ({self.max_per_class});"
                " lower one or raise the other"
            )
        return self


def run(config: Config, given: Mapping[str, Path], out: Path, *, seed: int, scratch: Path) -> dict[str, Any]:
    train = tables.read(given["split"] / "train.parquet", tables.EXAMPLES)
    balanced = balance(train, min_per_class=config.min_per_class, max_per_class=config.max_per_class, seed=seed)
    tables.write(balanced, tables.EXAMPLES, out / "train.parquet")
    before = Counter(train["label"].to_list())
    repeated = Counter(balanced.filter(pl.col("method") == "repeat")["label"].to_list())
    after = Counter(balanced["label"].to_list())
    cut = {name: rows - after[name] for name, rows in before.items() if rows > after[name]}
    for name in before:
        if name in cut:
            say(f"  {name}: {after[name]:,} of {before[name]:,} reviews sampled")
        if repeated[name]:
            say(f"  {name}: oversampled from {before[name]:,} to {after[name]:,} reviews")
    return {"rows": balanced.height, "categories": dict(after.most_common()), "repeated": dict(repeated), "cut": cut}


def balance(train: pl.DataFrame, *, min_per_class: int, max_per_class: int, seed: int) -> pl.DataFrame:
    """A table of :data:`tsirius.tables.EXAMPLES` with the quotas applied (0: none), repeats at its end.

    Args:
        train: written rows, ids all different.
        min_per_class: rows that a category has at least, unless it has none.
        max_per_class: rows that a category has at most.
    """
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(train["label"].to_list()):
        rows_of[label].append(row)
    kept, repeats = list[int](), list[int]()
    for rows in rows_of.values():
        if max_per_class and len(rows) > max_per_class:
            rows = sample(train, rows, count=max_per_class, seed=seed)
        kept += rows
        repeats += repeat(train, rows, count=min_per_class - len(rows))
    written, copies = train.select(pl.all().gather(sorted(kept))), train.select(pl.all().gather(repeats))
    ids = list(fresh_ids(copies["id"].to_list(), taken=set(train["id"].to_list())))
    copies = copies.with_columns(id=pl.Series(ids, dtype=pl.String), method=pl.lit("repeat"))
    return pl.concat([written, copies], rechunk=True)


def sample(train: pl.DataFrame, rows: list[int], *, count: int, seed: int) -> list[int]:
    """Draw ``count`` of ``rows``, a group's second row only after every group's first.

    Within that, the draw is weighted by confidence (Efraimidis and Spirakis 2006): the surest alone would be the
    easiest, those that name their category outright, and a model of them learns nothing else; at even chances the
    labels most likely to be wrong would come as often as the best.
    """
    ids, groups = train["id"].to_list(), train["group"].to_list()
    confidences = train["confidence"].fill_null(0.0).to_list()
    drawn = sorted((_waiting_time(confidences[row], f"{seed}:{ids[row]}"), row) for row in rows)
    seen = Counter[int]()
    ranked = []
    for time, row in drawn:
        ranked.append((seen[groups[row]], time, row))
        seen[groups[row]] += 1
    return [row for _, _, row in sorted(ranked)[:count]]


def _waiting_time(weight: float, key: str) -> float:
    """Exponential with rate ``weight``: the first ``count`` of many are a sample weighted that way."""
    return -math.log(1 - random.Random(key).random()) / max(weight, 1e-3)


def repeat(train: pl.DataFrame, rows: list[int], *, count: int) -> list[int]:
    """``count`` of ``rows``, each as often as any other or once more; the surest are those once more."""
    confidence = train["confidence"].fill_null(0.0).to_list()
    surest = sorted(rows, key=lambda row: -confidence[row])  # equally sure ones stay in their order
    return [surest[number % len(surest)] for number in range(count)]


def fresh_ids(ids: list[str], *, taken: set[str]) -> Iterator[str]:
    """For each id its next ``<id>~r<number>`` that is not ``taken``: no two of these can be equal."""
    numbers = Counter[str]()
    for id in ids:
        while True:
            numbers[id] += 1
            fresh = f"{id}~r{numbers[id]}"
            if fresh not in taken:
                break
        yield fresh

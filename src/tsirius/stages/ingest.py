"""Ingest: read the reviews, clean them, and find the copies among them.

Each row becomes a review with its text as it came and its cleaned text. Rows that are empty, too long, or of which
cleaning leaves nothing are set aside with their row numbers. Exact and near duplicates share a ``group``, so that
copies of one text never end up both in training and in validation. The test file is not opened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
from pydantic import AfterValidator, Field, field_validator

from tsirius import sampling, tables
from tsirius.errors import UserError
from tsirius.io import addresses, category_file, copies, ids
from tsirius.io.source import Source, describe_source, names, open_other, open_sources, read_batches
from tsirius.io.spill import Spilled
from tsirius.language.clean import normalise
from tsirius.language.near_duplicates import near_duplicate_groups
from tsirius.progress import progress, say
from tsirius.section import Section

VERSION = 2

BATCH_ROWS = 20_000
SHOWN_ROWS = 5
SHOWN, SHOWN_CHARACTERS = 3, 100
"""Rows of a file that ``tsirius check`` shows, and characters of each."""


def _address(given: Path | str) -> Path | str:
    """A URL as it is, which a path would shorten; anything else as a path."""
    return given if addresses.is_url(str(given)) else Path(given)


Address = Annotated[str | Path, AfterValidator(_address)]


class Config(Section):
    train: Address | list[Address]
    """The reviews to learn from: CSV, TSV, JSON Lines, Parquet or Excel (.xlsx), also compressed (gz, xz, zst). Several
    as a list, by a pattern such as "reviews/*.xlsx", or as a folder of parts; also by URL (s3, gs, abfs, https), with
    credentials in the environment."""
    test: Path | None = None
    """The reviews to predict; "" for none. Only the predict stage opens this file."""
    categories: Path
    """The categories: TOML with [[category]] tables, plain text with one name a line, or CSV or Excel with a column of
    names and one of descriptions."""
    text_column: str | list[str] = "auto"
    """The column that holds the review; of several, as a list, the texts are joined, each with its column's name.
    "auto" takes a usual name, with the columns of pros and cons beside it, or the only column; so does a test or gold
    file that has no column of this name."""
    id_column: str = "auto"
    """The column that names a review. "auto" takes a usual name, else rows are numbered; "none" always numbers them."""
    encoding: str = "auto"
    """The files' encoding. "auto" tells UTF-8, UTF-16 and code pages (CP1251, KOI8-R, CP866, …) apart, or refuses."""
    sheet: str | int = "auto"
    """The sheet of an Excel workbook: its name, or its number from 1; "auto" takes the first that is not hidden."""
    near_duplicate: float = Field(0.8, gt=0, le=1)
    """Reviews whose character 5-grams are at least this alike (Jaccard) count as copies; 1 asks for the same words."""
    max_characters: int = Field(10_000, ge=1)
    """Longer reviews are set aside: they are rarely reviews."""

    @field_validator("train", "categories", mode="before")
    @classmethod
    def _named(cls, given: object) -> object:
        if "" in (given if isinstance(given, list) else [given]):  # as a path it would be the folder at hand
            raise ValueError("names no file; name one")
        return given

    @field_validator("train")
    @classmethod
    def _some(cls, train: Path | str | list[Path | str]) -> Path | str | list[Path | str]:
        paths = _listed(train)
        if not paths:
            raise ValueError("names no file; name at least one")
        twice = [path for path, count in Counter(paths).items() if count > 1]
        if twice:
            raise ValueError(f"names {twice[0]} twice; name it once")
        return train


@copies.named()
def run(config: Config, given: Mapping[str, Path], out: Path, *, seed: int, scratch: Path) -> dict[str, Any]:
    known = category_file.load(config.categories)
    sources = open_sources(files(config), **read_as(config))
    for source in sources:
        say(f"  {describe_source(source)}")
    part = scratch / "ungrouped.parquet"
    clean, rejected, where = read(sources, part, out / "rejected.parquet", max_characters=config.max_characters)
    total = len(clean) + rejected.total()
    if not clean:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in rejected.items()) or "no rows"
        raise UserError(f"no usable review ({reasons})", 
                        where=", ".join(copies.shown(source.path) for source in sources),
                        remedy="Check the file and text_column.")  # fmt: skip
    groups = near_duplicate_groups(clean, similarity=config.near_duplicate)
    write_groups(part, groups, out / "reviews.parquet")
    part.unlink()
    (out / "categories.json").write_text(known.to_json(), encoding="utf-8")
    exact = len(clean) - len(np.unique(sampling.numbers(clean)))
    near = len(clean) - len(set(groups)) - exact
    for reason, count in rejected.items():
        more = f" and {count - SHOWN_ROWS:,} more" if count > SHOWN_ROWS else ""
        say(f"  {count:,} {reason}, set aside: {', '.join(where[reason])}{more}")
    say(f"  {len(clean):,} of {total:,} reviews kept; {exact:,} exact and {near:,} near duplicates of an earlier one")
    return {
        "rows": total,
        "kept": len(clean),
        "rejected": dict(rejected),
        "groups": len(set(groups)),
        "exact_duplicates": exact,
        "near_duplicates": near,
        "columns": {
            copies.shown(source.path): {"text": " + ".join(source.text_columns), "id": source.id_column}
            for source in sources
        },
    }


@copies.named()
def check(config: Config) -> None:
    """Look at the categories, at the beginning of every file of reviews, and at the ids of the test file.

    Raises:
        UserError: one of them cannot be used.
    """
    category_file.load(config.categories)
    open_sources(files(config), **read_as(config))
    if config.test is not None:
        ids.check_alone(open_other(config.test, **read_as(config), text_required=True))


@copies.named()
def show(config: Config) -> None:
    """Say how each file to learn from is read, and show its first rows; of the test file how it is read, no row."""
    for source in open_sources(files(config), **read_as(config)):
        say(describe_source(source))
        for batch in islice(read_batches(source, rows=SHOWN), 1):
            for row, name, text in batch.select("row", "id", "text").iter_rows():
                shown = " ".join(text.split())
                identity = "" if source.id_column is None else f"{name}: "
                say(f"  {row}  {identity}{shown[:SHOWN_CHARACTERS]}{'…' if len(shown) > SHOWN_CHARACTERS else ''}")
    if config.test is not None:
        say(describe_source(open_other(config.test, **read_as(config), text_required=True)))
    known = category_file.load(config.categories)
    say(f"{config.categories.name}: {len(known.names)} categories, without a product «{known.none}»")


def files(config: Config) -> list[Path]:
    """The files to learn from; those at URLs are copied.

    Raises:
        UserError: a pattern or a folder stands for none, a store denies them or fails, or a file is named twice.
    """
    return copies.files(_listed(config.train))


def read_as(config: Config) -> dict[str, Any]:
    """How the files are read, as :func:`tsirius.io.source.open_source` takes it."""
    return {name: getattr(config, name) for name in ("text_column", "id_column", "encoding", "sheet")}


def _listed(train: Path | str | list[Path | str]) -> list[Path | str]:
    return train if isinstance(train, list) else [train]


def read(
    sources: list[Source], part: Path, set_aside: Path, *, max_characters: int
) -> tuple[Sequence[str], Counter[str], dict[str, list[str]]]:
    """Write the rows that are kept to ``part`` (reviews without groups) and the others to ``set_aside``.

    Returns:
        The cleaned texts that are kept, in the temporary folder; for each reason how many rows are not, and where the
        first few of them are.
    """
    clean = Spilled()
    rejected: Counter[str] = Counter()
    where: dict[str, list[str]] = {}
    ungrouped = {name: kind for name, kind in tables.REVIEWS.items() if name != "group"}
    several, called = len(sources) > 1, names(sources)
    with (
        tables.writer(ungrouped, part) as keep,
        tables.writer(tables.REJECTED, set_aside) as reject,
        progress("read and clean") as advance,
    ):
        for source, batch in ids.read_together(sources, rows=BATCH_ROWS):
            # What is too long is set aside: cleaning it would be time lost.
            texts = [normalise(text) if len(text) <= max_characters else "" for text in batch["text"]]
            cleaned = pl.Series("clean", texts, dtype=pl.String)
            batch = batch.with_columns(cleaned, source=pl.lit(called[source]))
            judged = batch.with_columns(reason=_reason(max_characters))
            good = judged.filter(pl.col("reason").is_null())
            bad = judged.filter(pl.col("reason").is_not_null())
            keep(good)
            reject(bad)
            clean.extend(good["clean"])
            for row, why in bad.select("row", "reason").iter_rows():
                rejected[why] += 1
                if rejected[why] <= SHOWN_ROWS:
                    position = f"{called[source]} row {row}" if several else f"row {row}"
                    where.setdefault(why, []).append(position)
            advance(batch.height)
    return clean, rejected, where


def _reason(max_characters: int) -> pl.Expr:
    """Why a row with ``text`` and ``clean`` is set aside, or null."""
    return (
        pl.when(pl.col("text").str.strip_chars() == "").then(pl.lit("empty"))
        .when(pl.col("text").str.len_chars() > max_characters).then(pl.lit("too long"))
        .when(pl.col("clean") == "").then(pl.lit("nothing left"))
        .otherwise(pl.lit(None, dtype=pl.String))
    )  # fmt: skip


def write_groups(part: Path, groups: list[int], path: Path) -> None:
    """Copy the reviews in ``part`` to ``path``, each with its group."""
    group = pl.Series("group", groups, dtype=pl.Int64)
    done = 0
    with tables.writer(tables.REVIEWS, path) as write:
        for batch in tables.batches(part, rows=BATCH_ROWS):
            write(batch.with_columns(group[done : done + batch.height]))
            done += batch.height

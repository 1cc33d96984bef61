"""Table: the reviews as they came, each with its label, for a person to open: ``labelled.csv`` and ``labelled.xlsx``.

Every row and every column of the files, in their order, then the label, its confidence, whether the row was kept to
learn from and why, and what each labeller said. Rows that were set aside are there too, with the reason. A column of
the files that is called as one of these gets " (input)" after its name; with several files, ``source`` says which one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import polars as pl

from tsirius import tables
from tsirius.io import ids, spreadsheet, workbook
from tsirius.io.source import KEPT, Source, names
from tsirius.io.writers import apart
from tsirius.progress import progress, say
from tsirius.reporting.records import read_columns, read_votes
from tsirius.section import Section

VERSION = 3

EXPORTS = ("labelled.csv", "labelled.xlsx")
LABELLED = ("label", "confidence", "reason")
BATCH_ROWS = 20_000


class Config(Section):
    xlsx: bool = True
    """Write labelled.xlsx, an Excel workbook, beside labelled.csv."""
    delimiter: Literal[",", ";"] = ","
    """Between the cells of labelled.csv. A Russian Excel, or another one with a decimal comma, expects ";"."""


def run(config: Config, given: Mapping[str, Path], out: Path, *, sources: Sequence[Source]) -> dict[str, Any]:
    decided, labellers = read_decisions(given)
    first, ours = ["source"] if len(sources) > 1 else [], [*LABELLED, *labellers]
    called = names(sources)
    keep = {source: tuple(name for name in source.columns if name) for source in sources}
    theirs = {name: apart(name, [*first, *ours]) for own in keep.values() for name in own}
    columns = [*first, *theirs.values(), *ours]
    texts = {theirs[name] for source in sources for name in source.text_columns}
    xlsx = config.xlsx and _fits(decided.height, len(columns), out / EXPORTS[1])
    with ExitStack() as stack:
        handle = stack.enter_context((out / EXPORTS[0]).open("w", encoding="utf-8-sig", newline=""))
        add = spreadsheet.writer(handle, delimiter=config.delimiter)
        add([columns])
        sheet = stack.enter_context(workbook.new_sheet(out / EXPORTS[1], columns, texts=list(texts))) if xlsx else None
        advance = stack.enter_context(progress("table", total=decided.height))
        for source, batch in ids.read_together(sources, rows=BATCH_ROWS, keep=keep):
            rows = _labelled(batch, called[source], decided, theirs).select(columns)
            add(rows.iter_rows())
            if sheet is not None:
                sheet(workbook.typed_rows(rows.iter_rows(), columns, plain={*texts, *ours}))
            advance(batch.height)
    return {"rows": decided.height, "columns": columns, "xlsx": xlsx}


def read_decisions(given: Mapping[str, Path]) -> tuple[pl.DataFrame, list[str]]:
    """What was decided about each row, by ``id``: the label, its confidence, the reason, and what each labeller said.

    Returns:
        The table, and the names of the labellers.
    """
    rows = read_columns(given["select"] / "labelled.parquet", tables.LABELLED, ("id", *LABELLED))
    votes = read_votes(given["label"] / "votes.parquet")
    labellers = votes["labeller"].unique(maintain_order=True).to_list()
    for name in labellers:
        said = votes.filter(pl.col("labeller") == name).select("id", pl.col("vote").alias(name))
        rows = rows.join(said, on="id", how="left", maintain_order="left")
    aside = read_columns(given["ingest"] / "rejected.parquet", tables.REJECTED, ("id", "reason"))
    aside = aside.with_columns(reason=pl.format("set aside: {}", "reason"))
    return pl.concat([rows, aside], how="diagonal"), labellers


def _fits(rows: int, columns: int, path: Path) -> bool:
    """Whether a sheet holds them; said where it does not."""
    if rows < workbook.ROWS and columns <= workbook.COLUMNS:
        return True
    say(f"  no {path.name}: {rows:,} rows and {columns:,} columns; a sheet holds {workbook.ROWS:,} and"
        f" {workbook.COLUMNS:,}. All is in {EXPORTS[0]}")  # fmt: skip
    return False


def _labelled(batch: pl.DataFrame, called: str, decided: pl.DataFrame, theirs: Mapping[str, str]) -> pl.DataFrame:
    """Rows of a file, which is ``called`` so, with all columns of the files, and what was decided about them."""
    kept = {own: pl.col(KEPT + name) if KEPT + name in batch.columns else pl.lit("") for name, own in theirs.items()}
    rows = batch.select("id").join(decided, on="id", how="left", maintain_order="left").drop("id")
    rows = rows.with_columns(pl.col("confidence").cast(pl.Float64).round(4))
    table = batch.select(**kept).hstack(rows)
    return table if "source" in table.columns else table.with_columns(source=pl.lit(called))

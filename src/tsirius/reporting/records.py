"""What the report reads of a run: the stages' records and their tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tsirius import tables
from tsirius.reporting import figures

STAGES = ("ingest", "label", "answers", "select", "split", "balance", "augment", "train", "evaluate", "predict")


Records = Mapping[str, Mapping[str, Any]]
"""Each stage's ``record.json``; empty where a stage left none."""


def read_records(given: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """The records of the stages, by stage in the flow's order.

    Args:
        given: the stages' folders.
    """
    return {stage: read_json(given[stage] / "record.json") for stage in STAGES if stage in given}


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no such file."""
    value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return value if isinstance(value, dict) else {}


def settings(records: Records, stage: str) -> dict[str, Any]:
    """A stage's settings, from its record or from the key of its record, with the key's seed."""
    record = records.get(stage) or {}
    key = record.get("key") or {}
    values = dict(record.get("settings") or key.get("settings") or {})
    return {**values, "seed": key["seed"]} if "seed" in key else values


def notes(records: Records, stage: str) -> Mapping[str, Any]:
    """What a stage noted in its record; empty where it noted nothing."""
    return (records.get(stage) or {}).get("notes") or {}


def details(records: Records) -> list[dict[str, Any]]:
    """Each stage's settings and notes, as (key, value) pairs of text."""
    return [
        {
            "stage": stage,
            "settings": figures.flat(settings(records, stage)),
            "notes": figures.flat(notes(records, stage)),
        }
        for stage, record in records.items()
        if record
    ]


def versions(records: Records) -> list[tuple[str, str]]:
    """The packages' versions; where stages ran under different ones, each is named."""
    numbers: dict[str, dict[str, None]] = {}
    for record in records.values():
        for package, version in (record.get("versions") or {}).items():
            numbers.setdefault(str(package), {})[str(version)] = None
    return [(package, ", ".join(several)) for package, several in sorted(numbers.items())]


def read_columns(path: Path, schema: tables.Schema, names: Sequence[str]) -> pl.DataFrame:
    """Some columns of a table, without reading the others: a million texts would not fit a small machine."""
    return tables.scan(path).select(pl.col(name).cast(schema[name]) for name in names).collect()


def read_table(path: Path, schema: tables.Schema) -> pl.DataFrame:
    """A table that runs of an older version lack: empty then."""
    return tables.read(path, schema) if path.is_file() else pl.DataFrame(schema=dict(schema))


def read_votes(path: Path) -> pl.DataFrame:
    """The category that each labeller votes for: ``id``, ``labeller``, ``vote`` (null: it abstains).

    Without the probabilities: those of a million reviews and hundreds of categories are gigabytes.

    Args:
        path: of the label stage's ``votes.parquet``.
    """
    return tables.scan(path).select("id", "labeller", vote="said").collect()


def height(path: Path, *where: pl.Expr) -> int:
    """The number of rows of a table, or of those that meet ``where``."""
    return int(tables.scan(path).filter(*where).select(pl.len()).collect().item())


def count_values(values: pl.Series) -> dict[str, int]:
    """The number of rows of each value, the most frequent first; nulls are left out."""
    return dict(values.drop_nulls().rename("name").value_counts(sort=True).iter_rows())

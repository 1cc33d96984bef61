"""A run to audit: reviews with a true category, labels that are as often right as they say, and a test file."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tsirius import metrics, tables
from tsirius.categories import Categories, Category
from tsirius.commands import audit
from tsirius.config import Config
from tsirius.store import Store, seal

NAMES = ["обувь", "посуда", "одежда", "нет товара"]
WORDS = {"обувь": "Ботинки", "посуда": "Кружка", "одежда": "Куртка", "нет товара": "Доставка"}


def world(rows: int, *, seed: int, right: float = 0.8, silent: float = 0.1) -> pl.DataFrame:
    """Reviews with a true category, a label that is right as often as its confidence says, and some without."""
    random = np.random.default_rng(seed)
    truth = random.choice(4, rows, p=[0.15, 0.05, 0.5, 0.3])
    confidence = random.beta(6 * right + 1, 6 * (1 - right) + 1, rows)
    label = np.where(random.random(rows) < confidence, truth, random.integers(0, 4, rows))
    return pl.DataFrame(
        {
            "id": [str(number) for number in range(rows)],
            "truth": [NAMES[k] for k in truth],
            "label": [NAMES[k] for k in label],
            "confidence": pl.Series(confidence, dtype=pl.Float32),
            "spoke": random.random(rows) >= silent,
        }
    ).with_columns(pl.when("spoke").then(column).alias(column) for column in ("label", "confidence"))


def lay_out(folder: Path, rows: pl.DataFrame) -> Path:
    """A run's folder with what the audit reads, and a test file with ids of its own."""
    run = folder / "runs" / "shop"
    for stage in ("ingest", "label", "predict"):
        (run / stage).mkdir(parents=True)
    categories = Categories([Category(name, f"что такое {name}", name == "нет товара") for name in NAMES])
    (run / "ingest" / "categories.json").write_text(categories.to_json(), encoding="utf-8")
    text = pl.Series([f"{WORDS[name]} № {number}" for number, name in enumerate(rows["truth"])])
    reviews = rows.select("id").with_columns(
        source=pl.lit("reviews.csv"),
        row=pl.int_range(1, pl.len() + 1),
        text=text,
        clean=text,
        group=pl.int_range(pl.len()),
    )
    tables.write(reviews, tables.REVIEWS, run / "ingest" / "reviews.parquet")
    labels = rows.select("id", "label", "confidence").with_columns(
        margin="confidence", labellers=pl.lit(["lexicon"]), doubtful=pl.lit(False)
    )
    tables.write(labels, tables.LABELS, run / "label" / "labels.parquet")
    chances = [None if label is None else [0.7 if name == label else 0.1 for name in NAMES] for label in rows["label"]]
    votes = rows.select("id").with_columns(
        labeller=pl.lit("lexicon"),
        said=rows["label"],
        evidence=pl.lit([], dtype=pl.List(pl.String)),
        probabilities=pl.Series(chances, dtype=tables.PROBABILITIES),
    )
    constant = votes.with_columns(
        labeller=pl.lit("always"),
        said=pl.lit(NAMES[2]),
        probabilities=pl.Series([[0.1, 0.1, 0.7, 0.1]] * rows.height, dtype=tables.PROBABILITIES),
    )
    tables.write(pl.concat([votes, constant]), tables.VOTES, run / "label" / "votes.parquet")
    test = pl.DataFrame({"id": "t" + rows["id"], "text": text + " теста"})
    test.write_csv(folder / "test.csv")
    predictions = test.select("id").with_columns(
        category=rows["label"].fill_null("одежда"), confidence=pl.lit(0.5, pl.Float32)
    )
    tables.write(predictions, tables.PREDICTIONS, run / "predict" / "predictions.parquet")
    ingest = {"train": folder / "reviews.csv", "test": folder / "test.csv", "categories": folder / "categories.toml"}
    config = Config.model_validate({"name": "shop", "ingest": ingest})
    Store(run).write_config(config.model_dump_json())
    for stage in ("ingest", "label", "predict"):
        seal(run / stage, {})
    return run


def call(run: Path, **changed: Any) -> str | None:
    plain: dict[str, Any] = {"of": "labels", "count": None, "seed": 0, "write": None, "answers": None, "show": False}
    return audit.audit(run, **{**plain, **changed})


def fill(source: Path, target: Path, rows: pl.DataFrame, *, encoding: str = "utf-8-sig", every: int = 1) -> Path:
    """Fill in a written file as a person with a spreadsheet would; with ``every`` 2, each second row."""
    truth = dict(rows.select("id", "truth").iter_rows())
    with source.open(encoding="utf-8-sig", newline="") as handle:
        lines = list(csv.DictReader(handle, delimiter=";"))
    for place, line in enumerate(lines):
        line["category"] = truth[line["id"].removeprefix("t")] if place % every == 0 else ""
    with target.open("w", encoding=encoding, newline="", errors="replace") as handle:
        writer = csv.DictWriter(handle, lines[0].keys(), delimiter=";")
        writer.writeheader()
        writer.writerows(lines)
    return target


def figures(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "audit" / "audit.json").read_text(encoding="utf-8"))
    return found


def true_f1(rows: pl.DataFrame) -> float:
    names = [*NAMES, "none"]
    confusion = metrics.confusion_matrix(
        rows["truth"].to_list(), rows["label"].fill_null("none").to_list(), names=names
    )
    return float(metrics.weighted_f1(confusion))

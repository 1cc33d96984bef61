"""What an audit is of: the reviews of a run, their labels or predictions, and their texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import polars as pl

from tsirius import tables
from tsirius.categories import Categories
from tsirius.config import Config
from tsirius.errors import UserError
from tsirius.io.ids import read_unique
from tsirius.io.source import Source, open_other
from tsirius.language.clean import normalise
from tsirius.reporting.records import read_votes
from tsirius.stages import ingest
from tsirius.store import Store, fingerprint

Of = Literal["labels", "predictions"]
KINDS: tuple[Of, ...] = get_args(Of)


@dataclass(frozen=True)
class Subject:
    """What is audited.

    Attributes:
        run: the run's folder.
        of: ``labels`` of the reviews to learn from, or ``predictions`` for the test file.
        categories: the run's.
        rows: ``id``, ``label`` (null: none) and ``confidence`` of every review; of labels, of those in label's sample.
    """

    run: Path
    of: Of
    categories: Categories
    rows: pl.DataFrame

    @property
    def folder(self) -> Path:
        """Where the sample and the answers lie."""
        return self.run / "audit" if self.of == "labels" else self.run / "audit" / "predictions"


def open_subject(run: Path, of: Of) -> Subject:
    """A finished run as the subject of an audit.

    Raises:
        UserError: the run has no labels, or no predictions, to audit, or they were altered or damaged.
    """
    store, stage = Store(run), "label" if of == "labels" else "predict"
    if store.record(stage) is None and not store.folder(stage).exists():
        what = "labelled reviews" if of == "labels" else "predictions for a test file"
        raise UserError(f"holds no {what}", where=run, remedy="Name the folder of a finished run"
                        + (" with a test file." if of == "predictions" else "."))  # fmt: skip
    store.check_finished(["ingest", stage])
    table = store.folder(stage) / ("labels.parquet" if of == "labels" else "predictions.parquet")
    column = "label" if of == "labels" else "category"
    columns = ["id", column, "confidence", *(["labellers"] if of == "labels" else [])]
    rows = tables.scan(table).select(columns).collect().rename({column: "label"}, strict=False)
    if of == "labels":  # those that no labeller was asked about have no label to be right or wrong
        rows = rows.filter(pl.col("labellers").is_not_null()).drop("labellers")
    categories = Categories.from_json((store.folder("ingest") / "categories.json").read_text(encoding="utf-8"))
    return Subject(run, of, categories, rows)


def all_votes(subject: Subject) -> pl.DataFrame:
    """The votes of each labeller, and the label that came of them: ``id``, ``labeller``, ``vote`` (null: it abstains).

    Of predictions: those of the model.
    """
    if subject.of == "predictions":
        return subject.rows.select("id", labeller=pl.lit("model"), vote="label")
    votes = read_votes(subject.run / "label" / "votes.parquet")
    final = subject.rows.select("id", labeller=pl.lit("the label"), vote="label")
    return pl.concat([votes.sort("labeller", maintain_order=True), final])


def read_texts(subject: Subject, ids: pl.Series) -> dict[str, str]:
    """The texts of some reviews by id, in the order of ``ids``.

    Raises:
        UserError: a review is gone, or the test file has changed.
    """
    if subject.of == "labels":
        reviews = tables.scan(subject.run / "ingest" / "reviews.parquet").select("id", "text")
        texts = dict(reviews.filter(pl.col("id").is_in(ids.implode())).collect().iter_rows())
    else:
        texts = {}
        for batch in read_unique(_test_file(subject.run), rows=20_000):
            texts |= dict(batch.filter(pl.col("id").is_in(ids.implode())).select("id", "text").iter_rows())
    missing = next((name for name in ids if name not in texts), None)
    if missing is not None:
        raise UserError(f"the text of review {missing!r} is gone", where=subject.run, remedy="Run it again.")
    return {name: texts[name] or "" for name in ids}


def _test_file(run: Path) -> Source:
    try:
        config = Config.model_validate_json(Store(run).config()).ingest
    except ValueError:
        config = None
    if config is None or config.test is None:
        raise UserError("does not say which test file was predicted", where=run, remedy="Run it again.")
    source = open_other(config.test, **ingest.read_as(config), text_required=True)
    record = Store(run).record("predict") or {}
    if record.get("key", {}).get("files", {}).get("ingest.test") not in (None, fingerprint(config.test)):
        raise UserError("has changed since it was predicted", where=config.test, remedy="Run it again.")
    return source


def also_trained_on(subject: Subject, texts: list[str]) -> int:
    """The number of the texts that also are among the run's training reviews."""
    clean = pl.Series([normalise(text) for text in texts], dtype=pl.String)
    reviews = tables.scan(subject.run / "ingest" / "reviews.parquet").select("clean")
    known = set(reviews.filter(pl.col("clean").is_in(clean.implode())).collect()["clean"])
    return sum(text in known for text in clean)

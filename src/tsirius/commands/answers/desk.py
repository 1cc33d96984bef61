"""The desk: a finished run that is read once, asked for queues and given answers, by several people at once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tsirius import tables
from tsirius.answers import standing
from tsirius.answers.log import Answer, Kind, Log, Verdict, text_hash
from tsirius.categories import Categories
from tsirius.commands.answers import queues
from tsirius.commands.audit import survey
from tsirius.commands.audit.survey import Estimate
from tsirius.errors import UserError, nearest
from tsirius.models import embeddings
from tsirius.store import Store

QUEUES = ("disagree", "contradicts", "unsure", "likely_wrong", "category", "search", "exam")
ROUNDS = 2000
"""Bootstrap samples of an interval."""


class Desk:
    """A run at the desk. What stages made of it is read once; answers are read again where someone added one.

    Args:
        run: a finished run's folder.

    Raises:
        UserError: it is not finished, or damaged.
    """

    def __init__(self, run: Path) -> None:
        self.run, self.log = run, Log(run)
        store = Store(run)
        store.check_finished(["ingest", "label", "answers"])
        folder = store.folder("answers")
        self.categories = Categories.from_json((store.folder("ingest") / "categories.json").read_text(encoding="utf-8"))
        reviews = tables.read(store.folder("ingest") / "reviews.parquet", tables.REVIEWS)
        hashes = pl.Series("hash", [text_hash(text) for text in reviews["text"]], dtype=pl.String)
        self.reviews = reviews.with_columns(hashes)
        self.labels = tables.read(folder / "labels.parquet", tables.TAUGHT)
        self.row_of = {name: row for row, name in enumerate(self.reviews["id"])}
        self._seen = -1
        self._open = np.zeros(0, dtype=bool)

    # --- what is asked ------------------------------------------------------------------------------------------------

    def queue(self, name: str, *, count: int = 50, category: str | None = None, words: str = "") -> list[str]:
        """The ids of the reviews to ask next, at most ``count``.

        Args:
            name: one of :data:`QUEUES`.
            count: at most this many.
            category: of the queue ``category``; a filter of ``search``.
            words: of the queue ``search``.

        Raises:
            UserError: no such queue or category.
        """
        if name not in QUEUES:
            raise UserError(f"no queue {name!r}{nearest(name, QUEUES)}", remedy=f"Known: {', '.join(QUEUES)}.")
        if name == "exam":
            return self._exam_queue()[:count]
        labels, confidence, margin = self._label_rows, self._column("confidence"), self._column("margin")
        if name == "disagree":
            rows = queues.disagree(self._votes, margin, self.open)
        elif name == "contradicts":
            rows = queues.contradicts(labels, self.model, self.open)
        elif name == "unsure":
            rows = queues.unsure(margin, self.vectors, self.open, count=count)
        elif name == "likely_wrong":
            rows = queues.likely_wrong(self.labels["doubtful"].to_numpy(), confidence, self.open)
        elif name == "category":
            rows = queues.of_category(labels, self._index(category), confidence, self.open)
        else:
            where = ~self._protected if category is None else ~self._protected & (labels == self._index(category))
            rows = queues.search(self._plain, words, where)
        return self.reviews["id"].gather(rows[:count]).to_list()

    @property
    def open(self) -> NDArray[np.bool_]:
        """Which reviews may be asked, [N]: no copy of an answered one, of the exam's, or of an earlier review."""
        self._refresh()
        return self._open

    def _refresh(self) -> None:
        """Read the answers again where one was added since."""
        last = self.log.last()
        if last == self._seen:
            return
        given = standing.read(self.run)
        said, _ = standing.stand(self.reviews, given, names=self.categories.names)
        skipped = {one.text for one in given.answers if one.verdict == "skip"}
        groups = self.reviews["group"]
        done = self.reviews.filter(pl.col("id").is_in(said["id"].implode()) | pl.col("hash").is_in(list(skipped)))
        exam = self.reviews.filter(pl.col("id").is_in(said.filter(pl.col("role") == "exam")["id"].implode()))
        self._protected = groups.is_in(exam["group"].implode()).to_numpy()
        self._open = (~groups.is_in(done["group"].implode()) & groups.is_first_distinct()).to_numpy()
        self._seen = last

    def _exam_queue(self) -> list[str]:
        stored = standing.read_sample(self.run / standing.SAMPLE)
        answered = exam_answers(self.run)
        by_id = dict(self.reviews.select("id", "hash").iter_rows())
        return [name for name, *_ in stored["rows"] if by_id.get(name) not in answered] if stored else []

    def _index(self, category: str | None) -> int:
        names = self.categories.names
        if category not in names:
            raise UserError(f"unknown category {category!r}{nearest(category or '', names)}",
                            remedy=f"Known: {', '.join(names)}.")  # fmt: skip
        return names.index(category)

    def _column(self, name: str) -> NDArray[np.float32]:
        values: NDArray[np.float32] = self.labels[name].fill_null(0.0).to_numpy()
        return values

    @cached_property
    def _label_rows(self) -> NDArray[np.int64]:
        return self._indices(self.labels["label"])

    def _indices(self, labels: pl.Series) -> NDArray[np.int64]:
        index = {name: number for number, name in enumerate(self.categories.names)}
        values = labels.replace_strict(index, default=-1, return_dtype=pl.Int64).fill_null(-1)
        result: NDArray[np.int64] = values.to_numpy()
        return result

    @cached_property
    def _votes(self) -> list[NDArray[np.int64]]:
        votes = pl.read_parquet(self.run / "label" / "votes.parquet", columns=["labeller", "said"])
        return [self._indices(part["said"]) for part in votes.partition_by("labeller", maintain_order=True)]

    @cached_property
    def _plain(self) -> pl.Series:
        return queues.plain(self.reviews["text"])

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """The reviews' embeddings, [N, W]."""
        embed = embeddings.published(self.run / "label")
        if embed is None:
            raise UserError("has no embeddings", where=self.run, remedy="Run it with label.doubt = true.")
        return embed(self.reviews["clean"].to_list())

    @cached_property
    def model(self) -> NDArray[np.float32]:
        """The model's probabilities of each review, [N, K]; computed once, which takes as long as a prediction."""
        from tsirius.models.classifier import Classifier

        classifier = Classifier.load(Store(self.run).read("train") / "model", embedded=self.run / "label")
        return classifier.predict_proba(self.reviews["text"].to_list())

    # --- what is answered ---------------------------------------------------------------------------------------------

    def answer(
        self,
        who: str,
        review: str,
        category: str | None,
        *,
        verdict: Verdict = "category",
        kind: Kind = "lesson",
        note: str = "",
        shown: Mapping[str, Any] | None = None,
    ) -> int:
        """Keep an answer; returns its number, and it is on the disk then.

        Raises:
            UserError: no such review or category, or a lesson on an exam review or a copy of one.
        """
        if verdict == "category":
            self._index(category)
        row = self.row_of.get(review)
        if row is None:
            raise UserError(f"no review {review!r}", where=self.run, remedy="Reload the reviews.")
        self._refresh()
        if kind == "lesson" and self._protected[row]:
            raise UserError(f"review {review!r} is in the exam, or a copy of one that is: it cannot teach",
                            where=self.run, remedy="Answer it in the exam.")  # fmt: skip
        said = category if verdict == "category" else None
        return self.log.add([Answer(review, self.reviews["hash"][row], said, kind, who, verdict, note, shown or {})])[0]

    def undo(self, who: str) -> Answer | None:
        """Undo a person's last answer; returns it, None where there is none left."""
        return self.log.undo(who)

    # --- what it is worth ---------------------------------------------------------------------------------------------

    def score(self, *, model: bool) -> Estimate | None:
        """The weighted F1 of the labels, or of the model, on all reviews, with its interval, by the exam's answers.

        None where nobody answered the exam.
        """
        stored, answered = standing.read_sample(self.run / standing.SAMPLE), exam_answers(self.run)
        rows = [
            (self.row_of[name], stratum, size, answered[text])
            for name, stratum, size in (stored["rows"] if stored else [])
            if name in self.row_of and (text := self.reviews["hash"][self.row_of[name]]) in answered
        ]
        if not rows:
            return None
        at, strata, sizes, truth = (list(column) for column in zip(*rows, strict=True))
        names = self.categories.names
        given = (
            [names[k] for k in self.model[at].argmax(axis=1)] if model else self.labels["label"].gather(at).to_list()
        )
        weights = survey.weights(strata, sizes)
        return survey.expected_f1(truth, given, strata, weights, names=names, rounds=ROUNDS, seed=0)


def exam_answers(run: Path) -> dict[str, str]:
    """The exam's answers so far: text hash → category, of several people's the latest."""
    return {
        one.text: one.category
        for one in Log(run).standing()
        if one.kind == "exam" and one.verdict == "category" and one.category is not None
    }

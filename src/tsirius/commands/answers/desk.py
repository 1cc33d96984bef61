"""The desk: a finished run that is read once, asked for queues and given answers, by several people at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tsirius import tables
from tsirius.answers import standing
from tsirius.answers.log import Answer, Kind, Log, Verdict, text_hash
from tsirius.categories import Categories
from tsirius.commands.answers import queues
from tsirius.commands.answers.index import Index
from tsirius.commands.audit import survey
from tsirius.commands.audit.survey import Estimate
from tsirius.errors import UserError, nearest
from tsirius.models import embeddings
from tsirius.progress import progress
from tsirius.publish import replacing
from tsirius.store import Store

QUEUES = ("disagree", "contradicts", "unsure", "likely_wrong", "category", "search", "second", "disputed", "exam")
BATCH = 50
"""Unsure reviews that are chosen at a time, unlike each other."""
KEPT_MODEL = ".desk/model.npz"
"""In the run's folder: the model's probabilities of the reviews, so that it reads them once."""
ROUNDS = 2000
"""Bootstrap samples of an interval."""


class Desk:
    """A run at the desk. What stages made of it is read once; answers are read again where someone added one.

    Args:
        run: a finished run's folder; where label drew a sample, its reviews alone are asked about.

    Raises:
        UserError: it is not finished, or damaged.
    """

    def __init__(self, run: Path) -> None:
        self.run, self.log = run, Log(run, hold=True)
        store = Store(run)
        store.check_finished(["ingest", "label", "answers"])
        folder = store.folder("answers")
        self.categories = Categories.from_json((store.folder("ingest") / "categories.json").read_text(encoding="utf-8"))
        said = tables.read(store.folder("label") / "labels.parquet", tables.LABELS, ("labellers",))["labellers"]
        self._sampled = said.is_not_null()
        reviews = tables.read(store.folder("ingest") / "reviews.parquet", tables.REVIEWS).filter(self._sampled)
        hashes = pl.Series("hash", [text_hash(text) for text in reviews["text"]], dtype=pl.String)
        self.reviews = reviews.with_columns(hashes)
        self.labels = tables.read(folder / "labels.parquet", tables.TAUGHT).filter(self._sampled)
        self.row_of = {name: row for row, name in enumerate(self.reviews["id"])}
        self._names = self.log.names()
        self._seen, self._sample_seen = 0, -1
        self._index = self._new_index()
        self._orders: dict[tuple[str, str | None], NDArray[np.int64]] = {}
        self._batch = np.zeros(0, dtype=np.int64)

    def _new_index(self) -> Index:
        return Index(self.reviews["hash"], self.reviews["group"], names=self.categories.names)

    def warm(self) -> None:
        """Read and compute now what queues need beside the model, so that none has to wait for it."""
        _ = self._plain, self._votes, self._starts
        for name in ("disagree", "likely_wrong"):
            self._order(name, None)

    # --- what is asked ------------------------------------------------------------------------------------------------

    def queue(
        self, name: str, *, count: int = 50, category: str | None = None, words: str = "", who: str = ""
    ) -> list[str]:
        """The ids of the reviews to ask next, at most ``count``.

        Args:
            name: one of :data:`QUEUES`.
            count: at most this many.
            category: of the queue ``category``; a filter of ``search``.
            words: of the queue ``search``.
            who: is asked, of the queues ``second`` (what others answered alone) and ``disputed`` (where another spoke
                last).

        Raises:
            UserError: no such queue or category.
        """
        return self.reviews["id"].gather(self.rows(name, category=category, words=words, who=who, least=count)[:count]
                                         ).to_list()  # fmt: skip

    def rows(
        self, name: str, *, category: str | None = None, words: str = "", who: str = "", least: int = BATCH
    ) -> NDArray[np.int64]:
        """The row numbers of :meth:`queue`, all of them; of ``unsure`` a batch of at least ``least`` where there are.

        Raises:
            UserError: no such queue or category.
        """
        if name not in QUEUES:
            raise UserError(f"no queue {name!r}{nearest(name, QUEUES)}", remedy=f"Known: {', '.join(QUEUES)}.")
        index = self.index
        if name == "exam":
            return self._exam_rows()
        if name == "search":
            where = ~index.protected
            if category is not None:
                where &= self._label_rows == self._number(category)
            return queues.search(self._plain, words, where)
        if name == "unsure":
            return self._unsure(index.open, least)
        if name in ("second", "disputed"):
            return self._of_others(who, disputed=name == "disputed")
        order = self._order(name, category)
        return order[index.open[order]]

    def _order(self, name: str, category: str | None) -> NDArray[np.int64]:
        """The rows of a queue as if none were answered; computed once, as only answers change."""
        if (name, category) not in self._orders:
            labels, confidence, every = self._label_rows, self._column("confidence"), np.ones(len(self.row_of), bool)
            if name == "disagree":
                rows = queues.disagree(self._votes, self._column("margin"), every)
            elif name == "contradicts":
                rows = queues.contradicts(labels, self.model, every)
            elif name == "likely_wrong":
                rows = queues.likely_wrong(self.labels["doubtful"].to_numpy(), confidence, every)
            else:
                rows = queues.of_category(labels, self._number(category), confidence, every)
            self._orders[name, category] = rows
        return self._orders[name, category]

    def _unsure(self, open_rows: NDArray[np.bool_], least: int) -> NDArray[np.int64]:
        """What is left of the batch; a new one where that is too little."""
        left = self._batch[open_rows[self._batch]]
        if len(left) < min(least, int(open_rows.sum())):
            count, margin = max(BATCH, least), self._column("margin")
            rows = np.flatnonzero(open_rows)
            most = max(queues.CANDIDATES, count)
            if len(rows) > most:
                rows = np.sort(rows[np.argpartition(margin[rows], most)[:most]])
            vectors = self._embed(self.reviews["clean"].gather(rows).to_list())
            left = self._batch = rows[queues.unsure(margin[rows], vectors, np.ones(len(rows), bool), count=count)]
        return left

    def _of_others(self, who: str, *, disputed: bool) -> NDArray[np.int64]:
        """What others alone answered; or on what people are divided, where another spoke last."""
        index, rows = self._index, list[int]()
        for text in index.disputed() if disputed else index.answered():
            lessons = [one for one in index.of(text) if one.kind == "lesson"]
            asked = lessons[-1].who != who if disputed else who not in {one.who for one in lessons}
            if asked and text in index.row_of_text:
                rows.append(index.row_of_text[text])
        result = np.array(rows, dtype=np.int64)
        return result[~index.protected[result]]

    @property
    def open(self) -> NDArray[np.bool_]:
        """Which reviews may be asked, [N]: no copy of an answered one, of the exam's, or of an earlier review."""
        return self.index.open

    @property
    def index(self) -> Index:
        """The answers as they stand now."""
        sample = self.run / standing.SAMPLE
        drawn = sample.stat().st_mtime_ns if sample.is_file() else 0
        last = self.log.last()
        if last < self._seen:  # another file lies there now
            self._index, self._seen, self._sample_seen = self._new_index(), 0, -1
        if drawn != self._sample_seen:
            self._index.draw([self.row_of[name] for name, *_ in self.drawn() if name in self.row_of])
            self._sample_seen = drawn
        if last > self._seen:
            entries = self.log.since(self._seen, names=self._names)
            self._index.add(entries)
            self._seen = entries[-1][0].number
        return self._index

    def drawn(self) -> list[tuple[str, str, int]]:
        """The exam's reviews in the order to ask in: id, stratum, and how many reviews the stratum has."""
        stored = standing.read_sample(self.run / standing.SAMPLE)
        return [(str(name), str(stratum), int(size)) for name, stratum, size in stored["rows"]] if stored else []

    def _exam_rows(self) -> NDArray[np.int64]:
        answered, hashes = self._examined(), self.reviews["hash"]
        rows = [self.row_of[name] for name, *_ in self.drawn() if name in self.row_of]
        return np.array([row for row in rows if hashes[row] not in answered], dtype=np.int64)

    def _examined(self) -> dict[str, str]:
        return self.index.exam()

    def _number(self, category: str | None) -> int:
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

    def copies(self, row: int) -> list[int]:
        """The other reviews of a row's group of copies and near copies."""
        members = self._members[self._starts[self._groups[row]] : self._starts[self._groups[row] + 1]]
        return [int(other) for other in members if other != row]

    @cached_property
    def _groups(self) -> NDArray[np.int64]:
        groups: NDArray[np.int64] = np.unique(self.reviews["group"].to_numpy(), return_inverse=True)[1]
        return groups

    @cached_property
    def _members(self) -> NDArray[np.int64]:
        return np.argsort(self._groups, kind="stable")

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.bincount(self._groups).cumsum()])

    @cached_property
    def consensus(self) -> NDArray[np.float32]:
        """The labellers' reconciled probabilities of each review, [N, K]; of one without a label NaN."""
        result: NDArray[np.float32] = np.load(self.run / "label" / "consensus.npy", allow_pickle=False, mmap_mode="r")
        return result if self._sampled.all() else result[self._sampled.to_numpy()]

    @cached_property
    def _votes(self) -> list[NDArray[np.int64]]:
        votes = tables.scan(self.run / "label" / "votes.parquet").select(["labeller", "said"]).collect()
        return [self._indices(part["said"]) for part in votes.partition_by("labeller", maintain_order=True)]

    @cached_property
    def _plain(self) -> pl.Series:
        return queues.plain(self.reviews["text"])

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """The reviews' embeddings, [N, W]."""
        return self._embed(self.reviews["clean"].to_list())

    @cached_property
    def _embed(self) -> embeddings.Embed:
        embed = embeddings.published(self.run / "label")
        if embed is None:
            raise UserError("has no embeddings", where=self.run, remedy="Run it with label.doubt = true.")
        return embed

    @cached_property
    def model(self) -> NDArray[np.float32]:
        """The model's probabilities of each review, [N, K]; computed once, which takes as long as a prediction."""
        from tsirius.models.classifier import Classifier

        store = Store(self.run)
        folder = store.read("train") / "model"
        key = [str((store.record(stage) or {}).get("output")) for stage in ("train", "ingest", "label")]
        kept = self._kept_model(key)
        if kept is None:
            texts = self.reviews["text"].to_list()
            with progress("the model reads the reviews", total=len(texts)) as advance:
                kept = Classifier.load(folder, embedded=self.run / "label").predict_proba(texts, advance=advance)
            (self.run / KEPT_MODEL).parent.mkdir(exist_ok=True)
            with replacing(self.run / KEPT_MODEL) as path, path.open("wb") as file:
                np.savez(file, key=np.array(key), probabilities=kept)
        return kept

    def _kept_model(self, key: list[str]) -> NDArray[np.float32] | None:
        """What an earlier process computed with the same model on the same reviews."""
        try:
            with np.load(self.run / KEPT_MODEL, allow_pickle=False) as stored:
                probabilities: NDArray[np.float32] = stored["probabilities"]
                same = stored["key"].tolist() == key
        except (OSError, ValueError, KeyError, BadZipFile):
            return None
        return probabilities if same and probabilities.shape == (len(self.row_of), len(self.categories)) else None

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
        return self.answer_all(who, [review], category, verdict=verdict, kind=kind, note=note, shown=[shown or {}])[0]

    def answer_all(
        self,
        who: str,
        reviews: Sequence[str],
        category: str | None,
        *,
        verdict: Verdict,
        kind: Kind,
        note: str,
        shown: Sequence[Mapping[str, Any]],
    ) -> list[int]:
        """Keep the same answer for several reviews, all or none; returns their numbers.

        Raises:
            UserError: as :meth:`answer`.
        """
        if verdict == "category":
            self._number(category)
        protected, said, kept = self.index.protected, category if verdict == "category" else None, list[Answer]()
        for review, seen in zip(reviews, shown, strict=True):
            row = self.row_of.get(review)
            if row is None:
                raise UserError(f"unknown review {review!r}", where=self.run, remedy="Reload the reviews.")
            if kind == "lesson" and protected[row]:
                raise UserError(f"review {review!r} is in the exam, or a copy of one that is: it cannot teach",
                                where=self.run, remedy="Answer it in the exam.")  # fmt: skip
            kept.append(Answer(review, self.reviews["hash"][row], said, kind, who, verdict, note, seen))
        return self.log.add(kept)

    def undo(self, who: str) -> Answer | None:
        """Undo a person's last answer; returns it, None where there is none left."""
        return self.log.undo(who)

    # --- what it is worth ---------------------------------------------------------------------------------------------

    def score(self, *, model: bool) -> Estimate | None:
        """The weighted F1 of the labels, or of the model, on all reviews, with its interval, by the exam's answers.

        None where nobody answered the exam.
        """
        return self.score_of(self.said(model=model)["model" if model else "label"])

    def said(self, *, model: bool = True) -> pl.DataFrame:
        """What labels and model say of each review: ``id``, ``label``, ``model`` (null without it), [N]."""
        names = pl.Series(self.categories.names, dtype=pl.String)
        chosen = names.gather(self.model.argmax(axis=1)) if model else pl.lit(None, pl.String)
        return self.labels.select("id", "label", model=chosen)

    def score_of(self, given: pl.Series) -> Estimate | None:
        """The same of any categories of the reviews, [N], null for none."""
        if (exam := self._exam_table()) is None:
            return None
        at, strata, weights, truth = exam
        names = self.categories.names
        return survey.expected_f1(truth, given.gather(at).to_list(), strata, weights, names=names, rounds=ROUNDS,
                                  seed=0)  # fmt: skip

    def lead_of(self, given: pl.Series, other: pl.Series) -> Estimate | None:
        """By how much more of all reviews are right by ``given`` than by ``other``, by the exam's answers."""
        if (exam := self._exam_table()) is None:
            return None
        at, strata, weights, truth = exam
        right = [np.array(one.gather(at).to_list(), dtype=object) == np.array(truth, dtype=object)
                 for one in (given, other)]  # fmt: skip
        return survey.lead(right[0], right[1], strata, weights, rounds=ROUNDS, seed=0)

    def examined(self) -> list[str]:
        """The ids of the exam's reviews that are answered."""
        table = self._exam_table()
        return self.reviews["id"].gather(table[0]).to_list() if table else []

    def _exam_table(self) -> tuple[list[int], list[str], NDArray[np.float64], list[str]] | None:
        """Of each answered exam review the row, the stratum, how many reviews it stands for, and the answer."""
        answered = self._examined()
        rows = [
            (self.row_of[name], stratum, size, category)
            for name, stratum, size in self.drawn()
            if name in self.row_of
            and (category := answered.get(self.reviews["hash"][self.row_of[name]])) in self.categories.names
        ]
        if not rows:
            return None
        at, strata, sizes, truth = (list(column) for column in zip(*rows, strict=True))
        return at, strata, survey.weights(strata, sizes), truth

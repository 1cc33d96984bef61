"""The run on the desk: what one page shows, for several people at once."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tsirius.answers import standing
from tsirius.answers.log import Answer, Kind, Verdict
from tsirius.commands.answers.desk import QUEUES, Desk
from tsirius.commands.answers.index import Index
from tsirius.commands.audit import sample
from tsirius.commands.audit.subject import open_subject
from tsirius.commands.audit.survey import Estimate
from tsirius.commands.categories import missing
from tsirius.commands.categories.missing import Cluster
from tsirius.desk import changes, proposal, versions
from tsirius.desk.highlight import Deciding
from tsirius.desk.proposal import Row
from tsirius.desk.retrain import ACCEPT, PREVIEW, TRAIN, Training
from tsirius.desk.versions import Version
from tsirius.errors import UserError
from tsirius.language.words import WORD, lemmas
from tsirius.progress import say
from tsirius.store import Store

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

ORDER = ("unsure", "disagree", "contradicts", "likely_wrong", "category", "search", "second", "disputed", "exam")
"""The queues as the page lists them."""
assert set(ORDER) == set(QUEUES)
COLUMNS = ("id", "source", "row", "label", "confidence", "labellers", "doubtful")
"""Ours, of those that a search may look into."""
PAGE = 50
"""Reviews of a list."""
COPIES = 10
"""Of a review's copies, those that are shown."""
HELD_SECONDS = 600.0
"""A review that one person looks at is not given to another for this long."""
NEAR = 8
"""Unsure reviews that are at hand at least, one for each person who is asked at once."""
LATELY = 40
"""Answers that tell whether a queue is worth going on with."""
ENOUGH = 0.95
"""The share of them that confirmed the label, from which on it is not."""
LAST = 6
"""Of a person's own answers beside the review."""
GOAL = 0.03
"""Half the width of an interval of the F1 that is precise enough."""
FEWEST = 10
"""Exam answers before anything is said of more of them."""


@dataclass(frozen=True)
class Query:
    """What a page shows: a queue, and what it is narrowed to.

    Attributes:
        queue: one of :data:`tsirius.commands.answers.desk.QUEUES`.
        category: of the queues ``category`` and ``search``; None: all.
        words: of ``search``.
        column: and ``having``: of ``search``, what a column's value contains.
        having: see ``column``.
        state: of ``search``: ``open``, ``confirmed``, ``disputed`` or ``several``; empty: all.
        at_most: of ``search``: the label's confidence.
    """

    queue: str
    category: str | None = None
    words: str = ""
    column: str = ""
    having: str = ""
    state: str = ""
    at_most: float = 1.0


class Board:
    """A run that several people answer for.

    Args:
        run: a finished run's folder.

    Raises:
        UserError: it is not finished, or damaged.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.lock = threading.RLock()
        self.training = Training(run)
        self.trouble = ""
        """Why the last training, or return to a version, did not come about."""
        self._worker: threading.Thread | None = None
        self._held: dict[int, tuple[str, float]] = {}
        self._load(Desk(run))

    def _load(self, desk: Desk) -> None:
        with self.lock:
            self.desk, self.outputs = desk, versions.outputs(self.run)
            self.has_model = (self.run / "train").is_dir()
            self.model_ready = False
            self._deciding: Deciding | None = None
            self._scores: dict[str, tuple[int, Estimate | None]] = {}
            self._columns: dict[str, pl.Series] = {}
            self._own: list[str] | None = None
            self._changes: dict[str, Any] = {}
            self._reader: threading.Thread | None = None
            self._clusters: list[Cluster] | None = None

    def read_model(self) -> None:
        """Have the model read all reviews, and find what no category is made for, beside everything else: what needs
        them waits until then."""
        self._reader = threading.Thread(target=self._read_model, args=(self.desk,), daemon=True)
        self._reader.start()

    def _read_model(self, desk: Desk) -> None:
        desk.warm()
        if self.has_model:
            self._read_opinions(desk)
        try:
            found = missing.clusters(self.run)
        except UserError as error:
            say(f"without groups of reviews: {error}")
            found = []
        with self.lock:
            if desk is self.desk:
                self._clusters = found

    def _read_opinions(self, desk: Desk) -> None:
        try:
            _ = desk.model
            deciding = Deciding(self.run)
            for text in desk.reviews["clean"].head(PAGE):  # its dictionaries are read now, not by the first page
                deciding.words(f"the {text}")
        except UserError as error:
            say(f"without the model: {error}")
            return
        with self.lock:
            if desk is self.desk:
                self._deciding, self.model_ready = deciding, True
                self._scores.clear()

    def wait(self) -> None:
        """Wait until the model has read the reviews, and what was begun has ended."""
        for thread in (self._worker, self._reader):
            if thread is not None:
                thread.join()

    # --- what is shown ------------------------------------------------------------------------------------------------

    def rows(self, query: Query, *, who: str, least: int = 1) -> Rows:
        """The rows that a query finds, those to ask first at the front; ``least`` is of the queue ``unsure``, see
        :meth:`tsirius.commands.answers.desk.Desk.rows`.

        Raises:
            UserError: no such queue, category or column.
        """
        with self.lock:
            if query.queue == "contradicts" and not self.model_ready:
                return np.zeros(0, dtype=np.int64)
            if query.queue == "category" and query.category is None:
                return np.zeros(0, dtype=np.int64)
            narrowed = query.category if query.queue in ("category", "search") else None
            rows = self.desk.rows(query.queue, category=narrowed, words=query.words, who=who, least=least)
            return self._filtered(rows, query) if query.queue == "search" else rows

    def _filtered(self, rows: Rows, query: Query) -> Rows:
        if query.at_most < 1:
            rows = rows[
                self.column("confidence").gather(rows).cast(pl.Float64).fill_null(0.0).to_numpy() <= query.at_most
            ]
        if query.column and query.having:
            values = self.column(query.column).gather(rows).cast(pl.String).fill_null("")
            rows = rows[values.str.to_lowercase().str.contains(query.having.lower(), literal=True).to_numpy()]
        if query.state:
            index, hashes = self.desk.index, self.desk.reviews["hash"]
            if query.state == "open":
                answered = [row for text in index.answered() if (row := index.row_of_text.get(text)) is not None]
                texts = hashes.gather(answered)
                rows = rows[~hashes.gather(rows).is_in(texts.implode()).to_numpy()]
            else:
                wanted = [text for text in index.answered() if verdict_of(index.of(text))[0] == query.state]
                rows = rows[hashes.gather(rows).is_in(wanted).to_numpy()]
        return rows

    def columns(self) -> list[str]:
        """The columns that a search may look into: ours, and those of the files of reviews."""
        with self.lock:
            return [*COLUMNS, *self._own_columns()]

    def column(self, name: str) -> pl.Series:
        """A column of the reviews, [N].

        Raises:
            UserError: there is no such one.
        """
        if name not in self.columns():
            raise UserError(f"no column {name!r}", remedy=f"Known: {', '.join(self.columns())}.")
        if name not in self._columns:
            table = self.desk.reviews if name in self.desk.reviews.columns else self.desk.labels
            values = table[name] if name in COLUMNS else self._read_own(name)
            self._columns[name] = values.list.join(", ") if isinstance(values.dtype, pl.List) else values
        return self._columns[name]

    def _own_columns(self) -> list[str]:
        """The columns of the files of reviews, as ``labelled.csv`` has them, but for the labellers' and the label's."""
        if self._own is None:
            record = Store(self.run).record("table") or {"notes": {}}
            names = [name for name in record["notes"].get("columns", []) if isinstance(name, str)]
            ours = names.index("label") if "label" in names else 0  # theirs are before ours
            self._own = [name for name in names[:ours] if name not in COLUMNS]
        return self._own

    def _read_own(self, name: str) -> pl.Series:
        """A column of ``labelled.csv``, which has the rows of the files in their order, at the reviews' rows."""
        path = Store(self.run).read("table") / "labelled.csv"
        separator = str(Store(self.run).settings("table").get("delimiter", ","))
        several = self.desk.reviews["source"].n_unique() > 1
        wanted = ["source", name] if several else [name]
        cells = pl.read_csv(path, columns=wanted, separator=separator, infer_schema=False)
        if not several:
            cells = cells.with_columns(source=pl.lit(self.desk.reviews["source"][0]))
        cells = cells.select("source", pl.col(name).alias("value"), row=pl.int_range(1, pl.len() + 1).over("source"))
        joined = self.desk.reviews.select("source", "row").join(cells, on=["source", "row"], how="left",
                                                                maintain_order="left")  # fmt: skip
        return joined["value"]

    def next(self, query: Query, *, who: str) -> tuple[int | None, int]:
        """The row to ask a person now, None where there is none, and how many there are.

        It is held for that person a while, so that two people on one queue are not asked the same.
        """
        with self.lock:
            rows = self.rows(query, who=who, least=NEAR)
            if query.queue == "search":
                rows = rows[self.desk.index.open[rows]]
            if not len(rows):
                return None, 0
            now = time.monotonic()
            self._held = {row: held for row, held in self._held.items() if now - held[1] < HELD_SECONDS}
            free = (row for row in rows.tolist() if self._held.get(row, (who, now))[0] == who)
            chosen = next(free, int(rows[0]))
            self._held = {row: held for row, held in self._held.items() if held[0] != who}
            self._held[chosen] = (who, now)
            return chosen, len(rows)

    def cards(self, rows: Sequence[int], *, highlight: bool) -> list[dict[str, Any]]:
        """What is known of some reviews, for the template."""
        with self.lock:
            index = self.desk.index
            return [self._card(row, index, highlight=highlight) for row in rows]

    def _card(self, row: int, index: Index, *, highlight: bool) -> dict[str, Any]:
        review = self.desk.reviews.row(row, named=True)
        label = self.desk.labels.row(row, named=True)
        said, copies = index.of(review["hash"]), self.desk.copies(row)
        deciding = self._deciding.words(review["clean"]) if highlight and self._deciding else set[str]()
        state, category = verdict_of(said)
        return {
            "row": row,
            "id": review["id"],
            "pieces": pieces(review["text"], deciding),
            "place": f"{review['source']}, {review['row']}",
            "label": label["label"],
            "confidence": label["confidence"],
            "model": self._said_by_model(row),
            "answers": said,
            "state": state,
            "category": category,
            "copies": [self.desk.reviews["text"][other] for other in copies[:COPIES]],
            "copy_count": len(copies),
        }

    def _said_by_model(self, row: int) -> tuple[str, float] | None:
        if not self.model_ready:
            return None
        best = int(self.desk.model[row].argmax())
        return self.desk.categories.names[best], float(self.desk.model[row, best])

    def likeliest(self, row: int) -> list[int]:
        """The categories, the likeliest for this review first, as indices; by the model, else by the labellers."""
        with self.lock:
            scores = self.desk.model[row] if self.model_ready else self.desk.consensus[row]
            return [int(number) for number in np.argsort(-np.nan_to_num(scores), kind="stable")]

    # --- what is answered ---------------------------------------------------------------------------------------------

    def answer(
        self,
        who: str,
        reviews: Sequence[str],
        category: str | None,
        *,
        verdict: Verdict,
        kind: Kind,
        note: str = "",
        shown: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """Keep one answer for each of the reviews, all or none; they are on the disk then.

        Raises:
            UserError: no such review or category, a lesson on an exam review or a copy of one, or an exam's answer on
                a review that it did not draw.
        """
        with self.lock:
            if kind == "exam" and not {name for name, *_ in self.desk.drawn()}.issuperset(reviews):
                raise UserError("the exam did not draw that review", where=self.run, remedy="Open the exam again.")
            labels, for_each = self.desk.labels, []
            together = {"together": secrets.token_hex(6)} if len(reviews) > 1 else {}
            for name in reviews:
                row = self.desk.row_of.get(name)
                known = {} if row is None else {"label": labels["label"][row], "confidence": labels["confidence"][row]}
                for_each.append({**known, **(shown or {}), **together})
            return self.desk.answer_all(who, reviews, category, verdict=verdict, kind=kind, note=note, shown=for_each)

    def undo(self, who: str) -> Answer | None:
        """Undo a person's last answer, with all that were given together with it; returns it, None where there is none
        left."""
        with self.lock:
            undone = self.desk.undo(who)
            together = undone.shown.get("together") if undone is not None else None
            while together and any(one.shown.get("together") == together for one in self.desk.index.last(who, 1)):
                self.desk.undo(who)
            return undone

    def last(self, who: str) -> list[dict[str, Any]]:
        """A person's last answers, the latest first, with what the label was."""
        with self.lock:
            desk = self.desk
            rows = [(one, desk.index.row_of_text.get(one.text)) for one in desk.index.last(who, LAST)]
            return [
                {"answer": one, "text": desk.reviews["text"][row], "label": one.shown.get("label"),
                 "confidence": one.shown.get("confidence")}
                for one, row in rows if row is not None
            ]  # fmt: skip

    # --- what it comes to ---------------------------------------------------------------------------------------------

    def people(self) -> list[dict[str, Any]]:
        """Each person with the number of their answers."""
        with self.lock:
            counts = self.desk.index.people()
        return [{"who": who, "lesson": count["lesson"], "exam": count["exam"]} for who, count in sorted(counts.items())]

    def lately(self, who: str, queue: str) -> dict[str, Any] | None:
        """How many of a person's last answers in a queue confirmed the label; None where they are too few to tell."""
        with self.lock:
            answers = self.desk.index.last(who, LATELY * 5)
        mine = [one for one in answers if one.shown.get("queue") == queue and one.verdict == "category"][:LATELY]
        if len(mine) < LATELY // 2:
            return None
        same = sum(one.category == one.shown.get("label") for one in mine)
        return {"rows": len(mine), "same": same, "enough": len(mine) == LATELY and same >= ENOUGH * len(mine)}

    def score(self, of: str) -> Estimate | None:
        """The weighted F1 of the ``labels`` or of the ``model`` by the exam; None where it is unknown."""
        with self.lock:
            if of == "model" and not self.model_ready:
                return None
            version = self.desk.index.exam_version
            if of not in self._scores or self._scores[of][0] != version:
                self._scores[of] = version, self.desk.score(model=of == "model")
            return self._scores[of][1]

    def exam(self) -> dict[str, int]:
        """How many reviews the exam drew, and how many of them are answered."""
        with self.lock:
            drawn = self.desk.drawn()
            return {"drawn": len(drawn), "left": len(self.desk.rows("exam"))}

    def draw_exam(self, more: int | None) -> None:
        """Draw the exam's reviews, or ``more`` than there are.

        Raises:
            UserError: the labels have changed since the first were drawn, so that no more can be.
        """
        with self.lock:
            subject = open_subject(self.run, "labels")
            subject.folder.mkdir(parents=True, exist_ok=True)
            drawn = len(self.desk.drawn())
            sample.draw_sample(subject, None, count=drawn + more if drawn and more else None, seed=0)

    # --- training again -----------------------------------------------------------------------------------------------

    def at_work(self) -> bool:
        """Whether the run is being trained, put back or read anew."""
        return (self._worker is not None and self._worker.is_alive()) or self.training.at_work()

    def retrain(self) -> None:
        """Keep the run as it is and train it again, beside everything else.

        Raises:
            UserError: it is being trained.
        """
        self._begin(lambda: self._train(TRAIN))

    def put_back(self, name: str) -> None:
        """Make the run what it was in a version, beside everything else; what it is now is kept.

        Raises:
            UserError: it is being trained.
        """
        self._begin(lambda: versions.put_back(self.run, name))

    def look(self) -> None:
        """Read the run anew where another process has changed it since."""
        with self.lock:
            now, before = versions.outputs(self.run), self.outputs
            if now != before and not self.at_work():
                self._start(lambda: None)

    def _begin(self, work: Callable[[], None]) -> None:
        def keep_first() -> None:
            if self._reader is not None:
                self._reader.join()
            versions.keep(self.run, self.desk.said(model=self.model_ready))
            work()

        with self.lock:
            if self.at_work():
                raise UserError("is being trained", where=self.run, remedy="Wait for it to end.")
            self._start(keep_first)

    def _start(self, work: Callable[[], None]) -> None:
        def whole() -> None:
            try:
                work()
                fresh = Desk(self.run)
                if (self.run / "train").is_dir():
                    _ = fresh.model
                self._load(fresh)
                self.read_model()
                if self._reader is not None:
                    self._reader.join()
            except (UserError, OSError) as error:
                self.trouble, self.outputs = str(error), versions.outputs(self.run)
                say(f"tsirius: {error}")

        self.trouble = ""
        self._worker = threading.Thread(target=whole, daemon=True)
        self._worker.start()

    def propose(self, rows: Sequence[Row]) -> None:
        """Find what other categories would change, beside everything else; the run stays as it is.

        Raises:
            UserError: they are no categories, or the run's own; or it is being trained.
        """
        with self.lock:
            if self.at_work():
                raise UserError("is being trained", where=self.run, remedy="Wait for it to end.")
            self.trouble = ""
            proposal.propose(self.run, rows)
            self.training.start(PREVIEW)

    def accept(self) -> None:
        """Make the proposed categories the run's own and run on, beside everything else; what it is now is kept.

        Raises:
            UserError: nothing is proposed, or the file of answers is in the way, or it is being trained.
        """
        if self.proposed() is None:
            raise UserError("nothing is proposed", where="categories", remedy="Show the difference first.")
        if (error := self.obstacle()) is not None:
            raise error
        self._begin(lambda: self._train(ACCEPT))

    def drop(self) -> None:
        """Forget the proposed categories.

        Raises:
            UserError: they are being worked on.
        """
        with self.lock:
            if self.at_work():
                raise UserError("is being trained", where=self.run, remedy="Wait for it to end.")
            proposal.drop(self.run)

    def rows_of_categories(self) -> list[Row]:
        """The lines of the proposed categories, else of the run's own."""
        return proposal.typed(self.run) or proposal.rows_of(self.desk.categories)

    def proposed(self) -> Mapping[str, Any] | None:
        """What the proposed categories would change; None where none are, or it is not worked out."""
        return proposal.shown(self.run)

    def obstacle(self) -> UserError | None:
        """Why the proposed categories cannot be accepted yet; None where they can, or none are, or the run is being
        changed."""
        changing = self.at_work() and self.training.task != PREVIEW
        return None if changing else proposal.obstacle(self.run)

    def failed(self) -> str:
        """Why the last work beside the page did not come about; empty where it did."""
        if self.trouble or not self.training.failed():
            return self.trouble
        lines = self.training.lines()
        return lines[-1].removeprefix("tsirius: ") if lines else str(UserError("ended without a word"))

    def _train(self, task: str) -> None:
        self.training.start(task)
        self.training.wait()
        if self.training.failed():
            raise UserError(self.failed())

    def versions(self) -> list[Version]:
        """The versions that are kept, the latest first."""
        return versions.kept(self.run)

    def knows_all(self) -> bool:
        """Whether the run has learned from every answer."""
        record = Store(self.run).record("answers") or {"key": {}}
        return bool(record["key"].get("answers") == standing.read(self.run).key())

    def compared(self) -> Mapping[str, Any] | None:
        """What the answers taught, by cross-validation: :class:`tsirius.answers.teach.Comparison`."""
        notes = (Store(self.run).record("answers") or {}).get("notes", {})
        found = notes.get("compared")
        return found if isinstance(found, dict) else None

    def changes(self, version: Version) -> dict[str, Any]:
        """What is other now than in a version: of ``label`` and ``model`` the reviews that changed, and the scores."""
        with self.lock:
            exam = self.desk.index.exam_version
            if self._changes.get("key") != (version.name, exam, self.model_ready):
                now, before = self.desk.said(model=self.model_ready), version.said()
                aligned = now.select("id").join(before, on="id", how="left", maintain_order="left")
                parts, exam_ids = {}, self.desk.examined()
                learned = version.learned_from(exam_ids)
                for of in ("model", "label"):
                    if now[of].null_count() == now.height or before[of].null_count() == before.height:
                        continue
                    count, found = changes.flips(before, now, of=of)
                    parts[of] = {
                        "count": count,
                        "flips": [(flip, [self._text(name) for name in flip.ids]) for flip in found],
                        "categories": changes.by_category(before, now, of=of),
                        "before": self.desk.score_of(aligned[of]),
                        "after": self.desk.score_of(now[of]),
                        "lead": self.desk.lead_of(now[of], aligned[of]),
                        "learned": learned if of == "model" else 0,
                    }
                self._changes = {"key": (version.name, exam, self.model_ready), "parts": parts}
            parts_now: dict[str, Any] = self._changes["parts"]
            return parts_now

    def clusters(self) -> list[Cluster] | None:
        """Groups of reviews that no category is made for; None while they are being looked for."""
        return self._clusters

    def _text(self, name: str) -> str:
        return str(self.desk.reviews["text"][self.desk.row_of[name]])


def verdict_of(answers: Sequence[Answer]) -> tuple[str, str | None]:
    """What people's answers on a review come to, for the page: ``open``, ``confirmed``, ``several``, ``skipped`` or
    ``disputed``, and the category of ``confirmed``."""
    said = {(one.verdict, one.category) for one in answers if one.verdict != "skip"}
    if len(said) > 1:
        return "disputed", None
    if not said:
        return ("skipped" if answers else "open"), None
    verdict, category = next(iter(said))
    return ("confirmed", category) if verdict == "category" else ("several", None)


def pieces(text: str, deciding: set[str]) -> list[tuple[str, bool]]:
    """A text in pieces, each with whether it is a word that decided."""
    result, end = list[tuple[str, bool]](), 0
    for match in WORD.finditer(text) if deciding else ():
        if _lemma(match[0]) in deciding:
            result += [(text[end : match.start()], False), (match[0], True)]
            end = match.end()
    return [*result, (text[end:], False)]


@lru_cache(maxsize=1 << 15)
def _lemma(word: str) -> str:
    return next(iter(lemmas(word)), "")


def advice(estimate: Estimate | None) -> dict[str, Any] | None:
    """How wide the interval is, how wide it would be with 20 more answers (as one over the root of their number), and
    how many are needed for :data:`GOAL`; None where too few are there to tell."""
    if estimate is None or estimate.rows < FEWEST:
        return None
    half = (estimate.high - estimate.low) / 2
    needed = int(np.ceil(estimate.rows * (half / GOAL) ** 2)) - estimate.rows
    return {"now": half, "then": half * (estimate.rows / (estimate.rows + 20)) ** 0.5, "more": max(0, needed),
            "goal": GOAL, "enough": half <= GOAL}  # fmt: skip

"""Drift: whether new reviews still are what a run's model was made for.

Words, length and script are compared with the reviews that the run began with. The mix of categories and the confidence
are compared with what the model said of reviews that it did not learn from, those of the run's test file or of a file
that is named: of its own training rows a model is surer than of any others.

Each comparison is kept in ``RUN/drift``, with a page that shows them one below the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsirius import tables
from tsirius.commands.drift import measures, page
from tsirius.commands.drift.measures import Measure
from tsirius.errors import UserError
from tsirius.i18n import numerals, translate
from tsirius.io.source import describe_source, open_alike, read_batches
from tsirius.language.clean import normalise
from tsirius.models.classifier import Classifier
from tsirius.progress import progress, say
from tsirius.publish import write_text
from tsirius.store import Store

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDER, HISTORY, PAGE = "drift", "history.json", "drift.html"
FEWEST = 50
"""Fewer new reviews than this tell next to nothing."""
KEPT = 520
"""Comparisons that are kept: ten years of weeks."""
BATCH = 20_000


@dataclass(frozen=True)
class Drift:
    """A comparison.

    Attributes:
        file: of the new reviews.
        when: it was made, ISO 8601 in UTC.
        rows: new reviews.
        known: reviews that they were compared with.
        measures: what was compared.
        new_words: words of several new reviews and of none of the known, with the number of reviews.
        alpha: how often there is an alarm where nothing has changed, at most.
    """

    file: str
    when: str
    rows: int
    known: int
    measures: Sequence[Measure]
    new_words: Sequence[tuple[str, int]]
    alpha: float

    @property
    def drifted(self) -> bool:
        """Whether anything differs by more than chance."""
        return any(one.drifted for one in self.measures)

    def table(self) -> str:
        """The comparison as lines of text, in the language that is spoken."""
        rows = [["", translate("known"), translate("new"), translate("95 % interval of the change"), "p", "", ""]]
        for one in self.measures:
            low, high = (numerals(f"{bound:+.3f}") for bound in one.interval)
            verdict = translate("DRIFT") if one.drifted else translate("chance")
            rows.append([translate(one.name), numerals(f"{one.known:.3f}"), numerals(f"{one.new:.3f}"),
                         f"{low} … {high}", numerals(f"{one.p:.2g}"), verdict, translate(one.detail)])  # fmt: skip
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        if self.new_words:
            words = ", ".join(f"{word} ({count:,})" for word, count in self.new_words)
            lines.append(translate(f"new words: {words}"))
        verdict = "the reviews have changed" if self.drifted else "no more than chance"
        about = f"{self.rows:,} new reviews beside {self.known:,}: {verdict} (alarms by chance: {self.alpha:.1%})"
        lines.append(translate(about))
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON takes it."""
        return {
            "file": self.file,
            "when": self.when,
            "rows": self.rows,
            "known": self.known,
            "drifted": self.drifted,
            "alpha": self.alpha,
            "measures": [one.to_dict() for one in self.measures],
            "new_words": [list(pair) for pair in self.new_words],
        }


@dataclass(frozen=True)
class Columns:
    """How a file is read: see ``tsirius predict``."""

    text_column: str | list[str] = "auto"
    encoding: str = "auto"


def check_file(run: Path, reviews: Path, *, reference: Path | None, alpha: float, columns: Columns) -> Drift:
    """Compare a file of new reviews with what a run knows, and add it to the run's history.

    Args:
        run: the run's folder.
        reviews: the file.
        reference: a file of reviews for which nothing had changed yet; None: the run's test file, where it has one.
        alpha: how often there may be an alarm where nothing has changed.
        columns: how both files are read.

    Raises:
        UserError: the run or a file cannot be read, or there are too few reviews.
    """
    store = Store(run)
    known = _known_texts(store)
    read = partial(_texts, columns=columns, before=store.settings("ingest"))
    new = read(reviews)
    classifier = Classifier.load(run)
    before = _predictions(store, classifier, reference, read)
    with progress("predict", total=len(new)) as advance:
        after = classifier.predict_proba(new, advance=advance)
    drift = compare(known, new, before, (after.argmax(axis=1), after.max(axis=1)), names=classifier.names,
                    file=str(reviews), alpha=alpha)  # fmt: skip
    _keep(run / FOLDER, drift)
    return drift


Predictions = tuple["NDArray[np.int64]", "NDArray[np.float32]"]
"""Of each review the category, as an index, and its probability."""


def compare(
    known: Sequence[str],
    new: Sequence[str],
    before: Predictions | None,
    after: Predictions,
    *,
    names: Sequence[str],
    file: str,
    alpha: float,
) -> Drift:
    """Compare new reviews with known ones.

    Args:
        known: cleaned texts that the run began with.
        new: the new ones, cleaned.
        before: what the model says of reviews that it did not learn from; None: nothing is known.
        after: what it says of the new ones.
        names: the categories.
        file: of the new reviews.
        alpha: how often there may be an alarm where nothing has changed.
    """
    counts = measures.document_counts(known)
    seen = [measures.see(texts, counts, set(known)) for texts in (known, new)]
    languages = [np.bincount(one.languages, minlength=len(measures.LANGUAGES)) for one in seen]
    found = [
        measures.mean(seen[0].unknown, seen[1].unknown, "unknown words", "share of a review's words"),
        measures.spread(seen[0].lengths, seen[1].lengths, "length", "characters"),
        measures.mix(languages[0], languages[1], measures.LANGUAGES, "script"),
    ]
    if before is not None:
        shares = [np.bincount(one, minlength=len(names)) for one in (before[0], after[0])]
        confidence = [one.astype(np.float64) for one in (before[1], after[1])]
        found = [
            measures.mix(shares[0], shares[1], names, "mix"),
            measures.spread(confidence[0], confidence[1], "confidence", "mean"),
            *found,
        ]
    when = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Drift(file, when, len(new), len(known), measures.judged(found, alpha=alpha),
                 measures.new_words(new, counts), alpha)  # fmt: skip


def _known_texts(store: Store) -> list[str]:
    folder = store.read("ingest")
    return tables.read(folder / "reviews.parquet", tables.REVIEWS)["clean"].to_list()


def _texts(path: Path, *, columns: Columns, before: Mapping[str, Any]) -> list[str]:
    """The cleaned texts of a file; those of which nothing is left count as well.

    Raises:
        UserError: it cannot be read, or has too few reviews.
    """
    source = open_alike(path, before, text_column=columns.text_column, id_column="none", encoding=columns.encoding,
                        text_required=True)  # fmt: skip
    say(describe_source(source))
    texts = [normalise(text) for batch in read_batches(source, rows=BATCH) for text in batch["text"]]
    if len(texts) < FEWEST:
        raise UserError(f"has {len(texts)} reviews, too few to compare", where=path,
                        remedy=f"Wait for {FEWEST} at least.")  # fmt: skip
    return texts


def _predictions(
    store: Store, classifier: Classifier, reference: Path | None, read: Callable[[Path], list[str]]
) -> Predictions | None:
    """What the model says of reviews that it did not learn from."""
    if reference is not None:
        probabilities = classifier.predict_proba(read(reference))
        return probabilities.argmax(axis=1), probabilities.max(axis=1)
    if not (store.folder("predict") / "predictions.parquet").is_file():
        say("  the run has no test file: mix and confidence are compared with a file named by --reference only")
        return None
    store.check_finished(["predict"])
    table = tables.read(store.folder("predict") / "predictions.parquet", tables.PREDICTIONS)
    if table.height < FEWEST:
        return None
    index = {name: number for number, name in enumerate(classifier.names)}
    return np.array([index[name] for name in table["category"]], dtype=np.int64), table["confidence"].to_numpy()


def _keep(folder: Path, drift: Drift) -> None:
    """Add a comparison to the history, and write its page."""
    path = folder / HISTORY
    try:
        history = list(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        history = []
    except (ValueError, TypeError):
        raise UserError("was altered or damaged", where=path, remedy="Remove it to begin a new history.") from None
    folder.mkdir(exist_ok=True)
    history = [*history, drift.to_dict()][-KEPT:]
    write_text(path, json.dumps(history, ensure_ascii=False, indent=1))
    write_text(folder / PAGE, page.render(history, name=folder.parent.resolve().name))

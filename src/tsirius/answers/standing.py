"""Which answers count, and for which reviews: people agree or do not, copies share, the exam is left alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tsirius.answers.log import Answer, Log, text_hash
from tsirius.errors import UserError
from tsirius.store import digest, with_checksum

SAMPLE = "audit/sample.json"
"""In the run's folder: the reviews that the exam drew."""
ANSWERED: Mapping[str, Any] = {"id": pl.String, "role": pl.String, "category": pl.String}
"""The reviews that answers say something of. ``role``: ``lesson``, it was answered; ``copy``, a copy of it was;
``several``, it speaks of several products; ``disputed``, people are divided; ``exam``, it was drawn to score, or is a
copy of one that was. Only the first two have a ``category``."""


@dataclass(frozen=True)
class Given:
    """The answers of a run as they stand when it is read.

    Attributes:
        answers: those that stand, see :meth:`tsirius.answers.log.Log.standing`.
        exam: ids of the reviews that the exam drew.
    """

    answers: tuple[Answer, ...]
    exam: frozenset[str]

    def key(self) -> dict[str, str] | None:
        """What results depend on; None without any, as if there were no such thing as answers."""
        if not self.answers and not self.exam:
            return None
        said = sorted(
            (one.kind, one.text, one.who, one.verdict, one.category or "", one.review) for one in self.answers
        )
        return {"given": digest({"answers": said}), "exam": digest({"exam": sorted(self.exam)})}


def read(run: Path) -> Given:
    """The answers of a run; none where it has none, or does not exist yet.

    Raises:
        UserError: the log or the exam's sample is damaged.
    """
    stored = read_sample(run / SAMPLE)
    drawn = frozenset(str(row[0]) for row in stored["rows"]) if stored else frozenset[str]()
    return Given(tuple(Log(run).standing()), drawn)


def read_sample(path: Path) -> dict[str, Any] | None:
    """What was drawn for an exam: ``rows`` of (id, stratum, size), ``seed``, …; None where nothing was.

    Raises:
        UserError: it was altered or damaged.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        stored = None
    if not isinstance(stored, dict) or with_checksum(stored) != stored:
        raise UserError("was altered or damaged", where=path,
                        remedy="Move it away: reviews are drawn again, and the answers so far are kept.")  # fmt: skip
    return stored


def stand(reviews: pl.DataFrame, given: Given, *, names: Collection[str]) -> tuple[pl.DataFrame, dict[str, int]]:
    """What the answers say of the reviews.

    An answer is of a text: of every review with that text, and, where the answers on a group of near duplicates agree,
    of its other members as well.

    Args:
        reviews: ``id``, ``group``, and ``text`` or ``hash``, its :func:`tsirius.answers.log.text_hash`.
        given: the answers.
        names: the categories.

    Returns:
        A table of :data:`ANSWERED`, and counts of answers that came to nothing: ``gone``, of texts that the run does
        not have; ``renamed``, of categories that it does not have; ``protected``, lessons on the exam's reviews or
        their copies; ``disputed``; ``skipped``.
    """
    counts = dict.fromkeys(("gone", "renamed", "protected", "disputed", "skipped"), 0)
    if not given.answers and not given.exam:
        return pl.DataFrame(schema=ANSWERED), counts
    exam = pl.col("id").is_in(list(given.exam))
    if "hash" not in reviews.columns:
        hashes = [text_hash(text) for text in reviews["text"]]
        reviews = reviews.with_columns(hash=pl.Series(hashes, dtype=pl.String))
    texts = reviews.select("id", "group", "hash")
    exam |= pl.col("hash").is_in([one.text for one in given.answers if one.kind == "exam"])
    protected = set(texts.filter(exam)["group"])
    group_of = dict(texts.select("hash", "group").unique("hash", keep="first", maintain_order=True).iter_rows())
    said: dict[str, list[Answer]] = {}
    for one in given.answers:
        if one.kind == "exam":
            continue
        if one.text not in group_of:
            counts["gone"] += 1
        elif group_of[one.text] in protected:
            counts["protected"] += 1
        elif one.verdict == "category" and one.category not in names:
            counts["renamed"] += 1
        elif one.verdict == "skip":
            counts["skipped"] += 1
        else:
            said.setdefault(one.text, []).append(one)
    verdicts = {text: _majority(answers) for text, answers in said.items()}
    counts["disputed"] = sum(verdict == ("disputed", None) for verdict in verdicts.values())
    return _spread(texts, verdicts, group_of, protected), counts


def _majority(answers: Sequence[Answer]) -> tuple[str, str | None]:
    """The role and category that people's answers on one text come to."""
    votes = Counter((one.verdict, one.category) for one in answers).most_common(2)
    if len(votes) == 2 and votes[0][1] == votes[1][1]:
        return "disputed", None
    verdict, category = votes[0][0]
    return ("lesson", category) if verdict == "category" else ("several", None)


def _spread(
    texts: pl.DataFrame,
    verdicts: Mapping[str, tuple[str, str | None]],
    group_of: Mapping[str, int],
    protected: Collection[int],
) -> pl.DataFrame:
    """The table of :data:`ANSWERED`: the answered texts, then what their groups agree on, then the exam."""
    of_group: dict[int, set[tuple[str, str | None]]] = {}
    for text, verdict in verdicts.items():
        of_group.setdefault(group_of[text], set()).add(verdict)
    rows = list[tuple[str, str, str | None]]()
    touched = texts.filter(pl.col("group").is_in([*of_group, *protected]))
    for name, group, text in touched.select("id", "group", "hash").iter_rows():
        if group in protected:
            rows.append((name, "exam", None))
        elif text in verdicts:
            rows.append((name, *verdicts[text]))
        elif len(of_group[group]) == 1:
            role, category = next(iter(of_group[group]))
            rows.append((name, "copy" if role == "lesson" else role, category))
    return pl.DataFrame(rows, schema=dict(ANSWERED), orient="row")

"""What ``tsirius answers`` does: tell of the answers of a run, write them to a file, take them from one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl

from tsirius import tables
from tsirius.answers import standing
from tsirius.answers.log import Log, text_hash
from tsirius.answers.standing import Given
from tsirius.categories import Categories
from tsirius.commands.answers import exchange
from tsirius.errors import UserError, nearest
from tsirius.store import Store


def summary(run: Path) -> str:
    """How many answers there are, of whom, and what became of them, as lines of text."""
    reviews, names = _reviews(run)
    given = standing.read(run)
    said, lost = standing.stand(reviews, given, names=names)
    people = Counter((one.who or "?", one.kind) for one in given.answers)
    lines = [f"{count:,} {kind} answers of {who}" for (who, kind), count in sorted(people.items())] or ["no answers"]
    lines += [f"{count:,} reviews: {role}" for role, count in said["role"].value_counts().sort("role").iter_rows()]
    lines += [f"{count:,} answers without effect: {why}" for why, count in lost.items() if count]
    return "\n".join(lines)


def export(run: Path, path: Path, *, form: str) -> int:
    """Write the answers that stand into a file; returns how many.

    Raises:
        UserError: no such format, or the run has no reviews.
    """
    _check(form)
    reviews, _ = _reviews(run)
    texts = dict(zip(reviews["hash"], reviews["text"], strict=True))
    rows = [
        {"id": one.review, "text": texts[one.text], "category": one.category or "", "verdict": one.verdict,
         "kind": one.kind, "who": one.who, "at": one.at, "note": one.note}
        for one in Log(run).standing() if one.text in texts
    ]  # fmt: skip
    labels = dict(tables.scan(run / "label" / "labels.parquet").select(["id", "label"]).collect().iter_rows())
    return exchange.write(path, rows, form=form, labels=labels)


def take(run: Path, path: Path, *, form: str, who: str) -> int:
    """Add the answers of a file to the run's, all or none; those that stand already are left out. Returns how many.

    Raises:
        UserError: the file cannot be read, or holds a lesson on an exam review or a copy of one.
    """
    _check(form)
    reviews, names = _reviews(run)
    ids = dict(reviews.select("hash", "id").unique("hash", keep="first", maintain_order=True).iter_rows())
    answers = exchange.read(path, form=form, names=names, texts=ids, who=who)
    log, before = Log(run), standing.read(run)
    known = {(one.who, one.kind, one.text, one.verdict, one.category) for one in before.answers}
    new = [one for one in answers if (one.who, one.kind, one.text, one.verdict, one.category) not in known]
    exam = tuple(one for one in [*before.answers, *new] if one.kind == "exam")
    protected, _ = standing.stand(reviews, Given(exam, before.exam), names=names)
    copies = set(reviews.filter(pl.col("id").is_in(protected["id"].implode()))["hash"])
    for one in new:
        if one.kind == "lesson" and one.text in copies:
            raise UserError(f"review {one.review!r} is in the exam, or a copy of one that is: it cannot teach",
                            where=path, remedy="Take that row out; nothing was imported.")  # fmt: skip
    log.add(new)
    return len(new)


def _check(form: str) -> None:
    if form not in exchange.FORMATS:
        raise UserError(f"unknown format {form!r}{nearest(form, exchange.FORMATS)}",
                        remedy=f"Known: {', '.join(exchange.FORMATS)}.")  # fmt: skip


def _reviews(run: Path) -> tuple[pl.DataFrame, list[str]]:
    folder = Store(run).read("ingest")
    reviews = tables.scan(folder / "reviews.parquet").select(["id", "text", "group"]).collect()
    hashes = pl.Series("hash", [text_hash(text) for text in reviews["text"]], dtype=pl.String)
    names = Categories.from_json((folder / "categories.json").read_text(encoding="utf-8")).names
    return reviews.with_columns(hashes), list(names)

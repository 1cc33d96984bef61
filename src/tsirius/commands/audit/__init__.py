"""Audit a finished run: a person answers for some of its reviews, and their answers say how right all of it is.

The reviews are drawn by label and confidence with known weights (:mod:`tsirius.commands.audit.survey`), and lie with
the answers in the run's folder ``audit``: ``sample.json``, ``answers.csv`` (id, text, category; empty where skipped)
and ``audit.json``; those for the predictions are in ``audit/predictions``. No stage reads them, so none was trained
on them; figures that come from them are called "with gold".
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import polars as pl

from tsirius.categories import Categories
from tsirius.commands.audit import asking, assessment, survey
from tsirius.config import Config
from tsirius.errors import UserError, nearest
from tsirius.io.source import Source, open_source, read_batches
from tsirius.language.clean import normalise
from tsirius.progress import say
from tsirius.store import Store, fingerprint, replacing, write_text

Of = Literal["labels", "predictions"]
KINDS: tuple[Of, ...] = get_args(Of)

COUNT = 150
"""Reviews to ask about, unless said otherwise."""


@dataclass(frozen=True)
class Subject:
    """What is audited.

    Attributes:
        run: the run's folder.
        of: ``labels`` of the reviews to learn from, or ``predictions`` for the test file.
        categories: the run's.
        rows: ``id``, ``label`` (null: none) and ``confidence`` of every review.
    """

    run: Path
    of: Of
    categories: Categories
    rows: pl.DataFrame

    @property
    def folder(self) -> Path:
        """Where the sample and the answers lie."""
        return self.run / "audit" if self.of == "labels" else self.run / "audit" / "predictions"


@dataclass(frozen=True)
class Sample:
    """The reviews to answer for: ``id``, ``stratum``, ``size`` in the order to ask in.

    ``seed`` is None where a person's file named the reviews: then they count as drawn at random from all.
    """

    rows: pl.DataFrame
    seed: int | None


def audit(
    run: Path,
    *,
    of: str,
    count: int | None,
    seed: int,
    write: Path | None,
    answers: Path | None,
    show: bool,
) -> str | None:
    """Ask, or write or read a file of answers; returns the report, None where a file was written to be filled in.

    Args:
        run: a finished run's folder.
        of: what to audit, ``labels`` or ``predictions``.
        count: reviews to ask about; None: as before, or :data:`COUNT`.
        seed: of the drawing.
        write: write the reviews there, to fill in the categories, and ask nothing.
        answers: read answers from there, and ask nothing.
        show: show the label with the review; it may lead the answer.

    Raises:
        UserError: the run has nothing to audit, or the answers do not fit it.
    """
    if write is not None and answers is not None:
        raise UserError("--write and --answers at once", remedy="Write the file, fill it in, then read it back.")
    kind = next((kind for kind in KINDS if kind == of), None)
    if kind is None:
        raise UserError(f"cannot audit {of!r}{nearest(of, KINDS)}", remedy=f"Name one of: {', '.join(KINDS)}.")
    subject = _subject(run, kind)
    subject.folder.mkdir(parents=True, exist_ok=True)
    with Store(subject.folder).lock():
        given = _given(answers, subject) if answers is not None else None
        sample = _sample(subject, given, count=count, seed=seed)
        texts = _texts(subject, sample.rows["id"])
        kept = _kept(subject)
        if write is not None:
            _write_answers(write, texts, kept, delimiter=";", escaped=True)
            say(f"{len(texts):,} reviews: {write}")
            which = "" if kind == "labels" else f" --of {kind}"
            say(f"Fill in the column category, then: tsirius audit {run}{which} --answers {write}")
            return None

        def save() -> None:
            _write_answers(subject.folder / "answers.csv", texts, kept, delimiter=",", escaped=False)

        if given is not None:
            filled = given.filter(pl.col("category") != "")
            kept |= dict(filled.select("id", "category").iter_rows())
            say(f"{filled.height:,} answers read, {given.height - filled.height:,} rows without a category")
            save()
        else:
            _ask(subject, sample, texts, kept, save=save, show=show)
        answered = sample.rows.with_columns(
            answer=pl.Series([kept.get(name, "") for name in sample.rows["id"]], dtype=pl.String)
        )
        return _report(subject, sample, answered.filter(pl.col("answer") != ""), texts)


def _ask(
    subject: Subject, sample: Sample, texts: Mapping[str, str], kept: dict[str, str], *, save: Any, show: bool
) -> None:
    hints = {}
    if show:
        rows = subject.rows.filter(pl.col("id").is_in(sample.rows["id"].implode()))
        hints = {name: f"labelled {label or 'not at all'}" for name, label in rows.select("id", "label").iter_rows()}
    keyboard, screen = asking.terminal()
    asking.ask(
        texts,
        kept,
        names=subject.categories.names,
        descriptions=[one.description for one in subject.categories],
        hints=hints,
        save=save,
        keyboard=keyboard,
        screen=screen,
    )
    left = sum(name not in kept for name in texts)
    if left:
        say(f"{left:,} left; the same command goes on there")


def _report(subject: Subject, sample: Sample, answered: pl.DataFrame, texts: Mapping[str, str]) -> str:
    if answered.is_empty():
        raise UserError("no answers yet", where=subject.folder,
                        remedy="Answer in a terminal, or use --write and --answers.")  # fmt: skip
    found = assessment.assess(
        answered.join(subject.rows, on="id", how="left", maintain_order="left"),
        subject.rows,
        _votes(subject),
        names=subject.categories.names,
        asked=sample.rows,
        seed=0,
    )
    found |= {"of": subject.of, "drawn": "given" if sample.seed is None else "by label and confidence"}
    if subject.of == "predictions":
        found["also_trained_on"] = _also_trained_on(subject, [texts[name] for name in answered["id"]])
    write_text(subject.folder / "audit.json", json.dumps(found, ensure_ascii=False, indent=1))
    return assessment.text(found, run=subject.run)


# --- what is audited --------------------------------------------------------------------------------------------------


def _subject(run: Path, of: Of) -> Subject:
    names = run / "ingest" / "categories.json"
    table = run / "label" / "labels.parquet" if of == "labels" else run / "predict" / "predictions.parquet"
    if not names.is_file() or not table.is_file():
        what = "labelled reviews" if of == "labels" else "predictions for a test file"
        raise UserError(f"holds no {what}", where=run, remedy="Name a folder that 'tsirius run' made"
                        + (", with a test file." if of == "predictions" else "."))  # fmt: skip
    column = "label" if of == "labels" else "category"
    rows = pl.read_parquet(table, columns=["id", column, "confidence"]).rename({column: "label"}, strict=False)
    return Subject(run, of, Categories.from_json(names.read_text(encoding="utf-8")), rows)


def _votes(subject: Subject) -> pl.DataFrame:
    """What each labeller says of each review: ``id``, ``labeller``, ``said`` (null: it abstains)."""
    if subject.of == "predictions":
        return subject.rows.select("id", labeller=pl.lit("model"), said="label")
    found = pl.scan_parquet(subject.run / "label" / "votes.parquet").select("id", "labeller", "said").collect()
    together = subject.rows.select("id", labeller=pl.lit("the label"), said="label")
    return pl.concat([found.sort("labeller", maintain_order=True), together])


def _texts(subject: Subject, ids: pl.Series) -> dict[str, str]:
    """The texts of some reviews by id, in the order of ``ids``."""
    if subject.of == "labels":
        reviews = pl.scan_parquet(subject.run / "ingest" / "reviews.parquet").select("id", "text")
        found = dict(reviews.filter(pl.col("id").is_in(ids.implode())).collect().iter_rows())
    else:
        found = {}
        for batch in read_batches(_test_file(subject.run), rows=20_000):
            found |= dict(batch.filter(pl.col("id").is_in(ids.implode())).select("id", "text").iter_rows())
    missing = next((name for name in ids if name not in found), None)
    if missing is not None:
        raise UserError(f"the review {missing!r} has no text any more", where=subject.run, remedy="Run it anew.")
    return {name: found[name] or "" for name in ids}


def _test_file(run: Path) -> Source:
    try:
        config = Config.model_validate_json((run / "config.json").read_text(encoding="utf-8")).ingest
    except (OSError, ValueError):
        config = None
    if config is None or config.test is None:
        raise UserError("does not say which test file was predicted", where=run, remedy="Run it anew.")
    source = open_source(
        config.test,
        text_column=config.text_column,
        id_column=config.id_column,
        encoding=config.encoding,
        text_required=True,
    )
    record = Store(run).record("predict") or {}
    if record.get("key", {}).get("files", {}).get("ingest.test") not in (None, fingerprint(config.test)):
        raise UserError("has changed since it was predicted", where=config.test, remedy="Run it anew.")
    return source


def _also_trained_on(subject: Subject, texts: list[str]) -> int:
    """How many of the texts also are among the reviews that the run could learn from."""
    clean = pl.Series([normalise(text) for text in texts], dtype=pl.String)
    reviews = pl.scan_parquet(subject.run / "ingest" / "reviews.parquet").select("clean")
    known = set(reviews.filter(pl.col("clean").is_in(clean.implode())).collect()["clean"])
    return sum(text in known for text in clean)


# --- the sample -------------------------------------------------------------------------------------------------------


def _sample(subject: Subject, given: pl.DataFrame | None, *, count: int | None, seed: int) -> Sample:
    """The sample that lies in the folder, made larger if asked for; or a new one, from a person's file if given."""
    path = subject.folder / "sample.json"
    if not path.is_file():
        if given is not None:
            return _keep(subject, _at_random(subject, given["id"]))
        return _keep(subject, _drawn(subject, count or COUNT, seed))
    mends = f"Move {subject.folder} away to begin a new audit."
    known = json.loads(path.read_text(encoding="utf-8"))
    if known["reviews"] != survey.fingerprint(subject.rows["id"]):
        raise UserError("the run has other reviews than when they were drawn", where=path, remedy=mends)
    rows = pl.DataFrame(known["rows"], schema={"id": pl.String, "stratum": pl.String, "size": pl.Int64}, orient="row")
    sample = Sample(rows, known["seed"])
    if given is not None:
        new = given.filter(~pl.col("id").is_in(rows["id"].implode()))["id"]
        if len(new) and sample.seed is not None:
            raise UserError(f"{len(new):,} of its reviews were not drawn for this audit, {new[0]!r} first",
                            where=subject.folder, remedy=f"Use the file of --write. {mends}")  # fmt: skip
        if len(new):
            return _keep(subject, _at_random(subject, pl.concat([rows["id"], new])))
    elif count is not None and count > rows.height and sample.seed is not None:
        larger = _drawn(subject, count, sample.seed)
        gone = rows.join(larger.rows, on=["id", "stratum", "size"], how="anti").height
        if gone:
            raise UserError("the labels have changed since the reviews were drawn, so no more can be added",
                            where=path, remedy=mends)  # fmt: skip
        return _keep(subject, larger)
    return sample


def _drawn(subject: Subject, count: int, seed: int) -> Sample:
    rows = subject.rows
    return Sample(survey.draw(rows["id"], rows["label"], rows["confidence"], count=count, seed=seed), seed)


def _at_random(subject: Subject, ids: pl.Series) -> Sample:
    say(f"these {len(ids):,} reviews count as drawn at random from all {subject.rows.height:,}")
    rows = pl.DataFrame({"id": ids}).with_columns(stratum=pl.lit("all"), size=pl.lit(subject.rows.height, pl.Int64))
    return Sample(rows, None)


def _keep(subject: Subject, sample: Sample) -> Sample:
    known = {"of": subject.of, "seed": sample.seed, "population": subject.rows.height,
             "reviews": survey.fingerprint(subject.rows["id"]), "rows": list(sample.rows.iter_rows())}  # fmt: skip
    write_text(subject.folder / "sample.json", json.dumps(known, ensure_ascii=False))
    return sample


# --- files of answers -------------------------------------------------------------------------------------------------


def _kept(subject: Subject) -> dict[str, str]:
    """The answers so far by id, "" for a skipped review."""
    path = subject.folder / "answers.csv"
    if not path.is_file():
        return {}
    return dict(_read_answers(path, subject).select("id", "category").iter_rows())


def _write_answers(
    path: Path, texts: Mapping[str, str], kept: Mapping[str, str], *, delimiter: str, escaped: bool
) -> None:
    """Write id, text, category. To be filled in: every review, semicolons (a Russian Excel's), a mark for UTF-8.

    To be kept: the reviews that a person has seen. ``escaped`` puts an apostrophe before a text that a spreadsheet
    would take for a formula.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8-sig", newline="") as handle:
        writer = csv.writer(handle, delimiter=delimiter)
        writer.writerow(["id", "text", "category"])
        for name, text in texts.items():
            formula = escaped and text.startswith(("=", "+", "-", "@", "\t", "\r"))
            # A line break or a NUL inside a cell does not survive every spreadsheet.
            plain = " ".join(asking.printable(text).split())
            if escaped or name in kept:
                writer.writerow([name, f"'{plain}" if formula else plain, kept.get(name, "")])


def _read_answers(path: Path, subject: Subject) -> pl.DataFrame:
    """A file's ``id``, ``category`` ("" where empty) and, where it has texts, ``text``."""
    source = open_source(path, text_column="auto", id_column="auto", encoding="auto", text_required=False)
    for column, name in ((source.category_column, "category"), (source.id_column, "id")):
        if column is None:
            raise UserError(f"has no column {name}", where=path, remedy="Use the file that --write wrote.")
    names, ids = subject.categories.names, set(subject.rows["id"])
    spelled = {name.casefold(): name for name in names}
    parts = [pl.DataFrame(schema={"id": pl.String, "category": pl.String})]
    for batch in read_batches(source, rows=20_000):
        written = [category.strip() for category in batch["category"]]
        for row, name, category in zip(batch["row"], batch["id"], written, strict=True):
            if category and category.casefold() not in spelled:
                raise UserError(f"unknown category {category!r}{nearest(category, names)}", where=f"{path}, row {row}",
                                remedy=f"Known: {', '.join(names)}.")  # fmt: skip
            if name not in ids:
                raise UserError(f"unknown id {name!r}{nearest(name, _near(name, ids))}", where=f"{path}, row {row}",
                                remedy="Use the ids of the file that --write wrote.")  # fmt: skip
        parts.append(batch.with_columns(category=pl.Series([spelled.get(c.casefold(), "") for c in written])))
    return pl.concat(parts, how="diagonal")


def _near(name: str, ids: set[str]) -> list[str]:
    """The ids that begin as ``name`` does: a search for the nearest among a million would take minutes."""
    return sorted(other for other in ids if other[:3] == name[:3])[:1000]


def _given(path: Path, subject: Subject) -> pl.DataFrame:
    """A person's file of answers, checked before anything is kept of it.

    Where it has texts, they must be the run's: row numbers of another file would, by chance, be known ids too.
    """
    given = _read_answers(path, subject)
    if not given.filter(pl.col("category") != "").height:
        raise UserError("no row has a category", where=path, remedy="Fill in the column category.")
    if "text" in given.columns:
        texts = _texts(subject, given["id"])
        same = sum(_letters(text) == _letters(texts[name]) for name, text in given.select("id", "text").iter_rows())
        if same * 2 < given.height:
            raise UserError(f"only {same:,} of {given.height:,} texts are those of the run's reviews with the same ids",
                            where=path, remedy="Use the file that --write wrote for this run.")  # fmt: skip
    return given


def _letters(text: str) -> str:
    """What an old encoding and a spreadsheet leave as it was."""
    return re.sub(r"[^a-zа-я0-9]", "", text.lower())[:200]

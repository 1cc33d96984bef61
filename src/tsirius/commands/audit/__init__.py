"""Audit a finished run: a person answers for some of its reviews, and their answers say how right all of it is.

The reviews are drawn by label and confidence with known weights (:mod:`tsirius.commands.audit.survey`), and lie with
the answers in the run's folder ``audit``: ``sample.json``, ``answers.csv`` (id, text, category; empty where skipped)
and ``audit.json``; those for the predictions are in ``audit/predictions``. No stage reads them, so none was trained
on them; figures that come from them are called "with gold".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl

from tsirius import headline
from tsirius.commands.audit import answers as files
from tsirius.commands.audit import asking, assessment
from tsirius.commands.audit.sample import Sample, draw_sample
from tsirius.commands.audit.subject import KINDS, Subject, all_votes, also_trained_on, open_subject, read_texts
from tsirius.errors import UserError, nearest
from tsirius.i18n import translate
from tsirius.progress import say
from tsirius.publish import write_text
from tsirius.store import Store, with_checksum


def audit(
    run: Path,
    *,
    of: str,
    count: int | None,
    seed: int,
    write: Path | None,
    answers: Path | None,
    show: bool,
    columns: files.Columns | None = None,
) -> str | None:
    """Ask, or write or read a file of answers; returns the report, None where a file was written to be filled in.

    Args:
        run: a finished run's folder.
        of: what to audit, ``labels`` or ``predictions``.
        count: reviews to ask about; None: as before, or :data:`tsirius.commands.audit.sample.COUNT`.
        seed: of the drawing.
        write: write the reviews there, to fill in the categories, and ask nothing.
        answers: read answers from there, and ask nothing.
        show: show the label with the review; it may bias the answer.
        columns: how the file of answers is read; None: as usual.

    Raises:
        UserError: the run has nothing to audit, or the answers do not fit it.
    """
    if write is not None and answers is not None:
        raise UserError("--write and --answers at once", remedy="Write the file, fill it in, then read it back.")
    kind = next((kind for kind in KINDS if kind == of), None)
    if kind is None:
        raise UserError(f"cannot audit {of!r}{nearest(of, KINDS)}", remedy=f"Name one of: {', '.join(KINDS)}.")
    subject = open_subject(run, kind)
    subject.folder.mkdir(parents=True, exist_ok=True)
    with Store(subject.folder).lock():
        given = files.read_given(answers, subject, columns or files.Columns()) if answers is not None else None
        sample = draw_sample(subject, given, count=count, seed=seed)
        # the kept file itself, read back, replaces what is kept
        corrected = answers is not None and answers.resolve() == (subject.folder / files.ANSWERS).resolve()
        kept = {} if corrected else files.read_kept(subject)
        drawn = sample.rows["id"]
        others = pl.Series([name for name in kept if name not in set(drawn)], dtype=pl.String)
        all_texts = read_texts(subject, pl.concat([drawn, others]))  # what was answered for another sample is kept too
        texts = {name: all_texts[name] for name in drawn}
        if write is not None:
            files.write_form(write, texts, kept)
            option = "" if kind == "labels" else f" --of {kind}"
            say(f"{len(texts):,} reviews: {write}")
            say(f"Fill in the column category, then: tsirius audit {run}{option} --answers {write}")
            return None
        if given is not None:
            filled = given if corrected else given.filter(pl.col("category") != "")
            kept |= dict(filled.select("id", "category").iter_rows())
            say(f"{filled.height:,} answers read, {given.height - filled.height:,} rows without a category")
            files.write_kept(subject, all_texts, kept)
        else:
            open_ones = [name for name in texts if name not in kept][:count]
            asked = {name: text for name, text in texts.items() if name in kept or name in open_ones}
            _ask(subject, sample, asked, kept, save=lambda: files.write_kept(subject, all_texts, kept), show=show)
        return _report(subject, sample, texts, kept)


def _ask(
    subject: Subject,
    sample: Sample,
    texts: Mapping[str, str],
    kept: dict[str, str],
    *,
    save: Callable[[], None],
    show: bool,
) -> None:
    hints = {}
    if show:
        rows = subject.rows.filter(pl.col("id").is_in(sample.rows["id"].implode()))
        hints = {
            name: translate(f"label: {label}") if label else translate("no label")
            for name, label in rows.select("id", "label").iter_rows()
        }
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
        say(f"{left:,} left; run the same command to resume")


def _report(subject: Subject, sample: Sample, texts: Mapping[str, str], kept: Mapping[str, str]) -> str:
    answers = pl.Series([kept.get(name, "") for name in sample.rows["id"]], dtype=pl.String)
    answered = sample.rows.with_columns(answer=answers).filter(pl.col("answer") != "")
    if answered.is_empty():
        raise UserError("no answers yet", where=subject.folder,
                        remedy="Answer in a terminal, or use --write and --answers.")  # fmt: skip
    figures = assessment.assess(
        answered.join(subject.rows, on="id", how="left", maintain_order="left"),
        subject.rows,
        all_votes(subject),
        names=subject.categories.names,
        sample=sample.rows,
        seed=0,
    )
    figures |= {"of": subject.of, "drawn": "given" if sample.seed is None else "by label and confidence"}
    _, stage, _ = headline.AUDITS[subject.of]
    figures["output"] = (Store(subject.run).record(stage) or {}).get("output")
    if subject.of == "predictions":
        figures["also_trained_on"] = also_trained_on(subject, [texts[name] for name in answered["id"]])
    write_text(subject.folder / "audit.json", json.dumps(with_checksum(figures), ensure_ascii=False, indent=1))
    return assessment.text(figures, run=subject.run)

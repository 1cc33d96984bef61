"""The reviews that a person answers for, drawn once and kept in ``sample.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass

import polars as pl

from tsirius.answers import standing
from tsirius.commands.audit import survey
from tsirius.commands.audit.subject import Subject
from tsirius.errors import UserError
from tsirius.progress import say
from tsirius.publish import write_text
from tsirius.store import with_checksum

COUNT = 150
"""Reviews to ask about, unless a count is given."""


@dataclass(frozen=True)
class Sample:
    """The reviews to answer for: ``id``, ``stratum``, ``size`` in the order to ask in.

    ``seed`` is None where a person's file named the reviews: then they count as drawn at random from all.
    """

    rows: pl.DataFrame
    seed: int | None


def draw_sample(subject: Subject, given: pl.DataFrame | None, *, count: int | None, seed: int) -> Sample:
    """The sample in the audit's folder, extended where ``count`` is larger; or a new one, from a file of answers.

    Args:
        subject: what is audited.
        given: ``id`` of the reviews in a person's file; None where there is none.
        count: reviews to ask about; None: those of the sample, or :data:`COUNT`.
        seed: of the drawing.

    Raises:
        UserError: the run has other reviews than those that the sample was drawn from, or the file others than it; or
            the kept sample was altered or damaged.
    """
    path = subject.folder / "sample.json"
    if not path.is_file():
        if given is not None:
            return _keep(subject, _at_random(subject, given["id"]))
        return _keep(subject, _drawn(subject, count or COUNT, seed))
    remedy = f"Move {subject.folder} away to begin a new audit."
    stored = standing.read_sample(path)
    assert stored is not None
    if stored["reviews"] != survey.fingerprint(subject.rows["id"]):
        raise UserError("the run has other reviews than when the sample was drawn", where=path, remedy=remedy)
    rows = pl.DataFrame(stored["rows"], schema={"id": pl.String, "stratum": pl.String, "size": pl.Int64}, orient="row")
    sample = Sample(rows, stored["seed"])
    if given is not None:
        new = given.filter(~pl.col("id").is_in(rows["id"].implode()))["id"]
        if len(new) and sample.seed is not None:
            raise UserError(f"{len(new):,} of its reviews were not drawn for this audit, {new[0]!r} first",
                            where=subject.folder, remedy=f"Use the file of --write. {remedy}")  # fmt: skip
        if len(new):
            return _keep(subject, _at_random(subject, pl.concat([rows["id"], new])))
    elif count is not None and count > rows.height and sample.seed is not None:
        larger = _drawn(subject, count, sample.seed)
        missing = rows.join(larger.rows, on=["id", "stratum", "size"], how="anti").height
        if missing:
            raise UserError("the labels have changed since the reviews were drawn, so no more can be added",
                            where=path, remedy=remedy)  # fmt: skip
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
    stored = {"of": subject.of, "seed": sample.seed, "population": subject.rows.height,
             "reviews": survey.fingerprint(subject.rows["id"]), "rows": list(sample.rows.iter_rows())}  # fmt: skip
    write_text(subject.folder / "sample.json", json.dumps(with_checksum(stored), ensure_ascii=False))
    return sample

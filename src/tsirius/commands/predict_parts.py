"""Predict a folder of reviews part by part: see :mod:`tsirius.scale`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tsirius import extras
from tsirius.errors import UserError
from tsirius.io import addresses
from tsirius.io.source import Source, TextColumns, describe_source, open_alike
from tsirius.models.classifier import find
from tsirius.progress import say
from tsirius.scale import engines, finish, part, plan
from tsirius.scale.engines import Resources as Resources  # part of what this module gives
from tsirius.scale.plan import ROWS_PER_PART as ROWS_PER_PART  # the same
from tsirius.store import Store, fingerprint_once


@dataclass(frozen=True)
class Options:
    """How the parts are run.

    Attributes:
        share: "2/3" does the second of three shares and no last step; "" does all.
        engine: see :data:`tsirius.scale.engines.ENGINES`.
        resources: what the engine may use.
        redo: predict again what was predicted from another model or file.
        rows_per_part: a longer Parquet file is cut between its row groups.
        max_failed: parts that may fail before the work is given up.
    """

    share: str = ""
    engine: str = "here"
    resources: Resources = field(default_factory=Resources)
    redo: bool = False
    rows_per_part: int = ROWS_PER_PART
    max_failed: int = 0


@dataclass(frozen=True)
class Columns:
    """Which columns are read and written: see :func:`tsirius.io.source.open_source` and
    :func:`tsirius.io.writers.layout`.

    Attributes:
        text: the column, or columns, of the reviews.
        identity: that of the ids.
        encoding: of text files.
        written: the columns to write.
        runner_up: whether the second category is written too.
    """

    text: TextColumns = "auto"
    identity: str = "auto"
    encoding: str = "auto"
    written: Sequence[str] = ()
    runner_up: bool = False


def folder(reviews: str, output: str | None) -> str | None:
    """The folder of outputs, where one is asked for: by its slash, or as it is one, or as the reviews are a folder.

    Raises:
        UserError: the reviews are a folder, and no output is named.
    """
    many = reviews != "-" and addresses.is_many(reviews)
    if output in (None, "-"):
        if many:
            raise UserError("holds many files", where=addresses.shown(reviews), remedy="Name a folder of outputs: -o.")
        return None
    asked = many or str(output).endswith("/") or (reviews != "-" and Path(str(output)).is_dir())
    return output if asked else None


def predict_parts(
    model: str,
    reviews: str,
    output: str,
    *,
    columns: Columns = Columns(),
    options: Options = Options(),
) -> str:
    """Predict every file of reviews of a folder or pattern into a folder of Parquet files of the same names.

    What is done already is left. When all parts are, they are checked together, and ``_SUCCESS`` is written.

    Returns:
        What was done, in one line.

    Raises:
        UserError: the model, the reviews or the outputs cannot be used, too many parts failed, or the extra ``folders``
            is not installed.
    """
    extras.need_folders("predicting part by part", where=addresses.shown(reviews))
    engines.engine(options.engine)
    if options.share:
        plan.share([], options.share)
    _check_apart(reviews, output)
    parts = plan.make(reviews, rows_per_part=options.rows_per_part)
    fingerprint = fingerprint_once(find(Path(model)))
    source = _first(model, parts[0], columns)
    job = plan.Job(str(Path(model).absolute()) if Path(model).exists() else model, fingerprint, output,
                   source.text_columns, source.id_column or "none", columns.encoding, tuple(columns.written),
                   columns.runner_up)  # fmt: skip
    id_name = part.layout(job, source, Path("out.parquet")).id_column
    say(f"{len(parts):,} parts in {addresses.shown(reviews)}; as {describe_source(source)}")
    plan.hold(job, parts, redo=options.redo)
    share = plan.share(parts, options.share) if options.share else parts
    todo = plan.unfinished(job, share)
    if len(todo) < len(share):
        say(f"  {len(share) - len(todo):,} parts are done already")
    if todo:
        plan.unmark(job)
    tally = engines.run(options.engine, job, todo, options.resources, allowed=options.max_failed)
    if tally.failed:
        raise UserError(f"{len(tally.failed):,} of {len(share):,} parts failed, the others are done",
                        where=addresses.shown(output), remedy="Mend these files, then run again.")  # fmt: skip
    if options.share:
        rows = sum(done.rows for done in tally.done)
        return f"{addresses.shown(output)}: share {options.share} is done, {len(share):,} parts, {rows:,} new reviews"
    return f"{addresses.shown(output)}: {finish.finish(job, parts, id_column=id_name)}"


def _check_apart(reviews: str, output: str) -> None:
    """Refuse outputs among the reviews, where they would be read as such.

    Raises:
        UserError: they would be.
    """
    (_, read), (_, written) = addresses.connect(reviews), addresses.connect(output)
    if addresses.is_url(reviews) == addresses.is_url(output) and f"{written}/".startswith(f"{read.rstrip('/')}/"):
        raise UserError("lies in the folder of reviews", where=addresses.shown(output), remedy="Name another folder.")
    if not addresses.is_url(output) and Path(output).is_file():
        raise UserError("is a file", where=output, remedy="Name a folder.")


def _first(model: str, first: plan.Part, columns: Columns) -> Source:
    """The first file, which tells the columns of all: as the run's settings name them, where it has them."""
    before = Store(Path(model)).settings("ingest")
    read_as = {"encoding": columns.encoding, "text_required": True}
    with tempfile.TemporaryDirectory(prefix="tsirius-") as name:
        local = part.head(first, Path(name)) if addresses.is_url(first.address) else Path(first.address)
        with addresses.told_as(local, first.shown):
            return open_alike(local, before, text_column=columns.text, id_column=columns.identity, **read_as)

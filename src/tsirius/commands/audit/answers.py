"""Files of answers: those that are kept in the run, and those that a person fills in with a spreadsheet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tsirius.categories import key, spellings
from tsirius.commands.audit.asking import printable
from tsirius.commands.audit.subject import Subject, read_texts
from tsirius.errors import UserError, nearest
from tsirius.io import spreadsheet
from tsirius.io.ids import read_unique
from tsirius.io.source import TextColumns, open_source
from tsirius.publish import write_text
from tsirius.store import file_fingerprint

ANSWERS, ANSWERS_NEW, ANSWERS_SUMS = "answers.csv", ".answers.new.csv", ".answers.sums"
"""In the audit's folder."""
COLUMNS = ("id", "text", "category")


@dataclass(frozen=True)
class Columns:
    """How a person's file of answers is read: see :func:`tsirius.io.source.open_source`."""

    text_column: TextColumns = "auto"
    id_column: str = "auto"
    category_column: str = "auto"
    encoding: str = "auto"
    sheet: str | int = "auto"


def read_kept(subject: Subject) -> dict[str, str]:
    """The answers so far by id, "" for a skipped review.

    Raises:
        UserError: they were altered or damaged since they were given.
    """
    path = subject.folder / ANSWERS
    if not path.is_file():
        return {}
    if (sums := _sums(path)) and file_fingerprint(path) not in sums:
        option = "" if subject.of == "labels" else f" --of {subject.of}"
        raise UserError("was altered or damaged", where=path,
                        remedy=f"Check it, and have it taken as it is with: tsirius audit {subject.run}{option}"
                               f" --answers {path}")  # fmt: skip
    return dict(_read_answers(path, subject, Columns()).select("id", "category").iter_rows())


def write_form(path: Path, texts: Mapping[str, str], kept: Mapping[str, str]) -> None:
    """Write every review with its answer so far, to be filled in with a spreadsheet.

    An Excel workbook where the name says so; else CSV, separated by semicolons, as a Russian Excel expects.
    """
    rows = [(name, _one_line(text), kept.get(name, "")) for name, text in texts.items()]
    spreadsheet.write(path, COLUMNS, rows, delimiter=";")


def write_kept(subject: Subject, texts: Mapping[str, str], kept: Mapping[str, str]) -> None:
    """Write the reviews that a person has seen, with their answers, into the audit's folder."""
    rows = [(name, _one_line(text), kept[name]) for name, text in texts.items() if name in kept]
    path, new = subject.folder / ANSWERS, subject.folder / ANSWERS_NEW
    spreadsheet.write(new, COLUMNS, rows, delimiter=",")
    before = [path] if path.is_file() else []  # what a process leaves that is killed before it is replaced
    write_text(subject.folder / ANSWERS_SUMS, "\n".join(map(file_fingerprint, [new, *before])))
    new.replace(path)


def _sums(path: Path) -> list[str]:
    try:
        return path.with_name(ANSWERS_SUMS).read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return []
    except ValueError:
        return ["damaged"]


def _one_line(text: str) -> str:
    """A line break or a NUL inside a cell does not survive every spreadsheet."""
    return " ".join(printable(text).split())


def _read_answers(path: Path, subject: Subject, columns: Columns) -> pl.DataFrame:
    """A file's ``id``, ``category`` ("" where empty) and, where it has texts, ``text``."""
    source = open_source(
        path,
        text_column=columns.text_column,
        id_column=columns.id_column,
        category_column=columns.category_column,
        encoding=columns.encoding,
        text_required=False,
        sheet=columns.sheet,
    )
    for column, name in ((source.category_column, "category"), (source.id_column, "id")):
        if column is None:
            raise UserError(f"has no column {name}", where=path, remedy="Use the file that --write wrote.")
    names, ids = subject.categories.names, set(subject.rows["id"])
    spelled, own = spellings(names), source.format == "xlsx"
    parts = [pl.DataFrame(schema={"id": pl.String, "category": pl.String})]
    for batch in read_unique(source, rows=20_000):
        # a workbook has ids as they are, unless it was saved from CSV, whose cells are escaped
        plain = [name if own and name in ids else spreadsheet.unescape(name) for name in batch["id"]]
        batch = batch.with_columns(id=pl.Series(plain, dtype=pl.String))
        written = [spreadsheet.unescape(category.strip()) for category in batch["category"]]
        for row, name, category in zip(batch["row"], batch["id"], written, strict=True):
            if key(category) and key(category) not in spelled:
                raise UserError(f"unknown category {category!r}{nearest(category, names)}", where=f"{path}, row {row}",
                                remedy=f"Known: {', '.join(names)}.")  # fmt: skip
            if name not in ids:
                raise UserError(f"unknown id {name!r}{nearest(name, _near(name, ids))}", where=f"{path}, row {row}",
                                remedy="Use the ids of the file that --write wrote.")  # fmt: skip
        parts.append(
            batch.with_columns(category=pl.Series([spelled.get(key(c), "") for c in written], dtype=pl.String))
        )
    return pl.concat(parts, how="diagonal")


def _near(name: str, ids: set[str]) -> list[str]:
    """The ids that begin as ``name`` does: a search for the nearest among a million would take minutes."""
    return sorted(other for other in ids if other[:3] == name[:3])[:1000]


def read_given(path: Path, subject: Subject, columns: Columns) -> pl.DataFrame:
    """A person's file of answers, ``id`` and ``category`` ("" where empty), checked before anything of it is kept.

    Where it has texts, they must be the run's: row numbers of another file would, by chance, be known ids too.

    Raises:
        UserError: an id or a category is unknown, no row has a category, or the texts are others.
    """
    given = _read_answers(path, subject, columns)
    if not given.filter(pl.col("category") != "").height:
        raise UserError("no row has a category", where=path, remedy="Fill in the column category.")
    if "text" in given.columns:
        texts = read_texts(subject, given["id"])
        same = sum(_letters(text) == _letters(texts[name]) for name, text in given.select("id", "text").iter_rows())
        if same * 2 < given.height:
            raise UserError(f"only {same:,} of {given.height:,} texts are those of the run's reviews with the same ids",
                            where=path, remedy="Use the file that --write wrote for this run.")  # fmt: skip
    return given


def _letters(text: str) -> str:
    """What an old encoding and a spreadsheet leave unchanged."""
    return re.sub(r"[^a-zа-я0-9]", "", text.lower())[:200]

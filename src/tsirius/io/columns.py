"""Columns: a table's header, and which of its columns holds the texts, the ids and the categories."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from tsirius.errors import UserError, nearest
from tsirius.io.readers import MENDS_NUL, json_object, raise_cell_limit

TEXT_NAMES = (
    "text", "review", "review text", "отзыв", "текст", "текст отзыва", "comment", "комментарий", "feedback", "content",
    "body", "message", "сообщение",
)  # fmt: skip
ID_NAMES = ("id", "review id", "uid", "uuid", "id отзыва", "ид", "№")
CATEGORY_NAMES = ("category", "категория", "label", "класс", "target")
"""Names taken when a column is "auto", the likeliest first; case, ``_`` and ``-`` do not matter."""


def choose(
    columns: Sequence[str], path: Path, *, text_column: str, id_column: str, text_required: bool
) -> tuple[str | None, str | None, str | None]:
    """The columns of the texts, the ids and the categories; None for one that the file lacks.

    The arguments are those of :func:`tsirius.io.source.open_source`.

    Raises:
        UserError: a column comes twice, one that was named is missing, or none can be taken for the text.
    """
    twice = next((name for at, name in enumerate(columns) if name and name in columns[:at]), None)
    if twice is not None:
        raise UserError(f"has two columns named {shown(twice)}", where=path, remedy="Rename or remove one.")
    text = _find(columns, text_column, TEXT_NAMES, "text_column", path)
    if text is None and len(columns) == 1 and (text_required or _plain(columns[0]) not in CATEGORY_NAMES):
        text = columns[0]
    if text is None and text_required:
        raise UserError("no column has a usual name for the text", where=path,
                        remedy=f"Set text_column to one of: {_listed(columns)}.")  # fmt: skip
    rest, identity = [name for name in columns if name != text], None
    if id_column != "none" or "none" in columns:
        identity = _find(rest, id_column, ID_NAMES, "id_column", path)
    return text, identity, _find([name for name in rest if name != identity], "auto", CATEGORY_NAMES, "category", path)


def _find(columns: Sequence[str], wanted: str, usual: Sequence[str], setting: str, path: Path) -> str | None:
    """The column called ``wanted``; for "auto" the one with the likeliest usual name, or None."""
    if wanted == "auto":
        names = {_plain(name): name for name in reversed(columns)}
        return next((names[name] for name in usual if name in names), None)
    if wanted not in columns:
        raise UserError(f"no column {wanted!r}{nearest(wanted, columns)}", where=path,
                        remedy=f"Set {setting} to one of: {_listed(columns)}.")  # fmt: skip
    return wanted


def is_usual_text_name(name: str) -> bool:
    """Whether "auto" takes a column of this name for the text."""
    return _plain(name) in TEXT_NAMES


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def shown(name: str) -> str:
    """A column's name for a message: a review taken for a header can be of any length."""
    return repr(name if len(name) <= 40 else f"{name[:39]}…")


def _listed(columns: Sequence[str]) -> str:
    first = ", ".join(map(shown, columns[:12]))
    return f"{first} and {len(columns) - 12} more" if len(columns) > 12 else first


def header(text: str, path: Path, *, tabs: bool) -> tuple[str, list[str]]:
    """The delimiter under which the first rows fit the header best, and the header's names."""
    best: tuple[tuple[float, int], str, list[str]] | None = None
    raise_cell_limit()
    for delimiter in "\t,;" if tabs else ",;\t|":
        rows = []
        with suppress(csv.Error):  # a cell beyond the limit: the rows so far tell enough
            for row in islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), 50):
                rows += [row] if row else []
        if not rows:
            continue
        fits = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
        score = (fits, len(rows[0])) if len(rows[0]) > 1 else (0.0, 1)
        if best is None or score > best[0]:
            best = score, delimiter, [name.strip() for name in rows[0]]
    if best is None:
        raise UserError("has no readable header", where=path, remedy="Start the file with a line of column names.")
    _, delimiter, columns = best
    if "\0" in "".join(columns):
        raise UserError("has NUL characters in its header", where=path, remedy=MENDS_NUL)
    return delimiter, columns


def json_columns(text: str, path: Path, *, whole: bool) -> list[str]:
    """The keys of the first hundred objects, in their order."""
    lines = text.split("\n")
    names: dict[str, None] = {}
    for number, line in enumerate(lines[:100] if whole or len(lines) == 1 else lines[:-1][:100], 1):
        if line.strip():
            names.update(dict.fromkeys(json_object(line, f"{path}, line {number}")))
    return list(names)

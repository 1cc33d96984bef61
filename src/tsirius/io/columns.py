"""Columns: a table's header, and which of its columns holds the texts, the ids and the categories."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tsirius.errors import UserError, nearest
from tsirius.io.names import (
    BLAME_NAMES,
    CATEGORY_NAMES,
    ID_NAMES,
    INVISIBLE,
    PRAISE_NAMES,
    TEXT_NAMES,
    is_usual,
    plain,
    visible,
)
from tsirius.io.readers import MENDS_NUL, json_object, raise_cell_limit

UNSEPARATED = "\x1f"
"""The delimiter of a list whose lines are not cut into cells."""


@dataclass(frozen=True)
class Table:
    """How a text file is laid out.

    Attributes:
        columns: the header's names.
        delimiter: between cells; "" for JSON Lines, Parquet and Excel.
        skipped: lines before the header.
        headed: whether there is a header; a list of reviews has none, and its column is called "text".
        first_row: the first row of what has no header.
    """

    columns: tuple[str, ...]
    delimiter: str
    skipped: int
    headed: bool
    first_row: tuple[str, ...] = ()


def choose(
    columns: Sequence[str],
    path: Path,
    *,
    text_column: str | Sequence[str],
    id_column: str,
    category_column: str,
    text_required: bool,
) -> tuple[tuple[str, ...], str | None, str | None]:
    """The columns of the texts, the ids and the categories; none, or None, for one that the file lacks.

    The arguments are those of :func:`tsirius.io.source.open_source`.

    Raises:
        UserError: a column comes twice, one that was named is missing, or none can be taken for the text.
    """
    names = [visible(name) for name in columns]
    twice = next((name for at, name in enumerate(names) if name and name in names[:at]), None)
    if twice is not None:
        raise UserError(f"has two columns named {shown(twice)}", where=path, remedy="Rename or remove one.")
    wanted = visible(category_column) if category_column != "auto" else None
    others = [name for name in columns if visible(name) != wanted]
    texts = _find_texts(others, text_column, path)
    if not texts and len(columns) == 1 and (text_required or plain(columns[0]) not in CATEGORY_NAMES + ID_NAMES):
        texts = [columns[0]]
    if not texts and text_required:
        raise UserError("no column has a usual name for the text", where=path,
                        remedy=f"Set text_column to one of: {_listed(columns)}.")  # fmt: skip
    rest, identity = [name for name in others if name not in texts], None
    if id_column != "none" or "none" in names:
        identity = _find(rest, id_column, ID_NAMES, "id_column", path)
    rest = [name for name in columns if name not in (*texts, identity)]
    return tuple(texts), identity, _find(rest, category_column, CATEGORY_NAMES, "category_column", path)


def _find_texts(columns: Sequence[str], wanted: str | Sequence[str], path: Path) -> list[str]:
    """The columns whose texts make up a review: those that were named; for "auto" the one of a usual name, and with it
    those of its parts, in the file's order."""
    if not isinstance(wanted, str) and list(wanted) != ["auto"]:
        found = [_find(columns, name, TEXT_NAMES, "text_column", path) for name in wanted]
        return list(dict.fromkeys(name for name in found if name is not None))
    name = wanted if isinstance(wanted, str) else "auto"
    parts = {_find(columns, name, TEXT_NAMES, "text_column", path)}
    if name == "auto":
        parts |= {_find(columns, "auto", usual, "text_column", path) for usual in (PRAISE_NAMES, BLAME_NAMES)}
    return [column for column in columns if column in parts]


def _find(columns: Sequence[str], wanted: str, usual: Sequence[str], setting: str, path: Path) -> str | None:
    """The column called ``wanted``; for "auto" the one with the likeliest usual name, or None.

    Raises:
        UserError: there is none, or several have names that differ in their capitals only.
    """
    if wanted != "auto":
        found = next((name for name in columns if visible(name) == visible(wanted)), None)
        if found is None:
            raise UserError(f"no column {wanted!r}{nearest(wanted, columns)}", where=path,
                            remedy=f"Set {setting} to one of: {_listed(columns)}.")  # fmt: skip
        return found
    for name in usual:
        exact = [column for column in columns if visible(column) == name]
        alike = exact or [column for column in columns if plain(column) == name]
        if len(alike) > 1:
            raise UserError(f"has the columns {_listed(alike)}, and any of them may be meant", where=path,
                            remedy=f"Set {setting} to one of them.")  # fmt: skip
        if alike:
            return alike[0]
    return None


def shown(name: str) -> str:
    """A column's name for a message: a review taken for a header can be of any length."""
    return repr(name if len(name) <= 40 else f"{name[:39]}…")


def _listed(columns: Sequence[str]) -> str:
    first = ", ".join(map(shown, columns[:12]))
    return f"{first} and {len(columns) - 12} more" if len(columns) > 12 else first


def table(text: str, path: Path, *, tabs: bool, named: Sequence[str]) -> Table:
    """The layout of a CSV or TSV file.

    Args:
        text: its beginning.
        path: the file.
        tabs: whether its name says that cells are separated by tabs.
        named: columns that the user named.

    Raises:
        UserError: there is no readable header, or the file is no table.
    """
    text = text.lstrip(INVISIBLE)
    directive = _SEPARATOR.match(text)
    skipped = 1 if directive else 0
    if directive:
        text = text[directive.end() :].lstrip(INVISIBLE)
        delimiters = directive[1].replace("\\t", "\t")
    else:
        delimiters = "\t,;" if tabs else ",;\t|"
    if _JSON.match(text):
        raise UserError(f"is JSON{' (an array)' if text.lstrip()[0] == '[' else ''}, not a table of cells", where=path,
                        remedy='Write one object a line, {"text": "…"}, and call the file .jsonl.')  # fmt: skip
    _check_letters(text, path)
    best: tuple[tuple[float, int], str, list[list[str]]] | None = None
    for delimiter in delimiters:
        rows = _first_rows(text, delimiter)
        if not rows:
            continue
        fits = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
        score = (fits, len(rows[0])) if len(rows[0]) > 1 else (0.0, 1)
        if best is None or score > best[0]:
            best = score, delimiter, rows
    if best is None:
        raise UserError("has no readable header", where=path, remedy="Start the file with a line of column names.")
    (fits, _), delimiter, rows = best
    columns = [visible(name) for name in rows[0]]
    if "\0" in "".join(rows[0]):
        raise UserError("has NUL characters in its header", where=path, remedy=MENDS_NUL)
    known = {visible(name) for name in named}
    if any(is_usual(name) or name in known for name in columns):
        _check_markdown(rows, path)
        return Table(tuple(columns), delimiter, skipped, True)
    for other in delimiters:
        _check_title(_first_rows(text, other), path)
    lines = [line for line in text.splitlines()[:50] if line.strip()]
    mail = len(lines) > 1 and all(_MAIL.match(line) for line in lines[:2])
    if mail or sum(bool(_MACHINE.match(line)) for line in lines) >= 0.8 * len(lines):
        raise UserError(f"is {'mail' if mail else 'a log or a list of settings'}, not a table of reviews", where=path,
                        remedy="Start the file with a line of column names, text for example.")  # fmt: skip
    if len(columns) > 1 and fits < 1:  # sentences with commas, not cells
        return Table(("text",), UNSEPARATED, skipped, False, (text.lstrip().splitlines()[0],))
    if len(columns) == 1 and not _NAME.fullmatch(columns[0]):
        return Table(("text",), UNSEPARATED, skipped, False, (rows[0][0],))
    return Table(tuple(columns), delimiter, skipped, True)


_SEPARATOR = re.compile(r"\"?sep=(\\t|[^\r\n\"])\"?[\r\n]+", re.IGNORECASE)
"""Excel's line that names the separator."""
_JSON = re.compile(r"\s*(?:\[\s*[\[{\"]|\{\s*\"(?:[^\"\\]|\\.)*\"\s*:)")
_MACHINE = re.compile(
    r"\W{0,3}(?:\d{4}[-/.]\d\d?[-/.]\d\d?|\d\d?[-/.]\w{2,3}[-/.]\d{4}|[A-Z][a-z]{2}\s+\d\d?)[T ,:/]+\d\d?:\d\d"
    r"|\W{0,2}(?:DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|FATAL|CRITICAL|TRACE)\b"
    r"|\d{1,3}(?:\.\d{1,3}){3}\s"
    r"|[\s-]*[A-Za-z][\w.-]*\s?[:=]\s*\S"
    r"|\[[\w .-]+\]\s*$"
    r"|---\s*$"
    r"|[A-Za-z0-9+/=_-]{24,}\s*$"
)
"""A line of a log, of an access log, of settings, or of base64."""
_MAIL = re.compile(r"(?:From|To|Subject|Date|Received|Return-Path|Delivered-To|MIME-Version|Message-ID|Content-[A-Z]\w+"
                   r"|X-[\w-]+):\s", re.IGNORECASE)  # fmt: skip
_ESCAPED = re.compile(r"(?:\\u04[0-9a-f]{2}){4,}|(?:=D[01]=[0-9A-F]{2}){4,}", re.IGNORECASE)
"""Cyrillic letters as JavaScript and as mail (quoted-printable) escape them."""
_UTF_7 = re.compile(r"\+(B[A-Za-z0-9+/]{7,})-?")
"""At least three Cyrillic letters in UTF-7."""
_NAME = re.compile(r"[a-z][a-z0-9]*(?:[_.-]?[a-z0-9]+)*|[A-Za-z0-9]+(?:_[A-Za-z0-9]+)+")
"""A name that only a program gives; a Russian word, or several words, may be a review."""


def _first_rows(text: str, delimiter: str) -> list[list[str]]:
    rows: list[list[str]] = []
    raise_cell_limit()
    with suppress(csv.Error):  # a cell beyond the limit: the rows so far tell enough
        for row in islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), 50):
            rows += [row] if row else []
    return rows


def _check_letters(text: str, path: Path) -> None:
    """Refuse Cyrillic letters that are escaped, or were taken for other letters and saved as these.

    Raises:
        UserError: they are.
    """
    remedy = "Save the texts themselves as UTF-8."
    if escaped := _ESCAPED.search(text):
        raise UserError(f"has escaped letters ({escaped[0][:24]}…)", where=path, remedy=remedy)
    if len([one for one in _UTF_7.findall(text) if _is_utf_7(one)]) > 2:
        raise UserError("is UTF-7", where=path, remedy='Save it as UTF-8, or set encoding = "utf-7".')
    lines = [line for line in text.splitlines()[:200] if sum(letter > "\x7f" for letter in line) >= 6]
    for codec in ("cp1251", "cp1252", "latin-1"):
        if lines and 2 * sum(_is_twice_encoded(line, codec) for line in lines) > len(lines):
            raise UserError(f"is UTF-8 that was read as {codec.upper()} and saved so", where=path,
                            remedy="Export the file again.")  # fmt: skip


def _is_utf_7(letters: str) -> bool:
    with suppress(UnicodeDecodeError):
        return re.fullmatch("[а-яё]+", f"+{letters}-".encode().decode("utf-7"), re.IGNORECASE) is not None
    return False


def _is_twice_encoded(line: str, codec: str) -> bool:
    """Whether the line's signs beyond ASCII are, in ``codec``, the bytes of letters in UTF-8."""
    with suppress(UnicodeError):
        return line.encode(codec).decode("utf-8") != line
    return False


def _check_title(rows: Sequence[Sequence[str]], path: Path, *, first: int = 1) -> None:
    """Refuse a header that comes after a title, in one of the first ten rows; ``first`` is the number of the first.

    Raises:
        UserError: it does.
    """
    for number, row in enumerate(rows[1:10], first + 1):
        if any(plain(cell) in TEXT_NAMES for cell in row) or sum(map(is_usual, row)) > 1:
            raise UserError(f"has its column names in row {number}, after a title", where=path,
                            remedy="Remove the rows above the column names.")  # fmt: skip


def sheet_table(rows: Sequence[Sequence[str]], path: Path, *, named: Sequence[str]) -> Table:
    """The layout of a sheet of a workbook, whose cells need no delimiter.

    Args:
        rows: the first of the sheet.
        path: the file.
        named: columns that the user named.

    Raises:
        UserError: the sheet is empty, or its header comes after a title.
    """
    skipped = next((number for number, row in enumerate(rows) if any(map(visible, row))), None)
    if skipped is None:
        raise UserError("has no cells with text in its first rows", where=path, remedy="Name another sheet.")
    header = [visible(cell) for cell in rows[skipped]]
    while not header[-1]:
        header.pop()
    known = {visible(name) for name in named}
    if not any(is_usual(name) or name in known for name in header):
        _check_title(rows[skipped:], path, first=skipped + 1)
        filled = max(len([cell for cell in row if cell]) for row in rows[skipped:])
        if len(header) == 1 and filled == 1 and not _NAME.fullmatch(header[0]):
            return Table(("text",), "", skipped, False, (header[0],))
    return Table(tuple(header), "", skipped, True)


def _check_markdown(rows: Sequence[Sequence[str]], path: Path) -> None:
    if len(rows) > 1 and len(rows[1]) > 1 and all(re.fullmatch(r"\s*(?::?-{2,}:?)?\s*", cell) for cell in rows[1]):
        raise UserError("is a table in Markdown", where=path, remedy="Save it as CSV.")


def json_columns(text: str, path: Path, *, whole: bool) -> list[str]:
    """The keys of the first hundred objects, in their order."""
    lines = text.lstrip(INVISIBLE).split("\n")
    names: dict[str, None] = {}
    for number, line in enumerate(lines[:100] if whole or len(lines) == 1 else lines[:-1][:100], 1):
        if line.strip():
            names.update(dict.fromkeys(json_object(line, f"{path}, line {number}")))
    return list(names)

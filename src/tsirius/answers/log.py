"""The log of answers: one SQLite file a run, to which entries are only added.

Each entry is on the disk before :meth:`Log.add` returns, so that a killed process loses nothing that it confirmed.
Several processes may write at once: they take turns (SQLite's write-ahead log). The file's own triggers refuse to
change or remove an entry. Categories that get other names change no entry either: that is an entry of its own, and
answers are read under the names that count, see :mod:`tsirius.answers.names`.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from tsirius.answers.names import Change, Names
from tsirius.errors import UserError

FILE = "answers.sqlite"
"""In the run's folder."""
APPLICATION = 0x7473_616E
"""SQLite's ``application_id`` of such a file."""
SCHEMA_VERSION = 2
"""The newest that is known; 1 has no table of names, and is what a file has until a name changes."""
WAIT_SECONDS = 60.0
"""For another process that writes."""

Kind = Literal["lesson", "exam"]
Verdict = Literal["category", "skip", "several"]
KINDS: tuple[Kind, ...] = get_args(Kind)
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

_CREATE = (
    """CREATE TABLE log (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    who TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('lesson', 'exam', 'undo')),
    review TEXT NOT NULL,
    text TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('category', 'skip', 'several', 'undo')),
    category TEXT CHECK ((category IS NOT NULL) = (verdict = 'category')),
    note TEXT NOT NULL,
    shown TEXT NOT NULL,
    undoes INTEGER UNIQUE REFERENCES log (number) CHECK ((undoes IS NOT NULL) = (kind = 'undo'))
)""",
    "CREATE TRIGGER entries_stay BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'entries are never changed'); END",
    "CREATE TRIGGER entries_are_kept BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'entries are never removed'); END",
    f"PRAGMA application_id = {APPLICATION}",
    "PRAGMA user_version = 1",
)
_CREATE_NAMES = (
    """CREATE TABLE names (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    after INTEGER NOT NULL,
    renamed TEXT,
    back INTEGER CHECK ((back IS NULL) = (renamed IS NOT NULL))
)""",
    "CREATE TRIGGER names_stay BEFORE UPDATE ON names BEGIN SELECT RAISE(ABORT, 'entries are never changed'); END",
    "CREATE TRIGGER names_are_kept BEFORE DELETE ON names BEGIN SELECT RAISE(ABORT, 'entries are never removed'); END",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
_COLUMNS = "number, at, who, kind, review, text, verdict, category, note, shown"
_STANDING = f"SELECT {_COLUMNS} FROM log WHERE kind != 'undo' AND number NOT IN (SELECT undoes FROM log WHERE undoes)"


@dataclass(frozen=True)
class Answer:
    """What a person says of a review.

    Attributes:
        review: its id.
        text: :func:`text_hash` of its text.
        category: None where the verdict is another than ``category``.
        kind: whether it teaches (``lesson``) or scores (``exam``).
        who: the person.
        verdict: ``category``; ``skip``: cannot tell; ``several``: the review speaks of several products.
        note: what the person wrote beside it.
        shown: what the person saw when answering, as JSON takes it: the label, whether its confidence was hidden.
        at: when, ISO 8601 in UTC; set by the log.
        number: of the entry; set by the log.
    """

    review: str
    text: str
    category: str | None
    kind: Kind = "lesson"
    who: str = ""
    verdict: Verdict = "category"
    note: str = ""
    shown: Mapping[str, Any] = field(default_factory=dict)
    at: str = ""
    number: int = 0


def text_hash(text: str) -> str:
    """What ties an answer to a review's text: BLAKE2b of it without the differences that a spreadsheet makes.

    Example:
        >>> text_hash("Кружка  со сколом ") == text_hash("Кружка со\\nсколом")
        True
    """
    plain = " ".join(text.split()).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(plain, digest_size=12).hexdigest()


class Log:
    """The log of a run. Opening it creates nothing; the first entry does.

    Args:
        run: the run's folder.
        hold: keep the file open from the first entry on, until :meth:`close`. SQLite tidies up whenever the last one
            closes it, which takes longer than an entry.

    Example:
        >>> import tempfile
        >>> log = Log(Path(tempfile.mkdtemp()))
        >>> log.add([Answer("7", text_hash("Кружка со сколом"), "посуда", who="Анна")])
        [1]
        >>> [answer.category for answer in log.standing()]
        ['посуда']
        >>> log.undo("Анна").review, log.standing()
        ('7', [])
    """

    def __init__(self, run: Path, *, hold: bool = False) -> None:
        self.path, self._hold = run / FILE, hold
        self._held: sqlite3.Connection | None = None

    def close(self) -> None:
        """Let go of the file."""
        if self._held is not None:
            self._held.close()
            self._held = None

    def add(self, answers: Sequence[Answer]) -> list[int]:
        """Add answers, all or none; returns the numbers of their entries, which are on the disk then.

        Raises:
            ValueError: a category is empty, or stands beside a verdict that has none.
            UserError: the file is no log of answers, or another process has written to it for a minute.
        """
        for one in answers:
            if (one.verdict == "category") != bool(one.category):
                raise ValueError(f"verdict {one.verdict!r} with category {one.category!r}")
        with self._writing() as connection:
            return [self._insert(connection, one) for one in answers]

    def undo(self, who: str, number: int | None = None) -> Answer | None:
        """Undo an answer of a person; returns it, None where there is none left.

        Args:
            who: the person.
            number: of the entry; None: the person's last one that still stands.
        """
        which, wanted = ("AND number = ?", [number]) if number is not None else ("", [])
        with self._writing() as connection:
            query = f"{_STANDING} AND who = ? {which} ORDER BY number DESC LIMIT 1"
            row = connection.execute(query, [who, *wanted]).fetchone()
            if row is None:
                return None
            undone = _answer(row)
            connection.execute(
                "INSERT INTO log (at, who, kind, review, text, verdict, note, shown, undoes)"
                " VALUES (?, ?, 'undo', ?, ?, 'undo', '', '{}', ?)",
                (_now(), who, undone.review, undone.text, undone.number),
            )
            return undone

    def standing(self) -> list[Answer]:
        """Every answer that was not undone, the earlier of one person on one review left out, in their order.

        A review may have one of each person and kind. Categories have the names that count now.
        """
        latest: dict[tuple[str, str, str], Answer] = {}
        rows, names = self._read(f"{_STANDING} ORDER BY number")
        for row in rows:
            answer = _named(_answer(row), names, names.now)
            latest.pop(key := (answer.who, answer.kind, answer.text), None)
            latest[key] = answer
        return list(latest.values())

    def names(self) -> int:
        """The number of the names that count now, see :class:`tsirius.answers.names.Names`; 0: the first ones."""
        return self._known().now

    def rename(self, renamed: Mapping[str, str]) -> int:
        """Give categories other names; returns the number of these names.

        Args:
            renamed: each category that goes on, and its name from now on.
        """
        return self._change_names(json.dumps(dict(renamed), ensure_ascii=False), None)

    def take_back(self, names: int) -> None:
        """Have the names of this number count again, where others do.

        A log that never had them, since it was begun anew, stays as it is.
        """
        known = self._known()
        if names in known and known.now != names:
            self._change_names(None, names)

    def _known(self) -> Names:
        return self._read("SELECT 1 WHERE 0")[1]

    def _change_names(self, renamed: str | None, back: int | None) -> int:
        with self._writing() as connection:
            if _version(connection) < SCHEMA_VERSION:
                for statement in _CREATE_NAMES:
                    connection.execute(statement)
            cursor = connection.execute(
                "INSERT INTO names (at, after, renamed, back) SELECT ?, COALESCE(MAX(number), 0), ?, ? FROM log",
                (_now(), renamed, back),
            )
            return int(cursor.lastrowid or 0)

    def entries(self) -> list[dict[str, Any]]:
        """The whole log, one object an entry in the order of writing; ``undoes`` is the number of an undone one."""
        names = [*_COLUMNS.split(", "), "undoes"]
        rows = self._rows(f"SELECT {_COLUMNS}, undoes FROM log ORDER BY number")
        return [{**dict(zip(names, row, strict=True)), "shown": json.loads(row[names.index("shown")])} for row in rows]

    def since(self, number: int, *, names: int | None = None) -> list[tuple[Answer, int | None]]:
        """The entries after ``number`` in the order of writing, each with the number of the one that it undoes.

        Categories have the names of the number ``names``, by default those that count now.

        An entry that undoes has the review, text and kind of none: only ``who``, ``at`` and ``number`` say something.
        """
        rows, known = self._read(f"SELECT {_COLUMNS}, undoes FROM log WHERE number > {int(number)} ORDER BY number")
        under = names if names is not None and names in known else known.now
        return [(_named(_answer(row[:-1]), known, under), row[-1]) for row in rows]

    def last(self) -> int:
        """The number of the last entry, 0 where there is none: whether anything was added since."""
        rows = self._rows("SELECT MAX(number) FROM log")
        return int(rows[0][0] or 0) if rows else 0

    def _insert(self, connection: sqlite3.Connection, one: Answer) -> int:
        values = (one.at or _now(), one.who, one.kind, one.review, one.text, one.verdict, one.category, one.note)
        cursor = connection.execute(
            "INSERT INTO log (at, who, kind, review, text, verdict, category, note, shown)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*values, json.dumps(dict(one.shown), ensure_ascii=False)),
        )
        return int(cursor.lastrowid or 0)

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return self._read(query)[0]

    def _read(self, query: str) -> tuple[list[tuple[Any, ...]], Names]:
        """Rows, and the names as they were at that moment."""
        if not self.path.is_file():
            return [], Names(())
        with self._open() as connection:
            if _empty(connection):  # a process was killed before its first entry
                return [], Names(())
            connection.execute("BEGIN")
            return connection.execute(query).fetchall(), _names(connection)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that waits for its turn, and is kept whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            if _empty(connection):
                for statement in _CREATE:
                    connection.execute(statement)
            yield connection
            connection.execute("COMMIT")
            if self._hold and self._held is None:
                self._held = sqlite3.connect(self.path, timeout=WAIT_SECONDS, check_same_thread=False)
                self._held.execute("SELECT 1 FROM log LIMIT 1").fetchall()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        connection = None
        try:
            connection = sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None)
            connection.execute("PRAGMA synchronous = FULL")
            self._check(connection)
            yield connection
        except sqlite3.DatabaseError as error:
            raise self._failure(error) from None
        finally:
            if connection is not None:
                connection.close()  # what was not committed is rolled back

    def _check(self, connection: sqlite3.Connection) -> None:
        if _empty(connection):
            connection.execute("PRAGMA journal_mode = WAL")
        elif connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
            raise UserError("is no log of answers", where=self.path, remedy="Move it away.")
        elif _version(connection) > SCHEMA_VERSION:
            raise UserError("was written by a newer version of tsirius", where=self.path, remedy="Install that one.")

    def _failure(self, error: sqlite3.DatabaseError) -> UserError:
        if "locked" in str(error):
            return UserError("another process has been writing to it for a minute", where=self.path,
                             remedy="Wait for it to end, then answer again.")  # fmt: skip
        if "malformed" in str(error) or "not a database" in str(error):
            return UserError("was altered or damaged", where=self.path,
                             remedy="Move it away, and import the answers that you exported.")  # fmt: skip
        return UserError(f"cannot be read or written ({error})", where=self.path,
                         remedy="Check its rights and the free space.")  # fmt: skip


def _empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _names(connection: sqlite3.Connection) -> Names:
    if _version(connection) < SCHEMA_VERSION:
        return Names(())
    rows = connection.execute("SELECT number, after, renamed, back FROM names ORDER BY number")
    return Names([Change(number, after, json.loads(renamed or "null"), back) for number, after, renamed, back in rows])


def _named(answer: Answer, names: Names, under: int) -> Answer:
    """The answer with its category's name among those of the number ``under``."""
    if answer.category is None:
        return answer
    category = names.read(answer.category, answer.number, under=under)
    return answer if category == answer.category else replace(answer, category=category)


def _answer(row: Sequence[Any]) -> Answer:
    number, at, who, kind, review, text, verdict, category, note, shown = row
    return Answer(review, text, category, kind, who, verdict, note, json.loads(shown), at, number)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")

"""Other categories that a person proposes: what they would change is shown, then they count or are dropped.

A proposal is two files in the run's folder ``.desk``: the categories as they were typed, with what each was; and, once
it is worked out, what they would change. Both outlive the page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tsirius.categories import Categories, Category, key
from tsirius.commands.categories import preview as previewing
from tsirius.errors import UserError
from tsirius.publish import write_text
from tsirius.store import Store, digest, with_checksum

TYPED = ".desk/categories.json"
"""In the run's folder: the rows of the page, and the run that they were typed for."""
SHOWN = ".desk/categories-preview.json"
"""In the run's folder: what they would change."""
ACCEPTED = "categories"
"""The folder of categories that were accepted, in the run's; each file is kept, since a version may need it."""


@dataclass(frozen=True)
class Row:
    """One line of the page: a category's name and description, and what its name was; empty where it is new.

    An empty name takes the category away; two lines of one name are one category.
    """

    was: str
    name: str
    description: str


def rows_of(categories: Categories) -> list[Row]:
    """The lines of a run's own categories."""
    return [Row(one.name, one.name, one.description) for one in categories]


def read_rows(rows: Sequence[Row], old: Categories) -> tuple[Categories, dict[str, str]]:
    """The categories that the lines make, and former names → new ones.

    Raises:
        UserError: they are no categories, or a name changed hands.
    """
    former = {one.name: one for one in old}
    made, renamed, spelled = dict[str, Category](), dict[str, str](), dict[str, str]()
    for row in rows:
        if not key(row.name):
            continue
        name = spelled.setdefault(key(row.name), row.name)
        before = made.get(name, Category(name))
        words = [one for one in (before.description, row.description) if one]
        none = before.none or (row.was in former and former[row.was].none)
        made[name] = Category(name, ", ".join(dict.fromkeys(words)), none)
        if row.was in former and row.was != name:
            renamed[row.was] = name
    for old_name, new_name in renamed.items():
        if old_name in made:
            raise UserError(f"{old_name!r} is to be {new_name!r}, and another is to be {old_name!r}",
                            where="categories", remedy="Do it in two steps.")  # fmt: skip
    return Categories(list(made.values())), renamed


def propose(run: Path, rows: Sequence[Row]) -> None:
    """Keep lines as the run's proposal, to be worked out; another one is forgotten.

    Raises:
        UserError: they are no categories, or the run's own.
    """
    old = previewing.categories_of(run)
    new, renamed = read_rows(rows, old)
    if new == old and not renamed:
        raise UserError("these are the run's categories already", where="categories", remedy="Change one of them.")
    drop(run)
    (run / TYPED).parent.mkdir(exist_ok=True)
    _write(run / TYPED, {"rows": [asdict(row) for row in rows if key(row.name) or row.was], "of": _state(run)})


def drop(run: Path) -> None:
    """Forget the proposal."""
    for name in (SHOWN, TYPED):
        (run / name).unlink(missing_ok=True)


def typed(run: Path) -> list[Row] | None:
    """The lines of the proposal; None where there is none, or the run has changed since."""
    found = _read(run / TYPED)
    return [Row(**row) for row in found["rows"]] if found and found["of"] == _state(run) else None


def shown(run: Path) -> Mapping[str, Any] | None:
    """What the proposal would change, as :class:`tsirius.commands.categories.preview.Preview`; None where it is not
    worked out."""
    found = _read(run / SHOWN)
    return found["preview"] if found and found["of"] == _state(run) and typed(run) is not None else None


def obstacle(run: Path) -> UserError | None:
    """Why the proposal cannot be accepted yet, as :func:`tsirius.commands.categories.preview.obstacle`; None where
    nothing is in the way, or nothing is proposed."""
    rows = typed(run)
    if rows is None:
        return None
    new, renamed = read_rows(rows, previewing.categories_of(run))
    return previewing.obstacle(run, new, renamed=renamed)


def work_out(run: Path) -> None:
    """Find what the proposal would change.

    Raises:
        UserError: there is none, or the settings or the machine does not allow it.
    """
    new, renamed = read_rows(_lines(run), previewing.categories_of(run))
    preview = previewing.preview(run, new, renamed=renamed)
    _write(run / SHOWN, {"preview": asdict(preview), "of": _state(run)})


def accept(run: Path) -> None:
    """Make the proposal the run's categories and run on.

    Raises:
        UserError: there is none, or the input, the settings or the machine does not allow it.
    """
    new, renamed = read_rows(_lines(run), previewing.categories_of(run))
    text = new.to_toml()
    path = run / ACCEPTED / f"{digest({'text': text})}.toml"
    path.parent.mkdir(exist_ok=True)
    write_text(path, text)
    previewing.change(run, path, renamed)
    drop(run)


def _lines(run: Path) -> list[Row]:
    rows = typed(run)
    if rows is None:
        raise UserError("no categories are proposed for the run as it is", where=run, remedy="Propose them again.")
    return rows


def _state(run: Path) -> str:
    """The run as far as a proposal hangs on it."""
    record = Store(run).record("label") or {}
    return str(record.get("output", ""))


def _write(path: Path, value: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(with_checksum(value), ensure_ascii=False))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and with_checksum(found) == found else None

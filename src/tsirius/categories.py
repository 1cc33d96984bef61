"""The fixed category names, what each means, and which one means that no product is mentioned."""

from __future__ import annotations

import json
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tsirius.errors import UserError, nearest

LONGEST_NAME = 1000
"""Characters of a name that are looked at."""
HEADINGS = (
    "category", "categories", "category name", "category names", "list of categories", "label", "labels", "name",
    "names", "категория", "категории", "список категорий", "названия категорий", "название", "названия",
    "класс", "классы",
)  # fmt: skip
"""First lines of a plain text file that name no category; so does one that ends with a colon."""
_EDGES = " \t\r\n\u00a0\ufeff\u200b\u200c\u200d\u2060"
NONE_NAMES = ("нет товара", "no product", "none")
"""Names that mark the none-category in a plain text file, which cannot mark it otherwise."""


@dataclass(frozen=True)
class Category:
    """One category: its name as it appears in the submission, and what a new annotator would be told of it."""

    name: str
    description: str = ""
    none: bool = False

    @property
    def plain(self) -> str:
        """The name for those who read its words: in one normal form, however the file spells it."""
        return plain(self.name)

    @property
    def plain_description(self) -> str:
        """The description in the same form."""
        return plain(self.description)


class Categories(Sequence[Category]):
    """The categories in the file's order, which is the order of every probability vector.

    Raises:
        UserError: fewer than two, a repeated or empty name, or not exactly one none-category.
    """

    def __init__(self, items: Sequence[Category], *, where: str | Path = "categories") -> None:
        self._items = tuple(items)
        self.names = [item.name for item in self._items]
        if len(self._items) < 2:
            raise UserError(f"{len(self._items)} categories named", where=where, remedy="Name at least two.")
        seen: dict[str, int] = {}
        for number, name in enumerate(self.names, 1):
            if not key(name):
                raise UserError(f"category {number} has an empty name", where=where, remedy="Give it one.")
            if any(unicodedata.category(letter) in ("Cc", "Zl", "Zp") for letter in name):
                raise UserError(f"the name {name!r} of category {number} has a line break or control character in it",
                                where=where, remedy="Remove it.")  # fmt: skip
            first = seen.setdefault(key(name), number)
            if first != number:
                raise UserError(f"category {number} repeats the name {name!r} of category {first}", where=where,
                                remedy="Remove one of the two.")  # fmt: skip
        nones = [item.name for item in self._items if item.none]
        if len(nones) != 1:
            marked = "no category" if not nones else f"{len(nones)} categories ({', '.join(nones)})"
            raise UserError(f"{marked} marked as the one without a product", where=where,
                            remedy="Put 'none = true' on exactly one category, «нет товара» for example.")  # fmt: skip
        self.none = nones[0]
        self.none_index = self.names.index(self.none)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Categories) and self._items == other._items

    def __hash__(self) -> int:
        return hash(self._items)

    def to_json(self) -> str:
        """The categories as JSON text, which :meth:`from_json` takes back."""
        return json.dumps([asdict(item) for item in self._items], ensure_ascii=False, indent=1)

    def to_toml(self) -> str:
        """The categories as the text of a categories file."""
        tables = []
        for item in self._items:
            values = {key: json.dumps(value, ensure_ascii=False) for key, value in asdict(item).items()}
            tables.append("\n".join(["[[category]]", *(f"{key} = {value}" for key, value in values.items())]))
        return "\n\n".join(tables).replace("\x7f", "\\u007f") + "\n"

    @classmethod
    def from_json(cls, text: str) -> Categories:
        """The categories that :meth:`to_json` wrote."""
        return cls([Category(**item) for item in json.loads(text)])


def plain(text: str) -> str:
    """``text`` in the normal form NFC, without invisible characters, with single plain spaces."""
    if text.isascii():
        return " ".join(text.split())
    visible = (letter for letter in text if unicodedata.category(letter) != "Cf")
    return " ".join(unicodedata.normalize("NFC", "".join(visible)).split())


def key(name: str) -> str:
    """The same for names that no reader tells apart: case, white space, invisible characters, how «й» is coded."""
    visible = (letter for letter in name[:LONGEST_NAME] if unicodedata.category(letter) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", "".join(visible)).split()).casefold()


def spellings(names: Iterable[str]) -> dict[str, str]:
    """The categories' names as their file spells them, by :func:`key`: how to look up a name that another file has."""
    return {key(name): name for name in names}


_MORE_THAN_A_NAME = re.compile(r"^[-*•–—]\s|^\d+[.):]?\s|[,;]$|^[\"'«“].*[\"'»”]$|\t")
_NO_NAME = re.compile(r"<[/!?a-z][^<>]*>|version https://git-lfs", re.IGNORECASE)


def load(path: Path) -> Categories:
    """Read a categories file: TOML with ``[[category]]`` tables, or plain text with one name a line.

    Raises:
        UserError: the file is not readable, not valid, or its categories are not usable.
    """
    if path.suffix.lower() not in (".toml", ".txt", ""):
        raise UserError(f"the name's ending {path.suffix!r} says no categories file", where=path,
                        remedy="Give .toml with [[category]] tables, or .txt with one name a line.")  # fmt: skip
    if path.is_dir():
        raise UserError("is a folder, not a categories file", where=path, remedy="Name the file in it.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 text (byte {error.start})", where=path, remedy="Save the file as UTF-8.") from None
    text = text.lstrip(_EDGES)  # a second mark, for example
    if path.suffix.lower() == ".toml":
        return Categories(_from_toml(text, path), where=path)
    lines = [line.strip(_EDGES) for line in text.splitlines()]
    names = [line for line in lines if line and not line.startswith("#")]
    if names and (names[0].endswith((":", "：")) or key(names[0]) in HEADINGS):
        names = names[1:]
    if names and all(_MORE_THAN_A_NAME.search(name) for name in names):
        raise UserError(f"its lines hold more than names ({names[0][:40]!r})", where=path,
                        remedy="Write one name a line: no bullets, numbers, quotes or separators.")  # fmt: skip
    if strange := next((name for name in names if _NO_NAME.match(name)), None):
        raise UserError(f"is no list of names ({strange[:40]!r})", where=path, remedy="Write one name a line.")
    if not any(key(name) in NONE_NAMES for name in names):
        raise UserError("no line names the category of reviews without a product", where=path,
                        remedy="Call that one «нет товара», or write .toml with 'none = true' in it.")  # fmt: skip
    return Categories([Category(name, none=key(name) in NONE_NAMES) for name in names], where=path)


def as_categories(
    given: str | Path | Iterable[str | Category] | Mapping[str, str], *, none: str | None = None
) -> Categories:
    """Categories as a caller has them.

    Args:
        given: a categories file; or names or categories; or a mapping from name to description.
        none: the name of the category without a product; where it is left out, the category marked so, or the one of
            a usual name (``NONE_NAMES``).

    Raises:
        UserError: they are not usable, or no category is the one without a product.
    """
    if isinstance(given, (str, Path)):
        items = list(load(Path(given)))
    elif isinstance(given, Mapping):
        items = [Category(name, description) for name, description in given.items()]
    else:
        items = [item if isinstance(item, Category) else Category(item) for item in given]
    for item in items:
        if not isinstance(item.name, str) or not isinstance(item.description, str):
            raise UserError(f"{item.name!r} is no category: its name and description are strings",
                            remedy="Give names, or a mapping from name to description.")  # fmt: skip
    if none is None and not any(item.none for item in items):
        usual = [item.name for item in items if key(item.name) in NONE_NAMES]
        if not usual:
            raise UserError("no category is the one of reviews without a product", where="categories",
                            remedy="Name it: none=\"…\", or call it «нет товара».")  # fmt: skip
        none = usual[0]
    if none is not None:
        if none not in [item.name for item in items]:
            raise UserError(f"no category {none!r}{nearest(none, [item.name for item in items])}", where="none",
                            remedy="Give the name of one of the categories.")  # fmt: skip
        items = [replace(item, none=item.name == none) for item in items]
    return Categories(items)


def _from_toml(text: str, path: Path) -> list[Category]:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"not valid TOML: {error}", where=path, remedy="Mend that line.") from None
    tables = data.get("category")
    if not isinstance(tables, list) or not tables or set(data) - {"category"}:
        raise UserError("not a categories file", where=path, remedy="Write one [[category]] table a category.")
    kinds = {"name": str, "description": str, "none": bool}
    items = []
    for number, table in enumerate(tables, 1):
        where = f"{path}, category {number}"
        if not isinstance(table, dict):
            raise UserError("not a table", where=where, remedy="Write [[category]] with a name.")
        for key, value in table.items():
            if key not in kinds:
                raise UserError(f"unknown key {key!r}{nearest(key, kinds)}", where=where,
                                remedy=f"Known keys: {', '.join(kinds)}.")  # fmt: skip
            if not isinstance(value, kinds[key]):
                raise UserError(f"{key} is not of type {kinds[key].__name__}", where=where, remedy="Mend its value.")
        if "name" not in table:
            raise UserError("has no name", where=where, remedy='Add name = "…".')
        items.append(Category(**{**table, "name": table["name"].strip(_EDGES)}))
    return items

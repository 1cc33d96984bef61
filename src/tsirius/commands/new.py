"""A new configuration: the files are looked at, what was found is written down, the categories are asked for."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import TextIO

from tsirius import config
from tsirius.categories import NONE_NAMES, Categories, Category, key
from tsirius.errors import UserError
from tsirius.io import category_file
from tsirius.io.source import Source, TextColumns, describe_source, expand, open_other, open_sources
from tsirius.progress import say
from tsirius.publish import write_text

SAMPLE = resources.files("tsirius") / "assets" / "sample"
"""The sample: ``reviews.csv``, ``categories.toml`` and ``demo.toml``."""
NONE = Category("нет товара", "о доставке, продавце, возврате денег или просто похвала, без слова о товаре", True)
EXAMPLE = """# The categories of your reviews: take away the marks before these lines and write your own.
# [[category]]
# name = "посуда"
# description = "тарелки, кружки, кастрюли, столовые приборы"
#
# [[category]]
# name = "обувь"
# description = "ботинки, кроссовки, тапки"
#
# Exactly one is for reviews that name no product:
# [[category]]
# name = "нет товара"
# description = "о доставке, продавце, возврате денег или просто похвала"
# none = true
"""


def new(
    name: str,
    *,
    train: Sequence[Path],
    test: Path | None,
    categories: Path,
    sheet: str | int = "auto",
    text_column: TextColumns = "auto",
    force: bool = False,
) -> list[Path]:
    """Look at the files of reviews and write ``NAME.toml``, with the columns that will be read.

    Where ``categories`` does not exist, or is an example that nobody has changed, they are asked for in a terminal;
    elsewhere a commented example is written.

    Returns:
        The files written.

    Raises:
        UserError: a file cannot be read, the name cannot name a run, or ``NAME.toml`` is there already.
    """
    name = name.removesuffix(".toml")
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UserError(f"{name!r} cannot name a run", remedy="Use letters, digits, '-' and '_'.")
    path = Path(f"{name}.toml")
    if path.exists() and not force:
        raise UserError("is there already", where=path, remedy="Choose another name, move it away, or add --force.")
    read_as = {"text_column": text_column, "id_column": "auto", "encoding": "auto", "sheet": sheet}
    sources = open_sources(expand(train), **read_as)  # type: ignore[arg-type]  # as they are named above
    if test is not None:
        sources.append(open_other(test, **read_as, text_required=True))  # type: ignore[arg-type]  # as above
    for source in sources:
        say(describe_source(source))
    written = [path]
    if categories.exists() and not _is_example(categories):
        known = category_file.load(categories)
        say(f"{categories}: {len(known.names)} categories, {', '.join(known.names[:10])}")
    else:
        write_text(categories, _ask(sys.stdin, sys.stderr) if _terminal() else EXAMPLE)
        written.append(categories)
        if not _terminal():
            say(f"{categories}: an example; write your categories there before you run")
    write_text(path, config.starter(name, train=train, test=test, categories=categories, found=_found(sources[0])))
    say(f"next: tsirius check {path}")
    return written


def _found(source: Source) -> dict[str, object]:
    """What was found out about the file, as settings."""
    texts = list(source.text_columns)
    found: dict[str, object] = {}
    if source.headed:
        found["text_column"] = texts[0] if len(texts) == 1 else texts
        if source.id_column is not None:  # "none" would number a test file's rows as well, which may have ids
            found["id_column"] = source.id_column
    if source.format == "xlsx":
        found["sheet"] = source.sheet
    return found


def _is_example(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= 4 * len(EXAMPLE) and path.read_bytes() == EXAMPLE.encode()


def _terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr is not None and sys.stderr.isatty()


def _ask(keyboard: TextIO, screen: TextIO) -> str:
    """The text of a categories file, from the names that a person types.

    Raises:
        UserError: fewer than one name, or one comes twice.
    """
    print("What are the reviews about? A category a line, «name: what belongs to it»; an empty line ends.", file=screen)
    items = list(_typed(keyboard, screen))
    if not any(item.none for item in items):
        items.append(NONE)
        print(f"«{NONE.name}» is added for reviews that name no product.", file=screen)
    return Categories(items, where="the categories").to_toml()


def _typed(keyboard: TextIO, screen: TextIO) -> Iterator[Category]:
    while True:
        print("> ", end="", file=screen, flush=True)
        line = keyboard.readline().strip()
        if not line:
            return
        name, _, description = (part.strip() for part in line.partition(":"))
        yield Category(name, description, key(name) in NONE_NAMES)

"""Categories from a table: CSV or an Excel workbook with a column of names and, if there is one, of descriptions."""

from __future__ import annotations

from pathlib import Path

from tsirius import categories
from tsirius.categories import HEADINGS, NONE_NAMES, Categories, Category, key
from tsirius.errors import UserError
from tsirius.io.source import KEPT, kind_of_name, open_source, read_batches

DESCRIPTIONS = ("description", "descriptions", "описание", "описания", "пояснение", "что это", "примеры")
TABLES = (".csv", ".tsv", ".xlsx", ".xlsm")


def load(path: Path) -> Categories:
    """A categories file of any kind: see :func:`tsirius.categories.load`; or a table, one category a row.

    Of a table the column of a usual name holds the names, else its first; a column called description (описание) what
    each means. The category of reviews without a product is the one of a usual name, «нет товара».

    Raises:
        UserError: the file is not readable, or its categories are not usable.
    """
    if path.suffix.lower() not in TABLES:
        return categories.load(path)
    kind_of_name(path)
    source = open_source(path, text_column="auto", id_column="none", encoding="auto", text_required=False)
    names = next((name for name in source.columns if key(name) in HEADINGS), source.columns[0])
    told = next((name for name in source.columns if key(name) in DESCRIPTIONS), None)
    keep = [names] if told is None else [names, told]
    items = []
    for batch in read_batches(source, rows=1000, keep=keep):
        texts = batch[KEPT + told] if told is not None else [""] * batch.height
        for name, text in zip(batch[KEPT + names], texts, strict=True):
            if name.strip():
                items.append(Category(" ".join(name.split()), " ".join(text.split()), key(name) in NONE_NAMES))
    if not any(item.none for item in items):
        raise UserError("no row names the category of reviews without a product", where=path,
                        remedy="Call that one «нет товара», or write .toml with 'none = true' in it.")  # fmt: skip
    return Categories(items, where=path)

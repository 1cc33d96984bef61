"""Names of columns: which are usual, and when two of them are the same."""

from __future__ import annotations

import re
import unicodedata

TEXT_NAMES = (
    "text", "review", "review text", "отзыв", "текст", "текст отзыва", "comment", "комментарий", "feedback", "content",
    "body", "message", "сообщение",
)  # fmt: skip
ID_NAMES = ("id", "review id", "uid", "uuid", "id отзыва", "ид")
CATEGORY_NAMES = ("category", "категория", "label", "класс", "target")
"""Names taken when a column is "auto", the likeliest first; case, ``_`` and ``-`` do not matter."""
PRAISE_NAMES = ("достоинства", "плюсы", "преимущества", "pros", "advantages")
BLAME_NAMES = ("недостатки", "минусы", "cons", "disadvantages")
"""What the exports of Wildberries, Ozon and Yandex Market, and their interfaces, call the parts of a review beside its
comment (TEXT_NAMES): with "auto" they are joined to it."""
NUMBER_NAMES = ("№", "№ п/п", "номер строки", "row number")
"""Names of the rows' numbers: a header has them, but they name no review."""


INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060\u00ad\u200e\u200f\u180e"
"""Characters without a width that exports and joined files leave at the beginning of a line."""


def visible(name: str) -> str:
    """A name without invisible characters, in one normal form (NFC), with plain single spaces."""
    shown = (letter for letter in name if unicodedata.category(letter) not in ("Cf", "Cc") or letter.isspace())
    return " ".join(unicodedata.normalize("NFC", "".join(shown)).split())


def is_usual_text_name(name: str) -> bool:
    """Whether "auto" takes a column of this name for the text."""
    return plain(name) in TEXT_NAMES


def is_usual(name: str) -> bool:
    """Whether a header has such a name: that of a text or a part of one, of ids, categories or row numbers."""
    return plain(name) in (*TEXT_NAMES, *ID_NAMES, *CATEGORY_NAMES, *PRAISE_NAMES, *BLAME_NAMES, *NUMBER_NAMES)


def plain(name: str) -> str:
    """A column's name as it is compared: capitals, ``_`` and ``-`` do not matter."""
    return re.sub(r"[\s_-]+", " ", visible(name)).strip().casefold()

"""Texts as a caller has them: a list, an array, a column of a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np

from tsirius.errors import UserError

REMEDY = "Give a list, an array or a column of strings."


def as_texts(texts: Iterable[Any]) -> list[str]:
    """The texts as a list of strings; None, NaN and other marks of a missing value are empty texts.

    Args:
        texts: a list, a tuple, a numpy array with one dimension, or a Series of pandas or polars.

    Raises:
        UserError: a bare string, a table, a mapping or a set, or an element that is not a string.
    """
    if isinstance(texts, (str, bytes)):
        raise UserError("a bare string instead of a list of texts", remedy="Put it into a list: [text].")
    table = hasattr(texts, "columns") or getattr(texts, "ndim", 1) != 1
    if table or isinstance(texts, (Mapping, Set)) or not isinstance(texts, Iterable):
        raise UserError(f"a {type(texts).__name__} instead of a list of texts", remedy=REMEDY)
    return [_text(text, number) for number, text in enumerate(texts, 1)]


def _text(value: Any, number: int) -> str:
    if isinstance(value, str):
        return str(value)
    if is_missing(value):
        return ""
    raise UserError(f"text {number} is of type {type(value).__name__}", remedy=REMEDY)


def is_missing(value: Any) -> bool:
    """Whether ``value`` is None, NaN, or the mark of a missing value in pandas."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # pandas need not be installed
        return True
    return isinstance(value, (float, np.floating)) and math.isnan(value)

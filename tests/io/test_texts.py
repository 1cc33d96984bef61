"""Texts as a caller has them."""

import math
from typing import Any

import numpy as np
import polars as pl
import pytest

from tsirius.errors import UserError
from tsirius.io.texts import as_texts

WANTED = ["чашка", "", "тапки"]


@pytest.mark.parametrize(
    "texts",
    [
        ["чашка", None, "тапки"],
        ("чашка", math.nan, "тапки"),
        ["чашка", np.float32("nan"), np.str_("тапки")],
        np.array(["чашка", "", "тапки"]),
        np.array(["чашка", None, "тапки"], dtype=object),
        pl.Series(["чашка", None, "тапки"]),
        (text for text in WANTED),
    ],
    ids=lambda texts: type(texts).__name__,
)
def test_lists_arrays_and_columns_are_taken(texts: Any) -> None:
    found = as_texts(texts)
    assert found == WANTED
    assert {type(text) for text in found} == {str}


def test_columns_of_pandas_are_taken() -> None:
    pandas = pytest.importorskip("pandas")
    for kind in ("object", "string"):
        assert as_texts(pandas.Series(["чашка", None, "тапки"], dtype=kind)) == WANTED
    assert as_texts(pandas.Series(["чашка", pandas.NA, "тапки"], dtype="object", index=[7, 5, 3])) == WANTED
    assert as_texts(pandas.Series(["чашка", pandas.NaT, "тапки"], dtype="object")) == WANTED
    with pytest.raises(UserError, match="a DataFrame instead of a list of texts"):
        as_texts(pandas.DataFrame({"text": WANTED}))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("чашка", "a bare string instead of a list of texts"),
        (b"cup", "a bare string instead of a list of texts"),
        (None, "a NoneType instead"),
        (5, "a int instead"),
        ({"text": "чашка"}, "a dict instead"),
        ({"чашка"}, "a set instead"),
        (pl.DataFrame({"text": ["чашка"]}), "a DataFrame instead"),
        (np.array([["чашка"]]), "a ndarray instead"),
        (np.array("чашка"), "a ndarray instead"),
        (["чашка", 5], "text 2 is of type int"),
        (["чашка", b"cup"], "text 2 is of type bytes"),
        ([["чашка"]], "text 1 is of type list"),
        ([math.inf], "text 1 is of type float"),
    ],
)
def test_what_is_no_list_of_texts_is_refused_in_one_line(texts: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        as_texts(texts)
    assert "\n" not in str(error.value)

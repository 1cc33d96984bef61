"""Labels for texts that a program holds."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import tsirius

NAMES = ["посуда", "обувь", "нет товара"]
DESCRIBED = {"посуда": "тарелки, кружки", "обувь": "тапочки, сапоги", "прочее": "доставка, продавец"}
REVIEWS = ["Кружка со сколом", None, "Тапочки жмут", "Кружка со сколом", "&nbsp;", "Доставили быстро"]
FAST: dict[str, Any] = {"use": ["matcher"], "doubt": False, "encoder": "tsirius-mini"}


def test_every_text_has_a_row_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    found = tsirius.label(REVIEWS, NAMES, **FAST)
    assert found.columns == ["text", "label", "confidence", "matcher", "matcher_confidence"]
    assert found["text"].to_list() == [text or "" for text in REVIEWS]
    assert found["label"].to_list() == ["посуда", "нет товара", "обувь", "посуда", "нет товара", "нет товара"]
    assert found["matcher"].to_list() == ["посуда", None, "обувь", "посуда", None, "нет товара"]
    assert found["confidence"].is_between(0, 1).all() and found["confidence"][1] == 1
    assert list(tmp_path.glob("tsirius-*")) == [], "nothing is left behind"


def test_categories_come_as_a_file_names_or_descriptions(tmp_path: Path) -> None:
    (tmp_path / "categories.txt").write_text("\n".join(NAMES), encoding="utf-8")
    wanted = tsirius.label(["Тапочки жмут"], NAMES, **FAST)
    for categories in (
        tmp_path / "categories.txt",
        str(tmp_path / "categories.txt"),
        tsirius.Categories([tsirius.Category(name, none=name == "нет товара") for name in NAMES]),
    ):
        assert tsirius.label(["Тапочки жмут"], categories, **FAST).equals(wanted)
    found = tsirius.label(["Тапочки жмут", "Доставили быстро"], DESCRIBED, none="прочее", **FAST)
    assert found["label"].to_list() == ["обувь", "прочее"]


def test_an_abstention_is_null() -> None:
    found = tsirius.label(["Ок", "Кружка и тарелки"], DESCRIBED, none="прочее", **{**FAST, "use": ["lexicon"]})
    assert found["lexicon"][0] is None and found["label"][0] is None and found["confidence"][0] is None


@pytest.mark.parametrize("texts", [[], [None, ""]])
def test_without_a_text_the_columns_are_the_same(texts: list[Any]) -> None:
    settings: dict[str, Any] = {**FAST, "use": ["matcher", "lexicon"]}
    found = tsirius.label(texts, NAMES, **settings)
    assert list(found.schema.items()) == list(tsirius.label(["Тапочки жмут"], NAMES, **settings).schema.items())
    assert found["label"].to_list() == ["нет товара"] * len(texts)


def test_a_long_text_is_labelled_too() -> None:
    assert tsirius.label(["Тапочки жмут. " * 2000], NAMES, **FAST)["label"].to_list() == ["обувь"]


@pytest.mark.parametrize(
    ("texts", "categories", "settings", "message"),
    [
        ("Тапочки", NAMES, {}, "a bare string"),
        (["Тапочки"], NAMES[:2], {}, 'none="'),
        (["Тапочки"], NAMES, {"none": "обуь"}, "did you mean 'обувь'"),
        (["Тапочки"], [*NAMES, 5], {}, "5 is no category"),
        (["Тапочки"], {"посуда": None, "нет товара": ""}, {}, "'посуда' is no category"),
        (["Тапочки"], "nowhere.toml", {}, "nowhere"),
        (["Тапочки"], NAMES, {"ues": ["nli"]}, "tsirius.label, label.ues: unknown key; did you mean 'use'"),
        (["Тапочки"], NAMES, {"encoder": "nowhere/at-all"}, "nowhere/at-all"),
        ([], NAMES, {"ues": ["nli"]}, "unknown key"),
    ],
)
def test_what_cannot_be_used_is_refused(texts: Any, categories: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises((tsirius.UserError, FileNotFoundError), match=message):
        tsirius.label(texts, categories, **{**FAST, **settings})


def test_a_frame_takes_the_labels_as_columns() -> None:
    frame = pl.DataFrame({"text": ["Тапочки жмут", "Кружка со сколом"], "stars": [2, 3]})
    assert frame.with_columns(tsirius.label(frame["text"], NAMES, **FAST)["label"])["label"].to_list() == [
        "обувь",
        "посуда",
    ]

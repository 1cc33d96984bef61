"""The names of categories: an answer is read under those that count, whenever it was given."""

from pathlib import Path

import pytest

from tsirius.answers.log import FILE, Answer, Log
from tsirius.answers.names import Change, Names

KEPT = {"обувь": "обувь", "нет товара": "нет товара"}
TREE = Names([
    Change(1, 10, {"посуда": "кухня", **KEPT}, None),  # entries 11–20
    Change(2, 20, {"кухня": "дом", "обувь": "дом", "нет товара": "нет товара"}, None),  # 21–30
    Change(3, 30, None, 0),  # 31–40 under the first names
    Change(4, 40, {"посуда": "чашки", **KEPT}, None),  # another branch, from 41 on
])  # fmt: skip


@pytest.mark.parametrize(
    ("category", "entry", "under", "read"),
    [
        pytest.param("посуда", 10, 0, "посуда", id="as it was given"),
        pytest.param("посуда", 10, 1, "кухня", id="renamed"),
        pytest.param("посуда", 10, 2, "дом", id="renamed twice"),
        pytest.param("кухня", 11, 0, "посуда", id="back"),
        pytest.param("кухня", 15, 4, "чашки", id="on another branch"),
        pytest.param("обувь", 25, 4, "обувь", id="of a page that had the names before"),
        pytest.param("обувь", 5, 2, "дом", id="merged"),
        pytest.param("дом", 25, 0, "посуда / обувь", id="a merged one is neither"),
        pytest.param("дом", 25, 4, "чашки / обувь", id="nor on another branch"),
        pytest.param("дом", 25, 2, "дом", id="and itself again"),
        pytest.param("посуда", 31, 2, "дом", id="given after the return"),
        pytest.param("чашки", 50, 1, "кухня", id="from the latest"),
        pytest.param("мебель", 50, 0, "мебель", id="one that was added"),
        pytest.param("посуда", 45, 0, "посуда", id="a page that still showed the former names"),
    ],
)
def test_an_answer_is_led_to_the_names(category: str, entry: int, under: int, read: str) -> None:
    assert TREE.read(category, entry, under=under) == read


def test_the_log_keeps_its_entries_and_reads_them_under_the_names_that_count(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.add([Answer("1", "a", "посуда", who="Анна"), Answer("2", "b", None, who="Анна", verdict="skip")])
    before = log.entries()
    new = log.rename({"посуда": "кухня", **KEPT})
    log.add([Answer("3", "c", "кухня", who="Анна")])
    assert [one.category for one in log.standing()] == ["кухня", None, "кухня"] and log.names() == new
    assert [one.category for one, _ in log.since(0, names=0)] == ["посуда", None, "посуда"]
    log.take_back(0)
    assert [one.category for one in log.standing()] == ["посуда", None, "посуда"] and log.names() == 0
    log.take_back(99)  # of a log that lay there before
    log.take_back(new)
    assert [one.category for one in Log(tmp_path).standing()] == ["кухня", None, "кухня"] and log.names() == new
    assert log.entries()[:2] == before and [one["category"] for one in log.entries()] == ["посуда", None, "кухня"]
    log.undo("Анна")
    assert [one.category for one in log.standing()] == ["кухня", None]


def test_names_may_change_before_the_first_answer(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.take_back(0)
    assert not (tmp_path / FILE).exists() and log.names() == 0
    log.rename({"посуда": "кухня"})
    log.add([Answer("1", "a", "кухня", who="Анна")])
    log.take_back(0)
    assert [one.category for one in log.standing()] == ["посуда"]

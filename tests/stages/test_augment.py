"""Augment: the target, sources in turn, and what is reported."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tsirius import tables
from tsirius.categories import Categories, Category
from tsirius.stages.augment import Config, grow, run

CATEGORIES = Categories(
    [Category("обувь", "ботинки"), Category("посуда"), Category("текстиль"), Category("нет", none=True)]
)
REVIEWS = {
    "обувь": [f"Ботинки номер {n}: удобные, тёплые, купила сыну на зиму по хорошей цене" for n in range(12)],
    "посуда": ["Тарелка пришла целая, без сколов, рисунок яркий", "Кружка большая и удобная, ручка не греется"],
    "нет": ["Доставка быстрая, спасибо", "да"],
}


def examples(reviews: dict[str, list[str]]) -> pl.DataFrame:
    rows = [(text, label) for label, texts in reviews.items() for text in texts]
    return pl.DataFrame(
        [(f"r{n}", text, n, label, 0.9, f"r{n}", "written") for n, (text, label) in enumerate(rows)],
        schema=dict(tables.EXAMPLES),
        orient="row",
    )


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Path]:
    folders = {name: tmp_path / name for name in ("ingest", "split", "balance")}
    for folder in folders.values():
        folder.mkdir()
    (folders["ingest"] / "categories.json").write_text(CATEGORIES.to_json(), encoding="utf-8")
    tables.write(examples(REVIEWS), tables.EXAMPLES, folders["balance"] / "train.parquet")
    tables.write(examples(REVIEWS).clear(), tables.EXAMPLES, folders["split"] / "valid.parquet")
    return folders


def test_off_by_default(given: dict[str, Path], tmp_path: Path) -> None:
    counts = run(Config(), given, tmp_path, seed=0, scratch=tmp_path)
    assert counts["variants"] == 0 and counts["empty"] == ["текстиль"]
    assert tables.read(tmp_path / "train.parquet", tables.EXAMPLES).equals(examples(REVIEWS))


def test_up_to_the_target_and_no_further(given: dict[str, Path], tmp_path: Path) -> None:
    counts = run(Config(target_per_class=10), given, tmp_path, seed=0, scratch=tmp_path)
    train = tables.read(tmp_path / "train.parquet", tables.EXAMPLES)
    made = train.filter(pl.col("method") == "eda")
    assert counts["categories"]["обувь"] == 12 and counts["categories"]["посуда"] == 10
    assert counts["short"]["текстиль"] == 10 and counts["short"]["нет"] > 0
    assert counts["rows"] == train.height and counts["variants"] == made.height
    assert Counter(made.filter(pl.col("label") == "посуда")["origin"].to_list()) == {"r12": 4, "r13": 4}, "evenly"
    assert {"r12~eda1", "r13~eda4"} <= set(made["id"])
    sources = dict(train.filter(pl.col("method") == "written").select("id", "group").iter_rows())
    assert all(sources[origin] == group for origin, group in made.select("origin", "group").iter_rows())


def test_refusals_are_counted_and_tries_bounded() -> None:
    def endless(text: str, key: str) -> Iterator[str]:
        yield from (f"{text} {number}" for number in range(9))

    seen = list[str]()

    def judge(variant: str, source: str) -> str | None:
        seen.append(variant)
        return None if variant.endswith(("3", "5")) else "odd"

    sources = examples({"посуда": ["кружка", "тарелка"]})
    made, refused = grow(sources, {"посуда": 99}, {"eda": endless}, judge, max_per_source=4, taken={"r0~eda1"}, seed=0)
    assert refused == {"odd": 14} and len(seen) == 18
    assert sorted(made["id"].to_list()) == ["r0~eda2", "r0~eda3", "r1~eda1", "r1~eda2"]
    assert made["clean"].to_list() in (
        ["кружка 3", "тарелка 3", "кружка 5", "тарелка 5"], ["тарелка 3", "кружка 3", "тарелка 5", "кружка 5"],
    )  # fmt: skip


def test_the_cap_on_variants_of_one_review_holds() -> None:
    def numbered(text: str, key: str) -> Iterator[str]:
        yield from (f"{text} {number}" for number in range(99))

    sources = examples({"посуда": ["кружка"]})
    made, _ = grow(sources, {"посуда": 50}, {"eda": numbered}, lambda *_: None, max_per_source=4, taken=set(), seed=0)
    assert made.height == 4

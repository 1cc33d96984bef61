"""Split, balance and augment together, on any reviews, groups and categories: what training sees stays out of
validation, quotas hold, and the same seed gives the same bytes."""

import tempfile
from collections import Counter
from pathlib import Path

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tsirius import tables
from tsirius.categories import Categories, Category
from tsirius.labellers import published
from tsirius.language.words import words
from tsirius.models import hub
from tsirius.stages import augment, balance, split

NAMES = ["обувь", "посуда", "нет товара"]
CATEGORIES = Categories([Category(name, none=name == "нет товара") for name in NAMES])
WORDS = ["купила", "цена", "хорошая", "не", "чайник", "быстро", "ботинки", "сыну!", "Ждала,", "долго", "😀", "ок", "42"]
TEXT = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)
ID = st.sampled_from(["", "~r1", "~r2", "~eda1", "~eda2"])
LABEL = st.sampled_from([*NAMES, NAMES[0], NAMES[0], None])
KEPT = st.sampled_from([True, True, True, False])
ROW = st.tuples(TEXT, st.integers(0, 15), LABEL, st.floats(0, 1, width=32), KEPT, ID)
ROWS = st.integers(1, 50).flatmap(lambda count: st.lists(ROW, min_size=count, max_size=count))
HAPPENED = Counter[str]()
"""In how many examples each thing was there to go wrong: a quota that never cuts anything always holds."""


def road(folder: Path, labelled: pl.DataFrame, settings: tuple[float, int, int, int], seed: int) -> dict[str, bytes]:
    """Run the three stages; the bytes of all that they wrote."""
    valid, few, many, target = settings
    given = {name: folder / name for name in ("ingest", "label", "select", "split", "balance", "augment")}
    for path in given.values():
        path.mkdir(parents=True)
    (given["ingest"] / "categories.json").write_text(CATEGORIES.to_json(), encoding="utf-8")
    tables.write(pl.DataFrame(schema=dict(tables.VOTES)), tables.VOTES, given["label"] / "votes.parquet")
    published.write({}, given["label"], encoder=hub.EMBEDDED, max_length=256)
    tables.write(labelled, tables.LABELLED, given["select"] / "labelled.parquet")
    split.run(split.Config(valid=valid), given, given["split"], seed=seed, scratch=folder)
    config = balance.Config(min_per_class=few, max_per_class=many)
    balance.run(config, given, given["balance"], seed=seed, scratch=folder)
    variants = augment.Config(target_per_class=target, max_per_source=4, eda={"swap": 0.2, "delete": 0.2})
    augment.run(variants, given, given["augment"], seed=seed, scratch=folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=ROWS,
    valid=st.sampled_from([0.0, 0.15, 0.5, 0.9]),
    quotas=st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 30)),
    seed=st.integers(0, 2**32 - 1),
)
def nothing_leaks_and_quotas_hold(
    rows: list[tuple[str, int, str | None, float, bool, str]], valid: float, quotas: tuple[int, int, int], seed: int
) -> None:
    few, many, target = quotas
    many = max(few, many) if many else 0
    # ids may look like those of repeats and variants: "3~r1" beside "3"
    ids = [f"{number // 2}{mark}" if mark else f"{number}" for number, (*_, mark) in enumerate(rows)]
    ids = [id if ids.index(id) == number else f"x{number}" for number, id in enumerate(ids)]
    labelled = pl.DataFrame(
        [(id, text, group, label, p, kept and label is not None, "sure", 1.0)
         for id, (text, group, label, p, kept, _) in zip(ids, rows, strict=True)],
        schema=dict(tables.LABELLED), orient="row",
    )  # fmt: skip
    kept = labelled.filter("kept")
    if kept.is_empty():
        return
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        once = road(Path(first) / "run", labelled, (valid, few, many, target), seed)
        assert once == road(Path(second) / "run", labelled, (valid, few, many, target), seed)
        train, held, balanced, augmented = (
            tables.read(Path(first) / "run" / f"{name}.parquet", tables.EXAMPLES)
            for name in ("split/train", "split/valid", "balance/train", "augment/train")
        )
    assert sorted([*train["id"], *held["id"]]) == sorted(kept["id"]), "every kept review is on one side"
    assert set(held["method"]) <= {"written"} and held["origin"].equals(held["id"])
    for part in (train, balanced, augmented):
        assert part["id"].is_unique().all()
        assert set(part["label"]) == set(kept["label"]), "every category with rows is in training"
        assert not set(part["group"]) & set(held["group"])
        assert not set(part["origin"]) & set(held["id"])
        assert set(part["origin"]) <= set(train["id"])
    variants = augmented.filter(pl.col("method") == "eda")
    assert not set(variants["id"]) & set(held["id"])
    assert not {tuple(sorted(words(text))) for text in variants["clean"]} & {
        tuple(sorted(words(text))) for text in held["clean"]
    }
    before, quota, after = (Counter(part["label"].to_list()) for part in (train, balanced, augmented))
    for name, count in before.items():
        assert quota[name] == max(few, min(count, many or count))
        assert quota[name] <= after[name] <= max(quota[name], target)
    HAPPENED.update(
        name
        for name, there in {
            "held back": held.height,
            "group of several": train["group"].is_duplicated().any() and held["group"].is_duplicated().any(),
            "labels at odds in a group": kept.group_by("group").agg(pl.col("label").n_unique())["label"].max() > 1,
            "cut": any(quota[name] < count for name, count in before.items()),
            "repeated": "repeat" in balanced["method"],
            "varied": variants.height,
        }.items()
        if there
    )


def test_nothing_leaks_and_quotas_hold() -> None:
    HAPPENED.clear()
    nothing_leaks_and_quotas_hold()
    assert len(HAPPENED) == 6 and min(HAPPENED.values()) >= 5, HAPPENED

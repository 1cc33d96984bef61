"""bench augment: the difference between two ways to train, and what becomes of a run that is measured."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsirius import config
from tsirius.commands import bench_augment
from tsirius.errors import UserError

SAMPLE = Path(bench_augment.__file__).parents[1] / "assets" / "sample"

KINDS = 3


def drawn(seed: int, right: float, truth: list[int]) -> list[int]:
    rng = np.random.default_rng(seed)
    return [answer if rng.random() < right else int(rng.integers(KINDS)) for answer in truth]


TRUTH = [number % KINDS for number in range(300)]


def arms(ways: Sequence[Sequence[int]], truth: Sequence[int] = TRUTH) -> list[bench_augment.Arm]:
    return [bench_augment.Arm(range(len(truth)), truth, found, 7) for found in ways]


def compare(without: list[bench_augment.Arm], with_: list[bench_augment.Arm]) -> bench_augment.Comparison:
    return bench_augment.compare("eda", 9, without, with_, categories=KINDS, against="against gold")


def line(without: float, with_: float, *, same_draws: bool = False) -> bench_augment.Comparison:
    first = [drawn(seed, without, TRUTH) for seed in range(5)]
    second = [drawn(seed if same_draws else seed + 9, with_, TRUTH) for seed in range(5)]
    return compare(arms(first), arms(second))


def test_a_clear_gain_and_a_clear_loss_are_seen() -> None:
    assert line(0.4, 0.8).verdict() == "helps" and line(0.8, 0.4).verdict() == "harms"
    assert line(0.6, 0.6).verdict() == "no difference shown"


def test_the_same_predictions_differ_by_nothing() -> None:
    found = line(0.6, 0.6, same_draws=True)
    assert found.difference == 0 and found.interval == (0, 0) and found.each == (0,) * 5


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, KINDS - 1)] * 5), min_size=5, max_size=60))
def test_the_figures_are_those_of_the_scores(rows: list[tuple[int, ...]]) -> None:
    from sklearn.metrics import f1_score

    truth, *ways = (list(column) for column in zip(*rows, strict=True))
    found = compare(arms(ways[:2], truth), arms(ways[2:], truth))
    scores = [f1_score(truth, way, average="weighted", zero_division=0) for way in ways]
    assert found.without == pytest.approx(np.mean(scores[:2])) and found.with_ == pytest.approx(np.mean(scores[2:]))
    assert found.each == pytest.approx([scores[2] - scores[0], scores[3] - scores[1]])
    assert found.difference == pytest.approx(np.mean(found.each))
    assert found.interval[0] - 1e-9 <= found.difference <= found.interval[1] + 1e-9 and found.variants == 7


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_holds_the_truth_where_seeds_differ_more_than_rows(
    seeds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_augment, "ROUNDS", 50)
    rng, hits = np.random.default_rng(0), 0
    for trial in range(100):
        ways = [
            [drawn(1000 * trial + 10 * seed + way, 0.6 + 0.1 * rng.standard_normal(), TRUTH) for seed in range(seeds)]
            for way in (0, 1)
        ]
        low, high = compare(arms(ways[0]), arms(ways[1])).interval
        hits += low <= 0 <= high
    assert hits >= 88


def test_reviews_that_only_some_seeds_score() -> None:
    def some(ways: list[list[int]]) -> list[bench_augment.Arm]:
        parts = [range(0, 200), range(100, 300), range(50, 250)]
        return [
            bench_augment.Arm(rows, [TRUTH[row] for row in rows], [found[row] for row in rows], 7)
            for rows, found in zip(parts, ways, strict=True)
        ]

    clear = compare(some([drawn(seed, 0.4, TRUTH) for seed in range(3)]), some([drawn(9, 0.9, TRUTH)] * 3))
    assert clear.verdict() == "helps" and clear.difference == pytest.approx(np.mean(clear.each))


CONFIG = """
[ingest]
train = "reviews.csv"
test = "test.csv"
categories = "categories.toml"
[label]
use = ["lexicon"]
encoder = "tsirius-mini"
lexicon.widen = false
[train]
linear_encoder = ""
"""


@pytest.mark.slow
def test_reviews_are_labelled_once_and_a_second_benchmark_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = pl.read_csv(SAMPLE / "reviews.csv").gather_every(3)
    rows.write_csv("reviews.csv")
    numbered = rows.with_row_index("id")
    numbered.select("id", "text").write_csv("test.csv")
    numbered.select("id", "category").write_csv("answers.csv")
    Path("categories.toml").write_text((SAMPLE / "categories.toml").read_text(encoding="utf-8"), encoding="utf-8")
    Path("shop.toml").write_text(CONFIG, encoding="utf-8")
    loaded = config.load(Path("shop.toml"))

    first = bench_augment.measure(loaded, Path("answers.csv"), methods=["eda"], seeds=2, target=40)
    told = capsys.readouterr().err
    assert told.count("label: running") == 1 and told.count("variants accepted") == 2
    run = Path("runs/shop")
    [said] = json.loads((run / "bench" / "augment.json").read_text(encoding="utf-8"))
    assert said["method"] == "eda" and said["target"] == 40 and said["variants"] > 50 and len(said["each"]) == 2
    assert said["interval"][0] <= said["difference"] <= said["interval"][1] and said["verdict"] in first
    folders = {path.name for path in (run / "bench" / "augment").iterdir()}
    assert folders == {f"{arm}-{seed}" for arm in ("none", "eda-40") for seed in (0, 1)}
    assert not list((run / "bench" / "augment").glob("*/label")), "read from the run"
    record = json.loads((run / "augment" / "record.json").read_text(encoding="utf-8"))
    assert record["notes"]["variants"] == 0, "the run itself is as it was"

    second = bench_augment.measure(loaded, Path("reviews.csv"), methods=["eda"], seeds=2, target=40)
    assert second == first, "answers with texts are those by id"
    assert "against gold, 247 reviews; 2 seeds" in first
    assert "variants accepted" not in capsys.readouterr().err

    third = bench_augment.measure(loaded, None, methods=["eda"], seeds=2, target=40)
    held = [pl.read_parquet(run / f"bench/augment/none-{seed}/split/valid.parquet")["id"] for seed in (0, 1)]
    assert f"against pseudo-labels, {len(set(held[0]) | set(held[1])):,} reviews; 2 seeds" in third
    assert "variants accepted" not in capsys.readouterr().err
    own = loaded.model_copy(update={"evaluate": loaded.evaluate.model_copy(update={"gold": Path("reviews.csv")})})
    assert bench_augment.measure(own, None, methods=["eda"], seeds=2, target=40) == first, "the configuration's answers"


def test_without_answers_some_reviews_have_to_be_held_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("reviews.csv").write_text("id,text\n1,Ботинки жмут\n", encoding="utf-8")
    Path("categories.toml").write_text((SAMPLE / "categories.toml").read_text(encoding="utf-8"), encoding="utf-8")
    Path("shop.toml").write_text(CONFIG.replace("test.csv", "reviews.csv"), encoding="utf-8")
    loaded = config.load(Path("shop.toml"), ["split.valid=0"])
    with pytest.raises(UserError, match=r"split\.valid: there are no validation reviews.*--gold"):
        bench_augment.measure(loaded, None, methods=["eda"], seeds=2, target=9)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("gold", "method", "said"),
    [("id,category\nx7,посуда\n", "eda", "no id 'x7'"), ("id,category\n1,обувь\n", "edda", "did you mean 'eda'")],
)
def test_what_does_not_fit_is_refused_before_any_work(
    gold: str, method: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("reviews.csv").write_text("id,text\n1,Ботинки жмут\n", encoding="utf-8")
    Path("gold.csv").write_text(gold, encoding="utf-8")
    Path("categories.toml").write_text((SAMPLE / "categories.toml").read_text(encoding="utf-8"), encoding="utf-8")
    Path("shop.toml").write_text(CONFIG.replace("test.csv", "reviews.csv"), encoding="utf-8")
    with pytest.raises(UserError) as refused:
        bench_augment.measure(config.load(Path("shop.toml")), Path("gold.csv"), methods=[method], seeds=1, target=9)
    assert said in str(refused.value) and not Path("runs").exists()

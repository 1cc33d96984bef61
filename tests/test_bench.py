"""The benchmark: the difference between two ways to train, and what becomes of a run that is measured."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsirius import bench, config
from tsirius.errors import UserError

SAMPLE = Path(bench.__file__).parent / "assets" / "sample"

KINDS = 3


def drawn(seed: int, right: float, truth: list[int]) -> list[int]:
    rng = np.random.default_rng(seed)
    return [answer if rng.random() < right else int(rng.integers(KINDS)) for answer in truth]


TRUTH = [number % KINDS for number in range(300)]


def line(without: float, with_: float, *, same_draws: bool = False) -> bench.Line:
    first = [drawn(seed, without, TRUTH) for seed in range(5)]
    second = [drawn(seed if same_draws else seed + 9, with_, TRUTH) for seed in range(5)]
    return bench.compare("eda", 9, TRUTH, first, second, kinds=KINDS)


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
    found = bench.compare("eda", 9, truth, ways[:2], ways[2:], kinds=KINDS)
    scores = [f1_score(truth, way, average="weighted", zero_division=0) for way in ways]
    assert found.without == pytest.approx(np.mean(scores[:2])) and found.with_ == pytest.approx(np.mean(scores[2:]))
    assert found.each == pytest.approx([scores[2] - scores[0], scores[3] - scores[1]])
    assert found.difference == pytest.approx(np.mean(found.each))
    assert found.interval[0] - 1e-9 <= found.interval[1]


CONFIG = """
[ingest]
train = "reviews.csv"
test = "test.csv"
categories = "categories.toml"
[label]
use = ["lexicon"]
lexicon_widen = false
[augment]
insert = 0
synonym = 0
"""


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

    first = bench.augment(loaded, Path("answers.csv"), methods=["eda"], seeds=2, target=40)
    told = capsys.readouterr().err
    assert told.count("label: runs") == 1 and told.count("variants made") == 2
    run = Path("runs/shop")
    [said] = json.loads((run / "bench" / "augment.json").read_text(encoding="utf-8"))
    assert said["method"] == "eda" and said["target"] == 40 and said["variants"] > 50 and len(said["each"]) == 2
    assert said["interval"][0] <= said["difference"] <= said["interval"][1] and said["verdict"] in first
    folders = {path.name for path in (run / "bench" / "augment").iterdir()}
    assert folders == {f"{arm}-{seed}" for arm in ("none", "eda-40") for seed in (0, 1)}
    assert not list((run / "bench" / "augment").glob("*/label")), "read from the run"
    record = json.loads((run / "augment" / "record.json").read_text(encoding="utf-8"))
    assert record["notes"]["variants"] == 0, "the run itself is as it was"

    second = bench.augment(loaded, Path("reviews.csv"), methods=["eda"], seeds=2, target=40)
    assert second == first, "answers with texts are those by id"
    assert "variants made" not in capsys.readouterr().err


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
        bench.augment(config.load(Path("shop.toml")), Path("gold.csv"), methods=[method], seeds=1, target=9)
    assert said in str(refused.value) and not Path("runs").exists()

"""The cost of many reviews: arithmetic that is known, and a simulation that agrees with it."""

import csv
import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tsirius.models.classifier import Classifier
from tsirius.scale import cost


@pytest.mark.parametrize(("parts", "workers", "rounds"), [(40, 2, 20), (40, 64, 1), (41, 2, 21), (5000, 64, 79)])
def test_without_losses_the_time_is_the_rounds(parts: int, workers: int, rounds: int) -> None:
    found = cost.simulate(parts, workers, 30.0)
    assert found == cost.Simulated(30.0 * rounds, pytest.approx(30.0 * parts), 0.0, 0)


def test_losses_cost_what_the_formula_says() -> None:
    # work of length d under losses at rate r takes (exp(rd) - 1) / r where it begins anew each time
    seconds, per_hour = 900.0, 1.0
    found = cost.simulate(4000, 8, seconds, preemptions_per_hour=per_hour, seed=3)
    expected = (math.exp(per_hour * seconds / 3600) - 1) / (per_hour / 3600)
    assert found.busy / 4000 == pytest.approx(expected, rel=0.02)
    assert found.busy - found.wasted == pytest.approx(4000 * seconds)
    assert found.makespan >= found.busy / 8


def test_smaller_parts_waste_less() -> None:
    waste = [cost.simulate(n, 16, 3_600_000 / n, preemptions_per_hour=1.0, seed=5).wasted for n in (400, 4000, 40000)]
    assert waste[0] > 5 * waste[1] > 25 * waste[2]


def test_uneven_parts_keep_their_mean() -> None:
    found = cost.simulate(20_000, 4, 10.0, spread=0.5, seed=1)
    assert found.busy / 20_000 == pytest.approx(10.0, rel=0.02)


@pytest.mark.slow
def test_the_probe_measures_this_model(shop: Path) -> None:
    with (shop / "reviews.csv").open(encoding="utf-8", newline="") as handle:
        texts = [row["text"] for row in csv.DictReader(handle)]
    found = cost.probe(Classifier.load(shop / "runs" / "shop"), texts)
    assert 0 < found.core_seconds.mean < found.core_seconds.high
    assert found.bytes_in == pytest.approx(sum(len(text.encode()) for text in set(texts)) / len(set(texts)))
    with pytest.raises(ValueError, match="12 different texts, 13 are needed"):
        cost.probe(Classifier.load(shop / "runs" / "shop"), [str(row) for row in range(12)] * 2)


def test_plan_tells_the_cost(
    shop: Path, call: Callable[..., subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = cost.Interval(0.001, 0.0005, 0.002)
    monkeypatch.setattr(cost, "probe", lambda classifier, texts: cost.Probe(rate, rate, 300.0, 20.0))
    done = call("plan", "shop.toml", "--rows", "1e9", "--workers", "64", cwd=shop)
    assert done.returncode == 0, done.stderr
    assert "1,000 reviews a second of one core (500 to 2,000)" in done.stdout
    assert "core-hours       277.8 (138.9 to 555.6)" in done.stdout
    assert "300.0 GB of text" in done.stdout and "written          20.0 GB" in done.stdout
    assert "5,000 of 200,000 reviews" in done.stdout and "4.4 h with 64 workers" in done.stdout
    refused = call("plan", "shop.toml", "--rows", "many", cwd=shop)
    assert refused.returncode == 2 and "--rows: 'many' is no number of reviews" in refused.stderr


PAPER = [
    ("2 cores, TF-IDF", 2, 622),
    ("64 cores, TF-IDF", 64, 622),
    ("2 cores, TF-IDF and embeddings", 2, 207),
    ("64 cores, TF-IDF and embeddings", 64, 207),
    ("8 T4s, fine-tuned base encoder", 8, 8870 / 8),
]


def test_the_table_of_the_page_is_what_the_simulation_gives() -> None:
    page = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
    assert "\n".join(cost.table(PAPER, [10**6, 10**8, 10**9])) in page

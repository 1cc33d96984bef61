"""What is drawn, and whether the estimates hold for all reviews."""

from __future__ import annotations

import tracemalloc

import numpy as np
import polars as pl
import pytest
from audited import NAMES, true_f1, world
from hypothesis import given
from hypothesis import strategies as st

from tsirius.commands.audit import survey


def test_the_sample_has_every_label_and_those_without_and_its_weights_add_up(rows: pl.DataFrame) -> None:
    drawn = survey.draw(rows["id"], rows["label"], rows["confidence"], count=150, seed=0)
    assert drawn.height == drawn["id"].n_unique() == 150
    labels = drawn.join(rows, on="id")["label"].value_counts()
    assert dict(labels.iter_rows()).keys() == {*NAMES, None} and labels["count"].min() >= survey.AT_LEAST_LABEL
    for weighted in (drawn, drawn.head(70)):  # whoever stops early has answered of every stratum
        assert survey.weights(weighted["stratum"], weighted["size"]).sum() == pytest.approx(rows.height)


def test_the_same_seed_draws_the_same_and_a_larger_count_adds(rows: pl.DataFrame) -> None:
    def drawn(count: int, seed: int) -> pl.DataFrame:
        return survey.draw(rows["id"], rows["label"], rows["confidence"], count=count, seed=seed)

    assert drawn(150, 0).equals(drawn(150, 0))
    assert set(drawn(150, 0)["id"]) != set(drawn(150, 1)["id"])
    assert set(drawn(100, 0)["id"]) < set(drawn(150, 0)["id"]) < set(drawn(200, 0)["id"])


@given(st.lists(st.tuples(st.integers(1, 500), st.sampled_from("абв")), min_size=1, max_size=12), st.integers(1, 300))
def test_an_allocation_fits_its_strata(strata: list[tuple[int, str]], count: int) -> None:
    sizes, labels = zip(*strata, strict=True)
    found = survey.allocate(sizes, labels, count=count)
    assert sum(found) == min(max(count, len(sizes)), sum(sizes))
    assert all(1 <= some <= size for some, size in zip(found, sizes, strict=True))


def estimate(rows: pl.DataFrame, *, count: int, seed: int) -> tuple[survey.Estimate, survey.Estimate]:
    """The weighted F1 and the accuracy, estimated from ``count`` true answers."""
    drawn = survey.draw(rows["id"], rows["label"], rows["confidence"], count=count, seed=seed)
    found = drawn.join(rows, on="id", how="left", maintain_order="left")
    strata = found["stratum"].to_list()
    weighted = survey.weights(strata, found["size"].to_list())
    f1 = survey.expected_f1(
        found["truth"].to_list(), found["label"].to_list(), strata, weighted, names=NAMES, rounds=400, seed=0
    )
    return f1, survey.share((found["truth"] == found["label"]).fill_null(False).to_numpy(), weighted)


def test_the_intervals_cover_the_truth_in_most_seeds() -> None:
    covered, missed = [], []
    for seed in range(100):
        rows = world(1500, seed=seed, right=(0.6, 0.8, 0.93)[seed % 3])
        f1, right = estimate(rows, count=150, seed=seed)
        truth = (true_f1(rows), rows.filter(pl.col("label") == pl.col("truth")).height / rows.height)
        covered.append((f1.low <= truth[0] <= f1.high, right.low <= truth[1] <= right.high))
        missed.append((f1.value - truth[0], right.value - truth[1]))
    assert (np.mean(covered, axis=0) >= 0.9).all()
    assert (np.abs(np.mean(missed, axis=0)) < 0.01).all(), "no bias: the rare labels were drawn more often"


def test_answering_for_all_gives_the_true_score() -> None:
    rows = world(300, seed=1)
    assert estimate(rows, count=300, seed=0)[0].value == pytest.approx(true_f1(rows), abs=1e-4)


def test_a_thousand_categories_fit_into_little_memory() -> None:
    random = np.random.default_rng(0)
    names = [str(number) for number in range(1000)]
    truth, label = random.choice(names, 150).tolist(), random.choice(names, 150).tolist()
    tracemalloc.start()
    try:
        found = survey.expected_f1(truth, label, [""] * 150, np.ones(150), names=names, rounds=2000, seed=0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert peak < 200 * 2**20, "the matrices alone would be 16 GB"

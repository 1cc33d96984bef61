"""Steps and micro-batches: every row once, like lengths in one, never more tokens than the budget."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tsirius.models import micro_batches
from tsirius.models.batching import Budget

LENGTHS = st.lists(st.integers(1, 60), max_size=120)


@given(LENGTHS, st.integers(1, 20), st.integers(0, 9), st.integers(0, 3))
def test_an_epoch_has_every_row_once(lengths: list[int], rows: int, seed: int, epoch: int) -> None:
    steps = micro_batches.steps(lengths, rows=rows, seed=seed, epoch=epoch)
    assert sorted(row for step in steps for row in step) == list(range(len(lengths)))
    assert len(steps) == -(-len(lengths) // rows) and all(0 < len(step) <= rows for step in steps)
    np.random.seed(1)  # the global state must not matter
    assert micro_batches.steps(lengths, rows=rows, seed=seed, epoch=epoch) == steps


@given(LENGTHS, st.integers(1, 200))
def test_micro_batches_keep_within_their_tokens(lengths: list[int], tokens: int) -> None:
    found = micro_batches.split(range(len(lengths)), lengths, budget=Budget(tokens))
    assert sorted(row for members in found for row in members) == list(range(len(lengths)))
    for members in found:
        assert len(members) == 1 or len(members) * max(lengths[row] for row in members) <= tokens


def test_epochs_differ_and_like_lengths_share_a_step() -> None:
    lengths = (np.random.default_rng(0).gamma(2, 15, size=3000).astype(int) + 3).tolist()
    first, second = (micro_batches.steps(lengths, rows=16, seed=0, epoch=epoch) for epoch in (0, 1))
    assert first != second
    taken = sum(max(lengths[row] for row in step) * len(step) for step in first)
    assert taken < 1.06 * sum(lengths)

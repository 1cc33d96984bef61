"""Rows go through a model longest first, within their budget, and in smaller batches where memory runs out."""

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tsirius.errors import UserError
from tsirius.models import batching
from tsirius.models.batching import Budget

LENGTHS = st.lists(st.integers(0, 60), max_size=120)


def test_nothing_here_loads_torch() -> None:
    code = (
        "import sys; from tsirius.models import batching as b; import numpy as np;"
        "b.filled([2, 1], lambda rows: np.ones((len(rows), 3)), width=3, budget=b.Budget(9), where='');"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@given(LENGTHS)
def test_the_longest_first_and_equal_ones_in_their_order(lengths: list[int]) -> None:
    assert batching.longest_first(lengths).tolist() == sorted(range(len(lengths)), key=lambda row: -lengths[row])


@given(LENGTHS, st.integers(1, 200))
def test_batches_have_every_row_once_and_keep_within_their_tokens(lengths: list[int], tokens: int) -> None:
    found = [rows.tolist() for rows in batching.batches(lengths, budget=Budget(tokens))]
    assert [row for rows in found for row in rows] == batching.longest_first(lengths).tolist()
    assert all(len(rows) == 1 or len(rows) * lengths[rows[0]] <= tokens for rows in found)
    computed = batching.in_batches(lengths, lambda rows: rows.tolist(), budget=Budget(tokens))
    assert [(rows.tolist(), rows.tolist()) for rows, _ in computed] == [(rows, rows) for rows in found]


ERRORS = [
    torch.cuda.OutOfMemoryError(),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    MemoryError(),
    Exception("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : ... Failed to allocate memory for requested buffer"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_out_of_memory_shrinks_the_batches_which_grow_back(error: Exception) -> None:
    lengths = np.random.default_rng(0).integers(1, 30, size=2000)
    tried: list[int] = []
    failed: list[int] = []

    def compute(rows: Any) -> Any:
        size = len(rows) * int(lengths[rows[0]])
        tried.append(size)
        if size > 250:
            failed.append(size)
            raise error
        return lengths[rows][:, None]

    found = batching.filled(lengths, compute, width=1, budget=Budget(600), where="model")
    assert found[:, 0].tolist() == lengths.tolist()
    assert 1 < len(failed) < 10  # the budget grew back, and less often once that had failed
    assert np.mean(tried) > 100


def test_a_row_that_does_not_fit_is_named_and_the_others_may_go_on() -> None:
    lengths = [3, 9, 2, 9]

    def compute(rows: Any) -> Any:
        if max(lengths[row] for row in rows) > 5:
            raise MemoryError
        return np.ones((len(rows), 1))

    found = list(batching.in_batches(lengths, compute, budget=Budget(100)))
    assert [rows.tolist() for rows, given in found if given is None] == [[1], [3]]
    assert sorted(row for rows, given in found if given is not None for row in rows) == [0, 2]
    with pytest.raises(UserError, match="model: one text of 9 tokens does not fit into memory"):
        batching.filled(lengths, compute, width=1, budget=Budget(100), where="model")


class Pending(batching.Later):
    """A batch that a GPU computes, where there is none."""

    def __init__(self, rows: Any, log: list[str]) -> None:
        self._rows, self._log = rows, log
        log.append(f"begun {rows.tolist()}")

    def numpy(self) -> Any:
        self._log.append(f"fetched {self._rows.tolist()}")
        return self._rows[:, None].astype(np.float32)


def test_a_batch_is_fetched_when_the_next_has_begun() -> None:
    log: list[str] = []
    found = batching.filled([3, 3, 2], lambda rows: Pending(rows, log), width=1, budget=Budget(3), where="model")
    assert found[:, 0].tolist() == [0, 1, 2]
    assert log == ["begun [0]", "begun [1]", "fetched [0]", "begun [2]", "fetched [1]", "fetched [2]"]


def test_with_two_cards_two_batches_are_under_way_while_one_is_fetched() -> None:
    log: list[str] = []
    budget = Budget(3, cards=2)
    found = batching.filled([3] * 4, lambda rows: Pending(rows, log), width=1, budget=budget, where="model")
    assert found[:, 0].tolist() == [0, 1, 2, 3]
    assert log[:5] == ["begun [0]", "begun [1]", "begun [2]", "fetched [0]", "begun [3]"]
    assert log[5:] == ["fetched [1]", "fetched [2]", "fetched [3]"]


def test_a_batch_is_waited_for_while_its_time_is_measured() -> None:
    log: list[str] = []
    budget = Budget(3, probed=True)
    batching.filled([3] * 2, lambda rows: Pending(rows, log), width=1, budget=budget, where="model")
    assert log == ["begun [0]", "fetched [0]", "begun [1]", "fetched [1]"]


def test_a_batch_that_does_not_fit_leaves_the_one_before_it_in_its_place() -> None:
    log: list[str] = []

    def compute(rows: Any) -> Any:
        if len(rows) > 1:
            raise MemoryError
        return Pending(rows, log)

    found = batching.filled([4, 1, 1, 1], compute, width=1, budget=Budget(4), where="model")
    assert found[:, 0].tolist() == [0, 1, 2, 3]


def test_other_errors_are_not_hidden() -> None:
    def broken(rows: Any) -> Any:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        batching.filled([1], broken, width=1, budget=Budget(1), where="model")


def test_padding() -> None:
    def pad(*, left: bool, multiple: int) -> Any:
        return [
            table.tolist() for table in batching.padded_with_mask([[5, 6, 7], [8]], 1, left=left, multiple=multiple)
        ]

    assert pad(left=False, multiple=2) == [[[5, 6, 7, 1], [8, 1, 1, 1]], [[1, 1, 1, 0], [1, 0, 0, 0]]]
    assert pad(left=True, multiple=1) == [[[5, 6, 7], [1, 1, 8]], [[1, 1, 1], [0, 0, 1]]]
    assert pad(left=True, multiple=4) == [[[1, 5, 6, 7], [1, 1, 1, 8]], [[0, 1, 1, 1], [0, 0, 0, 1]]]


def test_the_padding_token_is_the_tokenizers_then_the_models() -> None:
    config = SimpleNamespace(pad_token_id=0, name_or_path="model")
    assert batching.padding(SimpleNamespace(pad_token_id=7), config) == 7
    assert batching.padding(SimpleNamespace(pad_token_id=None), config) == 0
    config.pad_token_id = None
    with pytest.raises(UserError, match=r"model: neither .* names a token for padding\. Set pad_token"):
        batching.padding(SimpleNamespace(pad_token_id=None), config)


def test_a_gpu_takes_more_tokens() -> None:
    cpu, gpu = (batching.batch_size(1024, device=torch.device(name)) for name in ("cpu", "cuda"))
    assert cpu == 1024 and gpu == batching.GPU_TIMES * cpu
    budgets = [batching.budget_on(torch.device(name), 1024) for name in ("cpu", "cuda")]
    assert [(one.tokens, one.probing) for one in budgets] == [(cpu, False), (gpu, True)]


def probed(fits: int, *, busy: int) -> list[int]:
    """The tokens of a budget before each of 30 batches, on a card that is busy at so many and holds so many."""
    budget, tried = Budget(100, probed=True), list[int]()
    for _ in range(30):
        tried.append(budget.tokens)
        if budget.tokens > fits:
            budget.ran_out(budget.tokens)
            continue
        budget.fitted()
        budget.measured(budget.tokens, max(budget.tokens, busy) / 1000)
    return tried


def test_a_probed_budget_doubles_until_the_rate_stops_growing() -> None:
    assert probed(10**6, busy=400) == [100, 100, 200, 400, *[800] * 26]


def test_a_probed_budget_stays_within_what_fits() -> None:
    assert probed(300, busy=10**6) == [100, 100, 200, 400, *[200] * 26]


def test_the_last_rows_say_nothing_of_a_probed_budget() -> None:
    budget = Budget(100, probed=True)
    for tokens in (100, 100, 90, 200):
        budget.fitted()
        budget.measured(tokens, 1.0)
    assert budget.probing and budget.tokens == 400

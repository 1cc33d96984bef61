"""How rows of tokens go through a model: longest first, padded to the longest of a batch, within a budget of tokens.

Rows of like length share a batch, so that little of it is padding, and a lack of memory shows at once. Where memory
runs out the budget is halved and the batch is tried again; after some batches that fit, the budget grows back.
Labelling, encoding, ONNX, generation and training all take their batches, padding and masks from here. Torch is not
needed, and not loaded.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tsirius.errors import UserError
from tsirius.models import hub

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

T = TypeVar("T")
U = TypeVar("U")

BATCH_TOKENS = 1024
"""Tokens of a batch on a CPU, padding included: enough to keep two cores busy; more falls out of their caches."""
GOOD_BATCHES = 8
"""After this many batches that fit, a halved budget is doubled; where that was too much, after twice as many."""
OUT_OF_MEMORY = (
    "out of memory", "can't allocate memory", "not enough memory", "failed to allocate memory", "bad_alloc",
)  # fmt: skip
"""What an error says then: of CUDA, of the CPU on Linux and on Windows, and of onnxruntime."""
GPU_TIMES = 16
"""A GPU takes this many times the tokens in a batch: on a CPU a small batch stays in the cache (1,024 tokens of a
base-sized model were 1.2 times as fast as 4,096), a GPU needs a large one to be busy."""
FASTER = 1.1
"""While a batch of twice the tokens makes this many times the tokens a second, a GPU is given more."""

EXACT, HALF = 1e-3, 2e-2
"""How far scores of a text may differ by what is beside it, of the largest: 32-bit and 16-bit floats round less."""


class Budget:
    """How many tokens a batch may have.

    Args:
        tokens: to begin with, and at most, unless it is probed.
        probed: as long as a batch of twice the tokens is so much faster (:data:`FASTER`), the budget is doubled: a GPU
            is not busy with less than its own, which hangs on its arithmetic, its memory and the model. See
            :meth:`measured`.
        cards: GPUs that take batches in turn: so many may be computed while another waits.
    """

    def __init__(self, tokens: int, *, probed: bool = False, cards: int = 1) -> None:
        self.cards = cards
        self._most = self.tokens = tokens
        self._good, self._patience, self._grown = 0, GOOD_BATCHES, False
        self.probing, self._rate = probed, 0.0

    def rows(self, tokens: int) -> int:
        """How many rows of ``tokens`` tokens each a batch takes: one at least."""
        return max(1, self.tokens // max(1, tokens))

    def fitted(self) -> None:
        """A batch fitted."""
        self._good += 1
        if self._good >= self._patience and self.tokens < self._most:
            self.tokens, self._good, self._grown = min(2 * self.tokens, self._most), 0, True

    def measured(self, tokens: int, seconds: float) -> None:
        """A batch of ``tokens`` tokens took ``seconds``: while it is probed, try twice as many or stay.

        The first batch of all is none to compare with: a GPU's libraries start with it.
        """
        if not self.probing or 2 * tokens <= self.tokens:  # the last rows say nothing
            return
        rate = tokens / max(seconds, 1e-9)
        if self._rate and rate < FASTER * self._rate:
            self.probing = False
            return
        if self._rate or self._good > 1:
            self._rate = max(rate, self._rate)
            self._most = max(self._most, 2 * self.tokens)
            self.tokens = 2 * self.tokens

    def ran_out(self, tokens: int) -> None:
        """A batch of ``tokens`` tokens did not fit."""
        if self.probing:
            self.probing, self._most = False, max(1, tokens // 2)
        self.tokens, self._good = max(1, tokens // 2), 0
        self._patience, self._grown = self._patience * (1 + self._grown), False


def longest_first(lengths: Sequence[int] | Rows) -> Rows:
    """The numbers of the rows, [N], the longest row first; rows of one length keep their order."""
    return np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")


def batches(lengths: Sequence[int] | Rows, *, budget: Budget) -> Iterator[Rows]:
    """The numbers of the rows of each batch, longest first, each batch as large as the budget has it by then.

    Args:
        lengths: tokens of each row.
        budget: of a batch, padding included.
    """
    order, start = longest_first(lengths), 0
    while start < len(order):
        rows = order[start : start + budget.rows(int(lengths[order[start]]))]
        yield rows
        start += len(rows)


class Later:
    """Numbers that a GPU still computes. While it does, the processor prepares the next batch.

    Args:
        numbers: a tensor on the GPU.
    """

    def __init__(self, numbers: torch.Tensor) -> None:
        self._numbers = numbers.to("cpu", non_blocking=True)
        cuda = sys.modules["torch"].cuda
        self._done = cuda.Event()
        self._done.record(cuda.current_stream(numbers.device))

    def numpy(self) -> Any:
        """The numbers as an array, once they are there."""
        self._done.synchronize()
        return self._numbers.numpy()


def fetched(numbers: torch.Tensor) -> NDArray[Any] | Later:
    """A tensor's numbers; from a GPU as soon as it has them."""
    return Later(numbers) if numbers.is_cuda else numbers.numpy()


def there(parts: Sequence[NDArray[Any]], *, device: torch.device) -> list[torch.Tensor]:
    """``parts`` on the device, without waiting until they are there."""
    torch = sys.modules["torch"]
    tensors = [torch.from_numpy(part) for part in parts]
    if device.type != "cuda":
        return [part.to(device) for part in tensors]
    return [part.pin_memory().to(device, non_blocking=True) for part in tensors]


def in_batches(
    lengths: Sequence[int] | Rows, compute: Callable[[Rows], T | Later], *, budget: Budget
) -> Iterator[tuple[Rows, T | None]]:
    """Compute something of each row, in batches; a batch that does not fit into memory is tried again in parts.

    Of what comes later (:class:`Later`) one batch is waited for when each card's next one has begun, once the budget is
    found.

    Args:
        lengths: tokens of each row.
        compute: takes the numbers of a batch's rows; called without gradients.
        budget: of a batch, padding included.

    Yields:
        The numbers of a batch's rows with what ``compute`` gives; with None a single row that does not fit.
    """
    order, start = longest_first(lengths), 0
    waiting: deque[tuple[Rows, Later]] = deque()
    while start < len(order):
        longest = int(lengths[order[start]])
        rows = order[start : start + budget.rows(longest)]
        begun, work = time.perf_counter(), partial(_waited_for, compute) if budget.probing else compute
        result = attempt(partial(work, rows))
        if not isinstance(result, Later) or len(waiting) == budget.cards:
            yield from _fetched(waiting, 1 if isinstance(result, Later) else len(waiting))
        if result is not None:
            budget.fitted()
            budget.measured(len(rows) * longest, time.perf_counter() - begun)
        else:
            budget.ran_out(max(2, len(rows) * longest))
            if len(rows) > 1:
                continue
        start += len(rows)
        if isinstance(result, Later):
            waiting.append((rows, result))
        else:
            yield rows, result
    yield from _fetched(waiting, len(waiting))


def _fetched(waiting: deque[tuple[Rows, Later]], count: int) -> Iterator[tuple[Rows, Any]]:
    """The first of those that are computed, as soon as they are."""
    for _ in range(count):
        rows, result = waiting.popleft()
        yield rows, result.numpy()


def _waited_for(compute: Callable[[U], T | Later], given: U) -> T:
    result = compute(given)
    return result.numpy() if isinstance(result, Later) else result


def filled(
    lengths: Sequence[int] | Rows,
    compute: Callable[[Rows], NDArray[Any] | Later],
    *,
    width: int,
    budget: Budget,
    where: str,
) -> NDArray[np.float32]:
    """What ``compute`` gives of each row, [N, width], in the order of ``lengths``.

    Args:
        lengths: tokens of each row.
        compute: the numbers of a batch's rows → [B, width].
        width: numbers of a row.
        budget: of a batch, padding included.
        where: the model's name, for the message.

    Raises:
        UserError: a single row does not fit into memory.
    """
    result = np.zeros((len(lengths), width), dtype=np.float32)
    for rows, given in in_batches(lengths, compute, budget=budget):
        if given is None:
            raise does_not_fit(int(lengths[rows[0]]), where=where)
        result[rows] = given
    return result


def does_not_fit(tokens: int, *, where: str) -> UserError:
    """What is said where a single row is too much for the memory."""
    return UserError(f"one text of {tokens} tokens does not fit into memory", where=where,
                     remedy="Use a smaller model, or let it read fewer tokens of a text.")  # fmt: skip


def attempt(work: Callable[[], T]) -> T | None:
    """What ``work`` gives, called without gradients; None where memory ran out."""
    torch = sys.modules.get("torch")
    try:
        with contextlib.nullcontext() if torch is None else torch.inference_mode():
            return work()
    except Exception as error:  # onnxruntime's errors are of kinds of its own
        if not is_out_of_memory(error):
            raise
    # Only here, where the error and the tensors that it held are gone.
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, a GPU's or the computer's."""
    torch, message = sys.modules.get("torch"), str(error).lower()
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.cuda.OutOfMemoryError)):
        return True
    return any(part in message for part in OUT_OF_MEMORY)


def batch_size(batch_tokens: int, *, device: torch.device) -> int:
    """The tokens of a batch on ``device`` to begin with, where ``batch_tokens`` are those of a CPU."""
    return batch_tokens * (GPU_TIMES if device.type == "cuda" else 1)


def budget_on(device: torch.device, batch_tokens: int, *, cards: int = 1) -> Budget:
    """The budget of a batch on ``device``: ``batch_tokens`` on a CPU; on a GPU more, as many as it gains from.

    ``cards`` as of :class:`Budget`.
    """
    return Budget(batch_size(batch_tokens, device=device), probed=device.type == "cuda", cards=cards)


def padding(tokenizer: Any, config: Any) -> int:
    """The token that fills up short rows: the tokenizer's, else that of the model's config.

    A decoder's classifier looks for the last token that is not padding. Where the two name different ones, that counts
    which can end no text: a special token, and not the one at the end of each.

    Args:
        tokenizer: of the model.
        config: the model's own.

    Raises:
        UserError: neither names one that the model has.
    """
    most = getattr(config, "vocab_size", None) or sys.maxsize
    known = [int(token) for token in (tokenizer.pad_token_id, config.pad_token_id) if token is not None]
    known = [token for token in known if 0 <= token < most]
    if not known:
        raise UserError("neither its tokenizer nor its config.json names a token for padding",
                        where=config.name_or_path, remedy="Set pad_token in its tokenizer_config.json.")  # fmt: skip
    if known[0] == known[-1]:
        return known[0]
    special, end = getattr(tokenizer, "all_special_ids", known), getattr(tokenizer, "eos_token_id", None)
    return min(known, key=lambda token: (token not in special, token == end))


def check_alone(
    score: Callable[[list[list[int]]], NDArray[Any] | Later], rows: list[list[int]], *, rounding: float, where: str
) -> None:
    """Make sure that a model's scores of a text do not depend on the texts beside it.

    Args:
        score: rows of tokens → their scores, [B, K].
        rows: two texts of different length.
        rounding: :data:`EXACT` or :data:`HALF`.
        where: the model's name, for messages.

    Raises:
        UserError: they do, or are NaN or infinite, or the model fails.
    """
    short, long = sorted(rows, key=len)
    with hub.loading(where):
        alone, beside = (attempt(partial(_waited_for, score, given)) for given in ([short], [short, long]))
    if alone is None or beside is None:  # what lacks memory is told where the texts are read
        return
    if not np.isfinite(beside).all():
        raise UserError("its scores are NaN or infinite", where=where, remedy="Name another model, or train it again.")
    if np.abs(alone[0] - beside[0]).max() > rounding * (1 + np.abs(beside).max()):
        raise UserError("its scores of a text depend on the texts beside it", where=where, remedy="Name another model.")


def padded(rows: Sequence[Sequence[int]], value: int, *, left: bool, multiple: int) -> NDArray[np.int64]:
    """Rows of integers as one table, [B, L], the shorter ones filled up with ``value``.

    Args:
        rows: one row at least.
        value: what fills up.
        left: on the left; else on the right.
        multiple: L is the longest row's length, rounded up to a multiple of this: a GPU's matrix units like 8.
    """
    size = -(-max(map(len, rows)) // multiple) * multiple
    table = np.full((len(rows), size), value, dtype=np.int64)
    for number, row in enumerate(rows):
        if left:
            table[number, size - len(row) :] = row
        else:
            table[number, : len(row)] = row
    return table


def padded_with_mask(
    rows: Sequence[Sequence[int]], pad: int, *, left: bool, multiple: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of tokens as one table and its attention mask, 1 for a token and 0 for padding, both [B, L].

    Arguments as of :func:`padded`; ``pad`` is the token of :func:`padding`.
    """
    ids = padded(rows, pad, left=left, multiple=multiple)
    lengths, columns = np.array([len(row) for row in rows])[:, None], np.arange(ids.shape[1])
    mask = columns >= ids.shape[1] - lengths if left else columns < lengths
    return ids, mask.astype(np.int64)

"""How much a model is given at a time: a budget of tokens that gives way where memory runs out, and grows back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

GOOD_BATCHES = 8
"""After so many batches that fit, a halved budget is doubled; where that was too much, after twice as many."""
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""What a RuntimeError says then: of CUDA, of the CPU on Linux, and on Windows."""
GPU_TIMES = 16
"""A GPU takes so many times the tokens in a batch: on a CPU a small batch stays in the cache (1,024 tokens of a
base-sized model were 1.2 times as fast as 4,096), a GPU needs a large one to be busy."""


class Budget:
    """How many tokens a batch may have.

    Args:
        tokens: to begin with, and at most.
    """

    def __init__(self, tokens: int) -> None:
        self._most = self._tokens = tokens
        self._good, self._patience, self._grown = 0, GOOD_BATCHES, False

    def rows(self, tokens: int) -> int:
        """How many rows of so many tokens each a batch takes: one at least."""
        return max(1, self._tokens // tokens)

    def fitted(self) -> None:
        """A batch fitted."""
        self._good += 1
        if self._good >= self._patience and self._tokens < self._most:
            self._tokens, self._good, self._grown = min(2 * self._tokens, self._most), 0, True

    def ran_out(self, tokens: int) -> None:
        """A batch of so many tokens did not."""
        self._tokens, self._good = tokens // 2, 0
        self._patience, self._grown = self._patience * (1 + self._grown), False


def attempt(work: Callable[[], T]) -> T | None:
    """What ``work`` gives, called without gradients; None where memory ran out."""
    import torch

    try:
        with torch.inference_mode():
            return work()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Only here, where the error and the tensors that it held are gone.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def batch_size(batch_tokens: int, *, device: torch.device) -> int:
    """The tokens of a batch on ``device``, where ``batch_tokens`` are those of a CPU."""
    return batch_tokens * (GPU_TIMES if device.type == "cuda" else 1)


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, a GPU's or the computer's."""
    import torch

    said = str(error).lower()
    return isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or any(part in said for part in OUT_OF_MEMORY)

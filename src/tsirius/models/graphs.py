"""Training steps as CUDA graphs: a GPU runs a whole step at one call of the processor.

A step of a small encoder is some thousand short kernels, and Python takes longer to start them than the GPU to run
them. A CUDA graph records them once and starts them all together. It repeats what it recorded, on the same memory: so
its shape is fixed. Micro-batches are therefore padded to a few lengths (:data:`LENGTHS`) and to a fixed number of rows,
dummy rows of weight 0 among them, and each shape has a graph of its own, all of them in one memory pool. One more
graph holds the update: clipping, AdamW, the learning rate, the loss scale of fp16.

A shape that is met for the first time is computed as ever: that is the warm-up which a capture needs, and a shape that
does not come again never costs one. Dropout draws from the seed that is set before each step, replayed or not.

See Ng et al., "Accelerating PyTorch with CUDA Graphs" (pytorch.org, 2021).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from tsirius.models import batching
from tsirius.progress import say

LENGTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Tokens that rows are padded to: at most a third of a row is padding, a sixth on average."""
WARM = 4
"""Works that are computed before the first is captured: libraries choose and allocate at first use. A shape of its own
is computed once before."""
START = 2e-4
"""Seconds that a GPU takes at least for a layer, forward and backward: so long it starts the layer's short kernels."""
PLANNED = 700_000
"""Tokens of a shape from which on cuDNN's attention is worth the 0.18 s of its plan: it saves 2.1 ms of 8,192."""
SHARE = 0.25
"""Of a card's arithmetic, what training makes of it."""

Tensors = tuple[torch.Tensor, ...]
T = TypeVar("T")


def bucket(tokens: int, *, longest: int, least: int = 0) -> int:
    """The length that rows of ``tokens`` tokens are padded to: of :data:`LENGTHS`, but no longer than ``longest``.

    Args:
        tokens: of a row.
        longest: tokens of the longest row of all.
        least: shorter rows are padded to the longest of the lengths up to this one, see :func:`idle`.
    """
    longest = -(-longest // 8) * 8  # a GPU's matrix units like 8
    wanted = max(tokens, max((length for length in LENGTHS if length <= least), default=0))
    return max(tokens, min(longest, next((length for length in LENGTHS if length >= wanted), longest)))


def idle(*, layers: int, weights: int, products: int, tflops: float) -> int:
    """Tokens of a step up to which a card takes no longer: below, it waits for its kernels to start. Lengths that
    differ below that need no graph each.

    Args:
        layers: of the encoder.
        weights: of its linear layers.
        products: with these weights, forward and backward: 2 where they are frozen, 3 where they are trained.
        tflops: what the card computes at best.
    """
    return int(layers * START * SHARE * tflops * 1e12 / (2 * products * max(1, weights)))


def worth_plans(padded: Sequence[int], *, epochs: int) -> bool:
    """Whether cuDNN's attention saves more than its plans cost.

    Args:
        padded: lengths that rows are padded to; each is a shape.
        epochs: in which each row comes once.
    """
    return sum(padded) * epochs >= PLANNED * max(1, len(set(padded)))


def fixed_rows(rows: int, *, most: int) -> int:
    """How many rows a micro-batch of ``rows`` is filled up to: a power of two, or ``most``."""
    return max(rows, min(most, 1 << (rows - 1).bit_length()))


def fill_up(
    ids: np.ndarray[Any, Any],
    mask: np.ndarray[Any, Any],
    targets: np.ndarray[Any, Any],
    weights: np.ndarray[Any, Any],
    *,
    rows: int,
    length: int,
    pad: int,
) -> tuple[np.ndarray[Any, Any], ...]:
    """A micro-batch in a fixed shape: its rows padded to ``length``, and dummy rows that weigh nothing after them.

    Args:
        ids, mask: tokens and attention mask, [B, L].
        targets: shares of the categories, [B, K].
        weights: of the rows, [B].
        rows: of the result; at least B.
        length: of the result's rows; at least L.
        pad: the token for padding.

    Returns:
        The same four, [rows, length], [rows, length], [rows, K] and [rows]. A dummy row attends to its first token:
        attention over nothing is NaN.
    """
    more, wider = rows - len(ids), length - ids.shape[1]
    ids = np.pad(ids, ((0, more), (0, wider)), constant_values=pad)
    mask = np.pad(mask, ((0, more), (0, wider)))
    mask[len(mask) - more :, 0] = 1
    targets = np.pad(targets, ((0, more), (0, 0)), constant_values=1 / targets.shape[1])
    return ids, mask, targets, np.pad(weights, (0, more))


class Graphs:
    """Work on a GPU, captured once for each shape and then replayed.

    Args:
        plans: whether attention may be cuDNN's, which plans each shape, see :func:`worth_plans`.

    Attributes:
        seconds: that captures took.
        reason: why nothing is captured any more; None: it is.
    """

    def __init__(self, *, plans: bool = True) -> None:
        self._plans = plans
        self.seconds, self.reason = 0.0, None if torch.cuda.is_available() else "no CUDA"
        self._stream: Any = torch.cuda.Stream() if self.reason is None else None  # type: ignore[no-untyped-call]
        self._pool: Any = torch.cuda.graph_pool_handle() if self.reason is None else None
        self._met: Counter[Hashable] = Counter()
        self._held: dict[Hashable, tuple[Any, Tensors]] = {}

    def run(self, key: Hashable, work: Callable[..., None], *given: torch.Tensor) -> None:
        """``work(*given)``, which reads tensors and changes others in place.

        Args:
            key: names the work and its shape: with the same key it is the same work, on ``given`` of the same shapes.
            work: must not wait for the GPU, nor depend on anything but ``given`` and tensors that stay where they are.
            given: on the GPU, or pinned.
        """
        if self._stream is None:
            work(*given)
            return
        here = torch.cuda.current_stream()
        self._stream.wait_stream(here)
        torch.backends.cuda.enable_cudnn_sdp(self._plans)  # else it is off, see :func:`tsirius.models.load.device`
        try:
            with torch.cuda.stream(self._stream):
                self._run(key, work, given)
        finally:
            torch.backends.cuda.enable_cudnn_sdp(False)
        here.wait_stream(self._stream)

    def _run(self, key: Hashable, work: Callable[..., None], given: Tensors) -> None:
        if key not in self._held and self._met[key] and self._met.total() >= WARM and self.reason is None:
            self._capture(key, work, given)
        if key not in self._held:
            self._met[key] += 1
            work(*given)
            return
        graph, inputs = self._held[key]
        for mine, new in zip(inputs, given, strict=True):
            mine.copy_(new, non_blocking=True)
        graph.replay()

    def _capture(self, key: Hashable, work: Callable[..., None], given: Tensors) -> None:
        """Record the work; where that fails, nothing is captured from here on."""
        start, graph = time.monotonic(), torch.cuda.CUDAGraph()
        inputs = tuple(part.clone() for part in given)
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                work(*inputs)
        except (RuntimeError, torch.AcceleratorError) as error:
            if batching.is_out_of_memory(error):
                raise torch.cuda.OutOfMemoryError(str(error)) from None
            self.reason = str(error).strip().splitlines()[0]
            self._held.clear()
            # The random numbers would stay those of a capture.
            drawn = torch.cuda.default_generators[torch.cuda.current_device()]
            drawn.graphsafe_set_state(drawn.clone_state())
            say(f"  steps are not captured as CUDA graphs: {self.reason}")
            return
        self._held[key] = (graph, inputs)
        self.seconds += time.monotonic() - start

    def forget(self) -> None:
        """Give back the memory of all graphs; shapes are captured anew."""
        torch.cuda.synchronize()
        self._held.clear()
        self._pool = torch.cuda.graph_pool_handle()

    def __len__(self) -> int:
        return len(self._held)

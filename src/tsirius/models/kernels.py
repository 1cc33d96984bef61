"""What lies between a layer's matrix products, in few kernels: dropout, residual, normalisation, GELU, adapters.

Of a training step of a base-sized encoder on a GPU more than half went into reading and writing states between its
products. Here what follows one another is read and written once, by kernels in Triton; the same in torch's own
operations says what they compute, and is taken on a CPU.

Dropout draws no table: whether a number is kept is a hash of its place and of a seed (:func:`keeps`), so that the
backward pass asks again in place of reading a mask.
"""

from __future__ import annotations

import functools
import math
import threading
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

OLDEST = (8, 0)
"""CUDA's compute capability from which on the kernels are taken: an Ampere card."""
GELU_SLOPE = 1 / math.sqrt(2 * math.pi)


@dataclass(frozen=True)
class Dropout:
    """One dropout of one pass.

    Attributes:
        rate: share that is dropped; 0: none.
        seed: two numbers that decide which, int32 [2], on the device.
    """

    rate: float
    seed: torch.Tensor | None

    @property
    def threshold(self) -> int:
        """Of 24 bits, below which a number is dropped."""
        return round(self.rate * (1 << 24)) if self.seed is not None else 0

    @property
    def scale(self) -> float:
        """What is kept is multiplied with."""
        return 1 / (1 - self.threshold / (1 << 24))


NONE = Dropout(0.0, None)


_ALONE = threading.Lock()


def prepare() -> None:
    """Begin to load Triton, half a second, while the caller does something else on a machine with a GPU."""
    card = torch.cuda.current_device()

    def work() -> None:
        torch.cuda.set_device(card)  # each thread has its own
        reason()

    threading.Thread(target=work, daemon=True).start()


def reason() -> str | None:
    """Why the kernels in Triton cannot be had here; None: they can."""
    with _ALONE:
        return _reason()


@functools.cache
def _reason() -> str | None:
    if not torch.cuda.is_available():
        return "no CUDA"
    if torch.cuda.get_device_capability() < OLDEST:
        return "the card is older than compute capability {}.{}".format(*OLDEST)
    try:
        from tsirius.models import triton_kernels

        triton_kernels.tried()
    except Exception as error:  # no Triton, no C compiler, a version of another kind
        lines = str(error).strip().splitlines()
        return lines[0] if lines else type(error).__name__
    return None


def _there(states: torch.Tensor) -> Any:
    """The kernels in Triton, where ``states`` are on a GPU."""
    if not states.is_cuda:
        return None
    from tsirius.models import triton_kernels

    return triton_kernels


def keeps(shape: tuple[int, int], drop: Dropout) -> torch.Tensor:
    """Which numbers of a table [N, W] are kept: a hash of each one's place, "lowbias32" with a second seed inside.

    Chris Wellons 2018, "Prospecting for hash functions" (nullprogram.com).
    """
    assert drop.seed is not None
    low = 0xFFFFFFFF
    first, second = (drop.seed.long() & low).unbind()
    places = torch.arange(shape[0] * shape[1], device=drop.seed.device).view(shape) & low
    mixed = places ^ first
    mixed = ((mixed ^ (mixed >> 16)) * 0x7FEB352D) & low
    mixed = mixed ^ (mixed >> 15) ^ second
    mixed = (mixed * 0x846CA68B) & low
    return ((mixed ^ (mixed >> 16)) >> 8) >= drop.threshold


def dropped(states: torch.Tensor, drop: Dropout) -> torch.Tensor:
    """``states`` [N, W] with some numbers 0 and the others larger."""
    if not drop.threshold:
        return states
    return torch.where(keeps((states.shape[0], states.shape[1]), drop), states * drop.scale, 0)


def add_norm(
    states: torch.Tensor, other: torch.Tensor, norm: tuple[torch.Tensor, torch.Tensor, float], drop: Dropout,
    out: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """LayerNorm(other + dropout(states)) into ``out``, all [N, W].

    Args:
        states, other: in rows of any distance.
        norm: weight [W], bias [W] and epsilon.
        drop: before the sum.
        out: takes the result.

    Returns:
        Mean and reciprocal deviation of each row, [N], for :func:`add_norm_back`.
    """
    if (triton := _there(states)) is not None:
        return triton.add_norm(states, other, norm, drop, out)  # type: ignore[no-any-return]
    weight, bias, epsilon = norm
    total = other + dropped(states, drop)
    mean = total.mean(dim=1)
    rate = (total.var(dim=1, unbiased=False) + epsilon).rsqrt()
    out.copy_((total - mean[:, None]) * rate[:, None] * weight + bias)
    return mean, rate


def add_norm_back(
    grad: torch.Tensor, kept: tuple[torch.Tensor, ...], weight: torch.Tensor, drop: Dropout, *, trained: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """The gradients of ``other``, ``states``, and where the norm is ``trained`` of its weight and bias.

    Args:
        grad: of the result, [N, W].
        kept: ``states`` and ``other``, mean and reciprocal deviation.
        weight: of the norm.
        drop: as it was.
    """
    if (triton := _there(grad)) is not None:
        return triton.add_norm_back(grad, kept, weight, drop, trained=trained)  # type: ignore[no-any-return]
    states, other, mean, rate = kept
    normal = (other + dropped(states, drop) - mean[:, None]) * rate[:, None]
    inner = grad * weight
    of_other = inner - inner.mean(dim=1, keepdim=True) - normal * (inner * normal).mean(dim=1, keepdim=True)
    of_other = of_other * rate[:, None]
    if not trained:
        return of_other, dropped(of_other, drop), None, None
    return of_other, dropped(of_other, drop), (grad * normal).sum(dim=0), grad.sum(dim=0)


def enter(
    states: torch.Tensor, firsts: torch.Tensor, scale: float, drop: Dropout, ext: torch.Tensor, *, how: str
) -> None:
    """Fill ``ext`` [N, W + R]: the states in its first columns, what the adapters' first halves make of them after.

    Args:
        states: [N, W].
        firsts: first halves of the adapters, one below the other, [R, W].
        scale: of the adapters.
        drop: before the adapters.
        ext: takes the result.
        how: "there": the states are its first columns already; "copy": they are copied; "gelu": GELU of them is
            taken.
    """
    if (triton := _there(states)) is not None:
        triton.enter(states, firsts, scale, drop, ext, how=how)
        return
    width = states.shape[1]
    if how != "there":
        ext[:, :width] = functional.gelu(states) if how == "gelu" else states
    ext[:, width:] = dropped(ext[:, :width], drop) @ firsts.t() * scale


def firsts_back(ext: torch.Tensor, back: torch.Tensor, scale: float, drop: Dropout) -> torch.Tensor:
    """The gradient of the first halves, [R, W], in 32 bits at least.

    Args:
        ext: as :func:`enter` filled it, [N, W + R].
        back: the gradient of its last columns, [N, R].
        scale, drop: as they were.
    """
    if (triton := _there(ext)) is not None:
        return triton.firsts_back(ext, back, scale, drop)  # type: ignore[no-any-return]
    return back.t() @ dropped(ext[:, : ext.shape[1] - back.shape[1]], drop) * scale


def join(
    grad: torch.Tensor, back: torch.Tensor, firsts: torch.Tensor, scale: float, drop: Dropout,
    *, other: torch.Tensor | None = None, before: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    """The gradient of the states that :func:`enter` was given, [N, W].

    Args:
        grad: that came through the frozen weights, [N, W]; written over.
        back: of the adapters' first halves' results, [N, R].
        firsts, scale, drop: as they were.
        other: is added.
        before: the states, where GELU of them was taken.
    """
    if (triton := _there(grad)) is not None:
        return triton.join(grad, back, firsts, scale, drop, other=other, before=before)  # type: ignore[no-any-return]
    total = grad + dropped(back @ firsts, drop) * scale
    if other is not None:
        total = total + other
    return total if before is None else total * gelu_slope(before)


def add_product(grad: torch.Tensor, one: torch.Tensor, other: torch.Tensor) -> None:
    """Add the product of two tables of 16-bit floats to ``grad``, which has 32-bit ones: without a table in between
    where the libraries can."""
    if one.dtype == grad.dtype:
        grad.addmm_(one, other)
    elif one.is_cuda and _adds_into_32_bits(one.dtype):
        torch.ops.aten.addmm.dtype_out(grad, one, other, grad.dtype, out=grad)
    else:
        grad.add_(one @ other)


def column_sums(table: torch.Tensor) -> torch.Tensor:
    """The sum of the rows of a table [N, W]; on a GPU in 32 bits."""
    if (triton := _there(table)) is not None:
        return triton.column_sums(table)  # type: ignore[no-any-return]
    return table.sum(dim=0)


def add_rows(table: torch.Tensor, ids: torch.Tensor, grad: torch.Tensor, *, skipped: int | None) -> None:
    """Add each row of ``grad`` [N, W] to the row of ``table`` [V, W] that ``ids`` [N] names; those of one are summed
    in their order.

    Args:
        skipped: rows with this id are not added.
    """
    if (triton := _there(table)) is not None:
        triton.add_rows(table, ids, grad.contiguous(), skipped=skipped)
        return
    wanted = slice(None) if skipped is None else ids != skipped
    table.index_add_(0, ids[wanted], grad[wanted].to(table.dtype))


@functools.cache
def _adds_into_32_bits(kind: torch.dtype) -> bool:
    """Whether products of 16-bit floats can be added to 32-bit ones on this GPU, by this torch."""
    grad, one = torch.ones(16, 16, device="cuda"), torch.ones(16, 16, dtype=kind, device="cuda")
    try:
        torch.ops.aten.addmm.dtype_out(grad, one, one, grad.dtype, out=grad)
    except (AttributeError, RuntimeError):
        return False
    return bool((grad == 17).all())


def gelu_slope(states: torch.Tensor) -> torch.Tensor:
    """The derivative of GELU: Φ(x) + x φ(x)."""
    share = 0.5 * (1 + torch.erf(states * math.sqrt(0.5)))
    return share + states * GELU_SLOPE * torch.exp(-0.5 * states * states)

"""The kernels of :mod:`tsirius.models.kernels` in Triton, which says what each computes. States are 16-bit floats, sums
32-bit ones."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,no-any-return"
# Functions that Triton compiles have its own types.

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

if TYPE_CHECKING:
    from tsirius.models.kernels import Dropout

ENTER, FIRSTS, JOIN = (16, 128, 4), (64, 64, 4), (32, 128, 4)
"""Rows and columns of a program's tile, and its warps: the fastest of some on an H200."""
PARTS = 1056
"""Programs that share the sum over the rows."""
NORM_PROGRAMS = 512
"""Programs that add up the gradients of a norm's weights, each over some of the rows."""


@triton.jit
def _keeps(places, seed, threshold):
    first = tl.load(seed).to(tl.uint32, bitcast=True)
    second = tl.load(seed + 1).to(tl.uint32, bitcast=True)
    mixed = places.to(tl.uint32) ^ first
    mixed = (mixed ^ (mixed >> 16)) * 0x7FEB352D
    mixed = mixed ^ (mixed >> 15) ^ second
    mixed = mixed * 0x846CA68B
    return ((mixed ^ (mixed >> 16)) >> 8).to(tl.int32) >= threshold


@triton.jit
def _gelu(x):
    return 0.5 * x * (1.0 + tl.math.erf(x * 0.7071067811865476))


@triton.jit
def _gelu_slope(x):
    return 0.5 * (1.0 + tl.math.erf(x * 0.7071067811865476)) + x * 0.3989422804014327 * tl.exp(-0.5 * x * x)


@triton.jit
def _add_norm(
    states, other, weight, bias, out, means, rates, seed, states_row, other_row, out_row, width, epsilon, threshold,
    scale, BLOCK: tl.constexpr, DROP: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < width
    total = tl.load(states + row * states_row + column, mask=inside, other=0.0).to(tl.float32)
    if DROP:
        total = tl.where(_keeps(row * width + column, seed, threshold), total * scale, 0.0)
    total += tl.load(other + row * other_row + column, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(total, axis=0) / width
    centred = tl.where(inside, total - mean, 0.0)
    rate = 1.0 / tl.sqrt(tl.sum(centred * centred, axis=0) / width + epsilon)
    result = centred * rate * tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    result += tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * out_row + column, result.to(out.dtype.element_ty), mask=inside)
    tl.store(means + row, mean)
    tl.store(rates + row, rate)


@triton.jit
def _add_norm_back(
    grad, states, other, weight, means, rates, seed, of_other, of_states, of_weight, of_bias, grad_row, states_row,
    other_row, rows, width, threshold, scale, BLOCK: tl.constexpr, DROP: tl.constexpr, TRAINED: tl.constexpr,
):  # fmt: skip
    column = tl.arange(0, BLOCK)
    inside = column < width
    factor = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    sum_weight = tl.zeros([BLOCK], dtype=tl.float32)
    sum_bias = tl.zeros([BLOCK], dtype=tl.float32)
    for number in range(tl.program_id(0), rows, tl.num_programs(0)):
        row = tl.full((), 0, tl.int64) + number
        normal = tl.load(states + row * states_row + column, mask=inside, other=0.0).to(tl.float32)
        kept = inside
        if DROP:
            kept = _keeps(row * width + column, seed, threshold)
            normal = tl.where(kept, normal * scale, 0.0)
        normal += tl.load(other + row * other_row + column, mask=inside, other=0.0).to(tl.float32)
        rate = tl.load(rates + row)
        normal = tl.where(inside, (normal - tl.load(means + row)) * rate, 0.0)
        given = tl.load(grad + row * grad_row + column, mask=inside, other=0.0).to(tl.float32)
        if TRAINED:
            sum_weight += given * normal
            sum_bias += given
        inner = given * factor
        result = (inner - tl.sum(inner, axis=0) / width - normal * (tl.sum(inner * normal, axis=0) / width)) * rate
        tl.store(of_other + row * width + column, result.to(of_other.dtype.element_ty), mask=inside)
        if DROP:
            result = tl.where(kept, result * scale, 0.0)
            tl.store(of_states + row * width + column, result.to(of_states.dtype.element_ty), mask=inside)
    if TRAINED:
        at = tl.program_id(0) * width + column
        tl.store(of_weight + at, sum_weight, mask=inside)
        tl.store(of_bias + at, sum_bias, mask=inside)


@triton.jit
def _enter(
    states, firsts, ext, seed, states_row, ext_row, rows, width, ranks, threshold, scale,
    RANKS: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK: tl.constexpr, HOW: tl.constexpr, DROP: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS).to(tl.int64)
    rank = tl.arange(0, RANKS)
    total = tl.zeros([BLOCK_ROWS, RANKS], dtype=tl.float32)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = (row < rows)[:, None] & (column < width)[None, :]
        tile = tl.load(states + row[:, None] * states_row + column[None, :], mask=inside, other=0.0)
        if HOW == "gelu":
            tile = _gelu(tile.to(tl.float32))
        tile = tile.to(ext.dtype.element_ty)
        if HOW != "there":
            tl.store(ext + row[:, None] * ext_row + column[None, :], tile, mask=inside)
        if DROP:
            tile = tl.where(_keeps(row[:, None] * width + column[None, :], seed, threshold), tile, 0.0)
        half = tl.load(
            firsts + rank[None, :] * width + column[:, None],
            mask=(rank < ranks)[None, :] & (column < width)[:, None], other=0.0,
        )  # fmt: skip
        total += tl.dot(tile.to(half.dtype), half)
    at = ext + row[:, None] * ext_row + width + rank[None, :]
    tl.store(at, (total * scale).to(ext.dtype.element_ty), mask=(row < rows)[:, None] & (rank < ranks)[None, :])


@triton.jit
def _firsts_back(
    ext, back, partial, seed, ext_row, back_row, rows, width, ranks, chunk, threshold, scale,
    RANKS: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK: tl.constexpr, DROP: tl.constexpr,
):  # fmt: skip
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    part = tl.program_id(1)
    rank = tl.arange(0, RANKS)
    total = tl.zeros([RANKS, BLOCK], dtype=tl.float32)
    for start in range(part * chunk, (part + 1) * chunk, BLOCK_ROWS):
        row = start + tl.arange(0, BLOCK_ROWS).to(tl.int64)
        inside = (row < rows)[:, None] & (column < width)[None, :]
        tile = tl.load(ext + row[:, None] * ext_row + column[None, :], mask=inside, other=0.0)
        if DROP:
            tile = tl.where(_keeps(row[:, None] * width + column[None, :], seed, threshold), tile, 0.0)
        given = tl.load(
            back + row[None, :] * back_row + rank[:, None],
            mask=(row < rows)[None, :] & (rank < ranks)[:, None], other=0.0,
        )  # fmt: skip
        total += tl.dot(given, tile.to(given.dtype))
    at = partial + (part * ranks + rank[:, None]) * width + column[None, :]
    tl.store(at, total * scale, mask=(rank < ranks)[:, None] & (column < width)[None, :])


@triton.jit
def _join(
    grad, back, firsts, other, before, out, seed, grad_row, back_row, other_row, before_row, rows, width, ranks,
    threshold, scale, RANKS: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK: tl.constexpr, OTHER: tl.constexpr,
    GELU: tl.constexpr, DROP: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    rank = tl.arange(0, RANKS)
    inside = (row < rows)[:, None] & (column < width)[None, :]
    given = tl.load(
        back + row[:, None] * back_row + rank[None, :],
        mask=(row < rows)[:, None] & (rank < ranks)[None, :], other=0.0,
    )  # fmt: skip
    half = tl.load(
        firsts + rank[:, None] * width + column[None, :],
        mask=(rank < ranks)[:, None] & (column < width)[None, :], other=0.0,
    )  # fmt: skip
    total = tl.dot(given, half) * scale
    if DROP:
        total = tl.where(_keeps(row[:, None] * width + column[None, :], seed, threshold), total, 0.0)
    total += tl.load(grad + row[:, None] * grad_row + column[None, :], mask=inside, other=0.0).to(tl.float32)
    if OTHER:
        total += tl.load(other + row[:, None] * other_row + column[None, :], mask=inside, other=0.0).to(tl.float32)
    if GELU:
        total *= _gelu_slope(
            tl.load(before + row[:, None] * before_row + column[None, :], mask=inside, other=0.0).to(tl.float32)
        )
    tl.store(out + row[:, None] * width + column[None, :], total.to(out.dtype.element_ty), mask=inside)


def _seed(drop: Dropout, instead: torch.Tensor) -> torch.Tensor:
    return instead if drop.seed is None else drop.seed


def _power(number: int, *, least: int = 16) -> int:
    return max(least, triton.next_power_of_2(number))


def add_norm(states, other, norm, drop, out):
    rows, width = states.shape
    weight, bias, epsilon = norm
    means, rates = (torch.empty(rows, dtype=torch.float32, device=states.device) for _ in range(2))
    _add_norm[(rows,)](
        states, other, weight, bias, out, means, rates, _seed(drop, states), states.stride(0), other.stride(0),
        out.stride(0), width, epsilon, drop.threshold, drop.scale, BLOCK=_power(width), DROP=drop.threshold > 0,
        num_warps=4,
    )  # fmt: skip
    return means, rates


def add_norm_back(grad, kept, weight, drop, *, trained):
    states, other, mean, rate = kept
    rows, width = states.shape
    of_other = torch.empty(rows, width, dtype=grad.dtype, device=grad.device)
    of_states = torch.empty_like(of_other) if drop.threshold else of_other
    programs = min(rows, NORM_PROGRAMS) if trained else rows
    sums = of_other
    if trained:
        sums = torch.empty(2, programs, width, dtype=torch.float32, device=grad.device)
    _add_norm_back[(programs,)](
        grad, states, other, weight, mean, rate, _seed(drop, states), of_other, of_states, sums[0], sums[1],
        grad.stride(0), states.stride(0), other.stride(0), rows, width, drop.threshold, drop.scale,
        BLOCK=_power(width), DROP=drop.threshold > 0, TRAINED=trained, num_warps=4,
    )  # fmt: skip
    if not trained:
        return of_other, of_states, None, None
    of_weight, of_bias = sums.sum(dim=1)
    return of_other, of_states, of_weight, of_bias


def enter(states, firsts, scale, drop, ext, *, how):
    rows, width = states.shape
    block_rows, block, warps = ENTER
    _enter[(triton.cdiv(rows, block_rows),)](
        states, firsts, ext, _seed(drop, states), states.stride(0), ext.stride(0), rows, width, len(firsts),
        drop.threshold, scale * drop.scale, RANKS=_power(len(firsts)), BLOCK_ROWS=block_rows, BLOCK=block, HOW=how,
        DROP=drop.threshold > 0, num_warps=warps, num_stages=3,
    )  # fmt: skip


def firsts_back(ext, back, scale, drop):
    (rows, ranks), width = back.shape, ext.shape[1] - back.shape[1]
    block_rows, block, warps = FIRSTS
    columns = triton.cdiv(width, block)
    parts = max(1, min(rows // 512, PARTS // columns))
    chunk = triton.cdiv(triton.cdiv(rows, parts), block_rows) * block_rows
    partial = torch.empty(parts, ranks, width, dtype=torch.float32, device=ext.device)
    _firsts_back[(columns, parts)](
        ext, back, partial, _seed(drop, ext), ext.stride(0), back.stride(0), rows, width, ranks, chunk,
        drop.threshold, scale * drop.scale, RANKS=_power(ranks), BLOCK_ROWS=block_rows, BLOCK=block,
        DROP=drop.threshold > 0, num_warps=warps, num_stages=3,
    )  # fmt: skip
    return partial[0] if parts == 1 else partial.sum(dim=0)


def join(grad, back, firsts, scale, drop, *, other, before):
    rows, width = grad.shape
    out = torch.empty(rows, width, dtype=grad.dtype, device=grad.device)
    block_rows, block, warps = JOIN
    _join[(triton.cdiv(rows, block_rows), triton.cdiv(width, block))](
        grad, back, firsts, grad if other is None else other, grad if before is None else before, out,
        _seed(drop, grad), grad.stride(0), back.stride(0), 0 if other is None else other.stride(0),
        0 if before is None else before.stride(0), rows, width, len(firsts), drop.threshold, scale * drop.scale,
        RANKS=_power(len(firsts)), BLOCK_ROWS=block_rows, BLOCK=block, OTHER=other is not None,
        GELU=before is not None, DROP=drop.threshold > 0, num_warps=warps,
    )  # fmt: skip
    return out


def tried() -> None:
    """Compile a kernel and use it: where Triton lacks a compiler, this fails."""
    ones = torch.ones(2, 16, dtype=torch.float16, device="cuda")
    from tsirius.models.kernels import NONE

    add_norm(ones, ones, (ones[0], ones[0], 1e-5), NONE, torch.empty_like(ones))

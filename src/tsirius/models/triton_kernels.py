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
SUMS, ROWS = (32, 128, 4), (16, 256, 4)
"""The same of kernels that have not been tried with others."""
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


@triton.jit
def _adamw_chunk(
    pointers, layout, which, at, rates, decays, corrections, divisor, beta, beta_squares, epsilon,
    KIND: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    count = tl.load(layout + 4 * which)
    columns = tl.load(layout + 4 * which + 1).to(tl.int32)
    row = tl.load(layout + 4 * which + 2).to(tl.int32)
    group = tl.load(layout + 4 * which + 3)
    param = tl.multiple_of(tl.load(pointers + 5 * which).to(tl.pointer_type(tl.float32)), 16)
    grad = tl.multiple_of(tl.load(pointers + 5 * which + 1).to(tl.pointer_type(tl.float32)), 16)
    mean = tl.multiple_of(tl.load(pointers + 5 * which + 2).to(tl.pointer_type(tl.float32)), 16)
    square = tl.multiple_of(tl.load(pointers + 5 * which + 3).to(tl.pointer_type(tl.float32)), 16)
    there = tl.load(pointers + 5 * which + 4)
    inside = at < count if MASKED else None
    rate = tl.load(rates + group)
    given = tl.load(grad + at, mask=inside) / tl.load(divisor)
    old = tl.load(mean + at, mask=inside)
    first = old + (given - old) * (1.0 - beta)
    second = tl.load(square + at, mask=inside) * beta_squares + given * given * (1.0 - beta_squares)
    root = tl.sqrt(second) / tl.sqrt(tl.load(corrections + 1)) + epsilon
    result = tl.load(param + at, mask=inside) * (1.0 - rate * tl.load(decays + group))
    result -= rate / tl.load(corrections) * first / root
    tl.store(mean + at, first, mask=inside)
    tl.store(square + at, second, mask=inside)
    tl.store(param + at, result, mask=inside)
    if there != 0:
        copy = there.to(tl.pointer_type(KIND))
        if row == columns:
            tl.store(copy + at, result.to(KIND), mask=inside)
        else:
            tl.store(copy + at // columns * row + at % columns, result.to(KIND), mask=inside)


@triton.jit
def _adamw(
    pointers, layout, chunks, rates, decays, corrections, divisor, beta, beta_squares, epsilon,
    CHUNK: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    which = tl.load(chunks + 2 * tl.program_id(0))
    start = tl.load(chunks + 2 * tl.program_id(0) + 1).to(tl.int32) * CHUNK
    at = start + tl.arange(0, CHUNK)
    if start + CHUNK <= tl.load(layout + 4 * which):
        _adamw_chunk(pointers, layout, which, at, rates, decays, corrections, divisor, beta, beta_squares, epsilon,
                     KIND=KIND, MASKED=False)  # fmt: skip
    else:
        _adamw_chunk(pointers, layout, which, at, rates, decays, corrections, divisor, beta, beta_squares, epsilon,
                     KIND=KIND, MASKED=True)  # fmt: skip


@triton.jit
def _column_sums(
    table, partial, table_row, rows, width, chunk, BLOCK_ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    column, part = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1)
    total = tl.zeros([BLOCK_ROWS, BLOCK], dtype=tl.float32)
    for start in range(part * chunk, tl.minimum((part + 1) * chunk, rows), BLOCK_ROWS):
        row = start + tl.arange(0, BLOCK_ROWS).to(tl.int64)
        inside = (row < rows)[:, None] & (column < width)[None, :]
        total += tl.load(table + row[:, None] * table_row + column[None, :], mask=inside, other=0.0).to(tl.float32)
    tl.store(partial + part * width + column, tl.sum(total, axis=0), mask=column < width)


@triton.jit
def _add_rows(
    table, ids, order, grad, rows, width, skipped, BLOCK_ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    first = tl.program_id(0)
    mine = tl.load(ids + first)
    before = tl.load(ids + first - 1, mask=first > 0, other=-1)
    if (mine != before) & (mine != skipped):
        column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        total = tl.zeros([BLOCK], dtype=tl.float32)
        at = first + tl.arange(0, BLOCK_ROWS)
        same = tl.load(ids + at, mask=at < rows, other=-1) == mine
        while tl.max(same.to(tl.int32), axis=0) > 0:
            row = tl.load(order + at, mask=same, other=0)
            inside = same[:, None] & (column < width)[None, :]
            part = tl.load(grad + row[:, None] * width + column[None, :], mask=inside, other=0.0)
            total += tl.sum(part.to(tl.float32), axis=0)
            at += BLOCK_ROWS
            same = tl.load(ids + at, mask=at < rows, other=-1) == mine
        there = table + mine * width + column
        tl.store(there, tl.load(there, mask=column < width, other=0.0) + total, mask=column < width)


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


def adamw(tables, changing, fixed, *, chunk, kind):
    pointers, layout, chunks = tables
    _adamw[(len(chunks),)](
        pointers, layout, chunks, *changing, *fixed, CHUNK=chunk,
        KIND=tl.float16 if kind == torch.float16 else tl.bfloat16, num_warps=8,
    )  # fmt: skip


def column_sums(table):
    rows, width = table.shape
    block_rows, block, warps = SUMS
    columns = triton.cdiv(width, block)
    parts = max(1, min(rows // 128, PARTS // columns, 64))
    chunk = triton.cdiv(triton.cdiv(rows, parts), block_rows) * block_rows
    partial = torch.empty(parts, width, dtype=torch.float32, device=table.device)
    _column_sums[(columns, parts)](
        table, partial, table.stride(0), rows, width, chunk, BLOCK_ROWS=block_rows, BLOCK=block, num_warps=warps
    )
    return partial[0] if parts == 1 else partial.sum(dim=0)


def add_rows(table, ids, grad, *, skipped):
    ordered, order = ids.sort(stable=True)
    rows, width = grad.shape
    block_rows, block, warps = ROWS
    _add_rows[(rows, triton.cdiv(width, block))](
        table, ordered, order, grad, rows, width, -1 if skipped is None else skipped, BLOCK_ROWS=block_rows,
        BLOCK=block, num_warps=warps,
    )  # fmt: skip


def tried() -> None:
    """Compile a kernel and use it: where Triton lacks a compiler, this fails."""
    ones = torch.ones(2, 16, dtype=torch.float16, device="cuda")
    from tsirius.models.kernels import NONE

    add_norm(ones, ones, (ones[0], ones[0], 1e-5), NONE, torch.empty_like(ones))

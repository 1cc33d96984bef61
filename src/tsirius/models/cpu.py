"""Linear layers that a CPU computes quickly: in 32-bit or 16-bit floats by oneDNN, or by 8-bit integers.

Nearly all the time of an encoder on a CPU is its linear layers. torch gives them to MKL, which on a processor that is
not Intel's leaves half of its width unused; oneDNN, which torch brings along too, computes the same 2.3 times as fast
there (measured on an AMD EPYC with AVX-512, with torch 2.13; equal to 4e-6). Processors that multiply bfloat16 take 1.9
times as many of them as of 32-bit floats.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

Kind = Callable[[torch.nn.Linear], torch.nn.Module]

SIDE_BY_SIDE = ("query", "key", "value")
"""Layers of one module that are given the same."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""As malloc.h numbers them."""
BLOCK = 256
"""Rows at a time: what a step leaves is still in the cache when the next one takes it."""
HALF = 256
"""What the upper half of an activation counts."""
LARGEST = 127 * HALF - HALF // 2
"""The largest activation as an integer; its upper half is 127 at most."""
ZERO = 128
"""The byte that stands for zero: halves are kept as bytes without a sign, as processors multiply them."""


def packed(model: Any, *, half: bool = False) -> Any:
    """Let oneDNN compute the linear layers of ``model.base_model``, in place, where torch has it. Returns ``model``.

    Args:
        model: a transformers model in 32-bit floats on the CPU; afterwards it can score, not be trained.
        half: multiply in bfloat16 where the processor can; what passes between the layers keeps its 32 bits.
    """
    if not _has_onednn():
        return model
    return _replaced(model, partial(PackedLinear, dtype=torch.bfloat16 if half and has_bfloat16() else torch.float32))


def quantised(model: Any) -> Any:
    """Compute the linear layers of ``model.base_model`` by 8-bit integers, in place; the head stays as it is.

    Arguments and result as of :func:`packed`.
    """
    return _replaced(model, Int8Linear)


def _replaced(model: Any, kind: Kind) -> Any:
    _keep_memory()
    for parent in list(model.base_model.modules()):
        linear = {name: layer for name, layer in parent.named_children() if type(layer) is torch.nn.Linear}
        made: dict[str, torch.nn.Module] = {}
        if linear.keys() >= set(SIDE_BY_SIDE) and len({linear[name].in_features for name in SIDE_BY_SIDE}) == 1:
            made = _side_by_side({name: linear.pop(name) for name in SIDE_BY_SIDE}, kind)
        made |= {name: kind(layer) for name, layer in linear.items()}
        for name, layer in made.items():
            setattr(parent, name, layer)
    return model


def _keep_memory() -> None:
    """Let the process keep the memory that a layer's outcome leaves, for the next one to use.

    glibc gives blocks of that size back to the system, which clears every page before it hands them out again: that
    took 5 to 20 % of the time of a model with 8-bit or 16-bit layers.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # the most that every version takes
        libc.mallopt(M_TRIM_THRESHOLD, 512 * 2**20)


def _side_by_side(layers: dict[str, torch.nn.Linear], kind: Kind) -> dict[str, torch.nn.Module]:
    """Let one layer compute what several layers do that are given the same: it is read and rounded once."""
    given = next(iter(layers.values())).in_features
    whole = torch.nn.Linear(given, sum(layer.out_features for layer in layers.values()))
    with torch.no_grad():
        whole.weight.copy_(torch.cat([layer.weight for layer in layers.values()]))
        whole.bias.copy_(torch.cat([torch.zeros(layer.out_features) if layer.bias is None else layer.bias
                                    for layer in layers.values()]))  # fmt: skip
    shared = _Shared(kind(whole), [layer.out_features for layer in layers.values()])
    return {name: _Part(shared, place) for place, name in enumerate(layers)}


class _Shared:
    """The outcome of a layer, kept until the last of its parts has been taken, or something else is given.

    What is kept is one tuple, read once: threads that share the model never get each other's.
    """

    def __init__(self, whole: torch.nn.Module, sizes: Sequence[int]) -> None:
        self.whole, self.sizes = whole, list(sizes)
        self.kept: tuple[torch.Tensor, Sequence[torch.Tensor]] | None = None

    def take(self, given: torch.Tensor, place: int) -> torch.Tensor:
        kept = self.kept
        if kept is None or kept[0] is not given:
            kept = given, self.whole(given).split(self.sizes, -1)
        self.kept = kept if place + 1 < len(self.sizes) else None
        return kept[1][place]


class _Part(torch.nn.Module):
    def __init__(self, shared: _Shared, place: int) -> None:
        super().__init__()
        self.shared, self.place = shared, place

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return self.shared.take(given, self.place)


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself; emulated it is slower than 32 bits."""
    return _knows("avx512_bf16", "amx_bf16")


def _knows(*instructions: str) -> bool:
    """Whether the processor has one of these; torch before 2.10 cannot tell."""
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(known.get(name) for name in instructions)


def _has_onednn() -> bool:
    """Whether torch's own way to it, which has no public name, is there and right."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return False
    layer = torch.nn.Linear(16, 8)
    given = torch.arange(48, dtype=torch.float32).reshape(3, 16) / 48
    try:
        with torch.inference_mode():
            return torch.allclose(PackedLinear(layer)(given), layer(given), atol=1e-5)
    except (AttributeError, RuntimeError, TypeError):
        return False


class PackedLinear(torch.nn.Module):
    """What ``layer`` computes, by oneDNN, from weights in the order that it likes best.

    Args:
        layer: the layer.
        dtype: what is multiplied; sums and the outcome have 32 bits. bfloat16 is off by about half a percent.
    """

    def __init__(self, layer: torch.nn.Linear, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.dtype = dtype
        self.bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().to(dtype), None)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            given.to(self.dtype), self.weight, self.bias, "none", [], ""
        )
        return found.to(given.dtype)


class Int8Linear(torch.nn.Module):
    """What ``layer`` computes, to about half a percent.

    Weights are rounded once to 8 bits, each output with a scale of its own. Activations are rounded as they come, each
    token with a scale of its own, to 16 bits, and multiplied as two 8-bit halves: integers are multiplied so quickly
    that the second half costs little (with VNNI or AMX; without, this may be slower than floats). In 8 bits a few large
    activations, which such models have, would round the rest away (arXiv 2208.07339).

    torch.ao's ``quantize_dynamic`` has 8 bits and one scale for a whole batch: on normally distributed activations its
    error is six times as large, a text's scores depend on the texts beside it, and it is deprecated.
    """

    scale: torch.Tensor
    bias: torch.Tensor

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        exact = layer.weight.detach().float()
        scale = _largest(exact).div_(127)
        bias = torch.zeros(layer.out_features) if layer.bias is None else layer.bias.detach().float()
        self.register_buffer("scale", scale.flatten(), persistent=False)
        self.register_buffer("bias", bias, persistent=False)
        weight = exact.div(scale).round_().to(torch.int8)
        self.add_product = (_by_onednn if _has_onednn_int8() else _by_torch)(weight, self.scale)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        rows = given.reshape(-1, given.shape[-1])
        out = torch.empty(len(rows), len(self.bias))
        for start in range(0, len(rows), BLOCK):
            block, sums = rows[start : start + BLOCK], out[start : start + BLOCK]
            scale = _largest(block).div_(LARGEST)
            whole = block.div(scale).round_().to(torch.int16).add_(ZERO)
            sums.zero_()
            self.add_product(sums, (whole >> 8).to(torch.uint8).bitwise_xor_(ZERO), HALF)
            self.add_product(sums, whole.to(torch.uint8), 1)
            torch.addcmul(self.bias, sums, scale, out=sums)
        return out.reshape(*given.shape[:-1], -1)


Product = Callable[[torch.Tensor, torch.Tensor, int], None]
"""Add to sums [rows, outputs] a factor times the product of 8-bit activations [rows, inputs] and the weights."""


def _by_onednn(weight: torch.Tensor, scale: torch.Tensor) -> Product:
    """With weights in the order that oneDNN likes best, scaled and summed on the way: 5 to 35 % faster than torch."""
    ops = torch.ops.onednn
    best, zeros = ops.qlinear_prepack(weight, None), torch.zeros(len(weight), dtype=torch.int64)

    def add_product(sums: torch.Tensor, given: torch.Tensor, factor: int) -> None:
        ops.qlinear_pointwise.binary(
            given, float(factor), ZERO, best, scale, zeros, sums, None, 1.0, 0, torch.float32, 1.0, 0,
            "sum", 1.0, "none", [], "",
        )  # fmt: skip

    return add_product


def _by_torch(weight: torch.Tensor, scale: torch.Tensor) -> Product:
    turned = weight.t().contiguous()

    def add_product(sums: torch.Tensor, given: torch.Tensor, factor: int) -> None:
        product = torch._int_mm(given.bitwise_xor(ZERO).view(torch.int8), turned)
        sums.addcmul_(product.float(), scale, value=factor)

    return add_product


def _has_onednn_int8() -> bool:
    """Whether torch's way to oneDNN's integers is there and right; without VNNI its sums of bytes can overflow."""
    if not _knows("avx512_vnni", "avx_vnni"):
        return False
    weight = torch.full((16, 64), 127, dtype=torch.int8)
    given = torch.full((3, 64), 255, dtype=torch.uint8)
    sums = torch.ones(3, 16)
    try:
        _by_onednn(weight, torch.ones(16))(sums, given, HALF)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return bool((sums == 1 + HALF * 64 * 127 * 127).all())


def _largest(rows: torch.Tensor) -> torch.Tensor:
    """The largest absolute value of each row, [rows, 1], and never 0."""
    return torch.maximum(rows.amax(1, keepdim=True), rows.amin(1, keepdim=True).neg_()).clamp_min_(1e-12)

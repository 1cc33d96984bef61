"""Linear layers that a CPU computes quickly: in 32-bit or 16-bit floats, by oneDNN.

Nearly all the time of an encoder on a CPU is its linear layers. torch gives them to MKL, which on a processor that is
not Intel's leaves half of its width unused; oneDNN, which torch brings along too, computes the same 2.3 times as fast
there (measured on an AMD EPYC with AVX-512, with torch 2.13; equal to 4e-6). Processors that multiply bfloat16 take 1.9
times as many of them as of 32-bit floats.

8-bit integers are not offered. In pairs a second of the zero-shot teacher, one thread, a random XLM-R of base size
(benchmarks/RESULTS.md): 32 bits 18.4, bfloat16 62.2, 8 bits by torch 37.5, by onnxruntime 16.3; tsirius-mini: 379, 725,
397, 293. Where bfloat16 is multiplied it is faster; where only 8 bits are (VNNI), they gain 13 % at base size.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from tsirius.errors import UserError

Kind = Callable[[torch.nn.Linear], torch.nn.Module]

OPERATIONS = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
"""What is used of ``torch.ops.mkldnn``."""
SIDE_BY_SIDE = ("query", "key", "value")
"""Layers of one module that are given the same."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""As malloc.h numbers them."""


def packed(model: Any, *, half: bool = False) -> Any:
    """Let oneDNN compute the linear layers of ``model.base_model``, in place, where torch has it. Returns ``model``.

    Args:
        model: a transformers model in 32-bit floats on the CPU; afterwards it can score, not be trained.
        half: multiply in bfloat16 where the processor does so itself, else in 32-bit floats; what passes between the
            layers keeps its 32 bits.
    """
    if not (has_onednn() and onednn_is_right()):
        return model
    return _replaced(model, partial(PackedLinear, dtype=torch.bfloat16 if half and has_bfloat16() else torch.float32))


def _replaced(model: Any, kind: Kind) -> Any:
    _keep_memory()
    for parent in list(model.base_model.modules()):
        linear = {name: layer for name, layer in parent.named_children() if type(layer) is torch.nn.Linear}
        replaced: dict[str, torch.nn.Module] = {}
        if linear.keys() >= set(SIDE_BY_SIDE) and len({linear[name].in_features for name in SIDE_BY_SIDE}) == 1:
            replaced = _side_by_side({name: linear.pop(name) for name in SIDE_BY_SIDE}, kind)
        replaced |= {name: kind(layer) for name, layer in linear.items()}
        for name, layer in replaced.items():
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
    return {name: _Part(shared, index) for index, name in enumerate(layers)}


class _Shared:
    """The outcome of a layer, kept until the last of its parts has been taken, or something else is given.

    What is kept is one tuple, read once: threads that share the model never get each other's.
    """

    def __init__(self, whole: torch.nn.Module, sizes: Sequence[int]) -> None:
        self.whole, self.sizes = whole, list(sizes)
        self.kept: tuple[torch.Tensor, Sequence[torch.Tensor]] | None = None

    def take(self, given: torch.Tensor, index: int) -> torch.Tensor:
        kept = self.kept
        if kept is None or kept[0] is not given:
            kept = given, self.whole(given).split(self.sizes, -1)
        self.kept = kept if index + 1 < len(self.sizes) else None
        return kept[1][index]


class _Part(torch.nn.Module):
    def __init__(self, shared: _Shared, index: int) -> None:
        super().__init__()
        self.shared, self.index = shared, index

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return self.shared.take(given, self.index)


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself (emulated it is slower than 32 bits), and oneDNN may do so."""
    return _knows("avx512_bf16", "amx_bf16") and takes_bfloat16()


def takes_bfloat16() -> bool:
    """Whether oneDNN takes bfloat16 on this processor at all: it needs AVX-512 (BW, VL, DQ) or AVX-NE-CONVERT."""
    return has_onednn() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _knows(*instructions: str) -> bool:
    """Whether the processor has one of these; torch before 2.10 cannot tell."""
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(known.get(name) for name in instructions)


def has_onednn() -> bool:
    """Whether torch's own operations of oneDNN, which have no public name, are there. Says nothing of their results."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return False
    return all(hasattr(torch.ops.mkldnn, name) for name in OPERATIONS)


def onednn_is_right() -> bool:
    """Whether these operations take what they are given here, and compute what torch does."""
    layer = torch.nn.Linear(16, 8)
    given = torch.arange(48, dtype=torch.float32).reshape(3, 16) / 48
    try:
        with torch.inference_mode():
            return torch.allclose(PackedLinear(layer)(given), layer(given), atol=1e-5)
    except (RuntimeError, TypeError):  # another version's arguments
        return False


class PackedLinear(torch.nn.Module):
    """What ``layer`` computes, by oneDNN, from weights in the order that it likes best.

    Args:
        layer: the layer.
        dtype: what is multiplied; sums and the outcome have 32 bits. bfloat16 is off by about half a percent.

    Raises:
        UserError: bfloat16 on a processor that oneDNN does not take it on, see :func:`takes_bfloat16`.
    """

    def __init__(self, layer: torch.nn.Linear, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        if dtype == torch.bfloat16 and not takes_bfloat16():
            raise UserError("this processor cannot multiply 16-bit floats (bfloat16)", where="precision",
                            remedy="Compute in 32-bit floats: fp32.")  # fmt: skip
        self.dtype = dtype
        self.bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().to(dtype), None)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            given.to(self.dtype), self.weight, self.bias, "none", [], ""
        )
        return output.to(given.dtype)

"""Linear layers that a CPU computes quickly: in 32-bit or 16-bit floats by oneDNN, or by 8-bit integers.

Nearly all the time of an encoder on a CPU is its linear layers. torch gives them to MKL, which on a processor that is
not Intel's leaves half of its width unused; oneDNN, which torch brings along too, computes the same 2.3 times as fast
there (measured on an AMD EPYC with AVX-512, with torch 2.13; equal to 4e-6). Processors that multiply bfloat16 take 1.9
times as many of them as of 32-bit floats.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

BLOCK = 256
"""Rows at a time: what a step leaves is still in the cache when the next one takes it."""
HALF = 256
"""What the upper half of an activation counts."""
LARGEST = 127 * HALF - HALF // 2
"""The largest activation as an integer; its upper half is 127 at most."""


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


def _replaced(model: Any, kind: Callable[[torch.nn.Linear], torch.nn.Module]) -> Any:
    for parent in list(model.base_model.modules()):
        for name, layer in parent.named_children():
            if type(layer) is torch.nn.Linear:
                setattr(parent, name, kind(layer))
    return model


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself; emulated it is slower than 32 bits."""
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch before 2.10 has no such function
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


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

    weight: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        exact = layer.weight.detach().float()
        scale = _largest(exact).div_(127)
        bias = torch.zeros(layer.out_features) if layer.bias is None else layer.bias.detach().float()
        self.register_buffer("weight", exact.div(scale).round_().to(torch.int8).t().contiguous(), persistent=False)
        self.register_buffer("scale", scale.t().contiguous(), persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        rows = given.reshape(-1, given.shape[-1])
        out = torch.empty(len(rows), self.weight.shape[1])
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            scale = _largest(block).div_(LARGEST)
            whole = block.div(scale).round_().to(torch.int16)
            high = (whole + HALF // 2) >> 8
            low = whole - (high << 8)
            product = torch._int_mm(high.to(torch.int8), self.weight).float().mul_(HALF)
            product.add_(torch._int_mm(low.to(torch.int8), self.weight)).mul_(scale)
            torch.addcmul(self.bias, product, self.scale, out=out[start : start + BLOCK])
        return out.reshape(*given.shape[:-1], -1)


def _largest(rows: torch.Tensor) -> torch.Tensor:
    """The largest absolute value of each row, [rows, 1], and never 0."""
    return torch.maximum(rows.amax(1, keepdim=True), rows.amin(1, keepdim=True).neg_()).clamp_min_(1e-12)

"""peft's LoRA layers, computed with fewer kernels: what peft holds, trains and saves stays as it is.

Linear layers that read the same states (query, key and value) become one product with the frozen weights and one with
the first halves of the adapters; each input is cast and dropped out once, and the scale and the sum are part of the
second half's product. peft's own layers do each of it for each layer on its own.

Hu et al. 2021, "LoRA" (arXiv 2106.09685).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn import functional

TOGETHER = (("query", "key", "value"), ("q_proj", "k_proj", "v_proj"), ("query_proj", "key_proj", "value_proj"))
"""Names of layers beside one another in an attention that read the same states."""


@contextlib.contextmanager
def shortened(model: Any, *, when: bool) -> Iterator[None]:
    """Within this, the LoRA layers of a peft model are computed so; parameters keep their names, shapes and places.

    The frozen weights of layers that are taken together become parts of one table, and stay so: enter it when the model
    is on its device.

    Args:
        model: with or without adapters.
        when: whether at all.
    """
    layers = [layer for group in (_groups(model) if when else ()) for layer in _Group(group).layers]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class's own is seen again


def _groups(model: Any) -> Iterator[list[Any]]:
    """LoRA layers that are computed together."""
    taken: set[int] = set()
    for part in list(model.modules()):
        children = dict(part.named_children())
        for names in TOGETHER:
            layers = [children.get(name) for name in names]
            if all(layer is not None and _plain(layer) for layer in layers) and _alike(layers):
                taken.update(map(id, layers))
                yield layers
    for part in list(model.modules()):
        if _plain(part) and id(part) not in taken:
            yield [part]


def _plain(layer: Any) -> bool:
    """Whether it is a linear layer with one adapter of the plain kind."""
    from peft.tuners.lora import Linear

    return (
        isinstance(layer, Linear)
        and type(layer.base_layer) is torch.nn.Linear
        and len(layer.lora_A) == 1
        and not layer.lora_variant
        and not layer.lora_bias[layer.active_adapters[0]]
    )


def _alike(layers: Sequence[Any]) -> bool:
    first = layers[0].base_layer
    return all(
        layer.in_features == layers[0].in_features
        and layer.base_layer.weight.dtype == first.weight.dtype
        and (layer.base_layer.bias is None) == (first.bias is None)
        and _rate(layer) == _rate(layers[0])
        for layer in layers
    )


def _rate(layer: Any) -> float:
    """Of the dropout before the adapter."""
    return float(getattr(layer.lora_dropout[layer.active_adapters[0]], "p", 0.0))


class _Product(torch.autograd.Function):
    """Layers side by side: x Wᵀ + b + s (d Aᵀ) Bᵀ with x dropped out as d, each sum part of a product.

    What autograd would make of the same keeps x beside d, copies every sum before it adds to it, and adds up the
    gradient of x in a pass of its own.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        rate: float,
        scales: Sequence[float],
        *halves: torch.Tensor,
    ) -> torch.Tensor:
        """[N, in] → [N, out of all layers]; ``halves``: every layer's A, [r, in], then every layer's B, [out, r]."""
        firsts, seconds = halves[: len(scales)], halves[len(scales) :]
        dropped, kept = torch.native_dropout(states, rate, True) if rate else (states, None)
        table = (firsts[0] if len(firsts) == 1 else torch.cat(firsts)).to(states.dtype)
        scaled = [second.to(states.dtype) * scale for second, scale in zip(seconds, scales, strict=True)]
        inner = dropped @ table.t()
        result = functional.linear(states, weight, bias)
        columns = zip(_split(result, seconds), _split(inner, firsts), scaled, strict=True)
        for part, own, second in columns:
            part.addmm_(own, second.t())
        ctx.rate, ctx.scales, ctx.halves = rate, scales, halves
        ctx.save_for_backward(dropped, kept, inner, weight, table, *scaled)
        return result

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        """The gradients of the states and of every half; the frozen weights have none."""
        dropped, kept, inner, weight, table, *scaled = ctx.saved_tensors
        firsts, seconds = ctx.halves[: len(ctx.scales)], ctx.halves[len(ctx.scales) :]
        parts = _split(grad, seconds)
        back = torch.empty_like(inner)
        for own, part, second in zip(_split(back, firsts), parts, scaled, strict=True):
            torch.mm(part, second, out=own)
        of_firsts = (back.t() @ dropped).float().split([len(first) for first in firsts])
        of_seconds = [
            (part.t() @ own).float() * scale
            for part, own, scale in zip(parts, _split(inner, firsts), ctx.scales, strict=True)
        ]
        of_states = None
        if ctx.needs_input_grad[0]:
            of_states = grad @ weight
            if kept is None:
                of_states.addmm_(back, table)
            else:
                of_states.addcmul_(back @ table, kept, value=1 / (1 - ctx.rate))
        return of_states, None, None, None, None, *of_firsts, *of_seconds


def _split(table: torch.Tensor, rows_of: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    """The columns of ``table`` that belong to each: as many as it has rows."""
    return torch.split(table, [len(one) for one in rows_of], dim=1)


class _Group:
    """Layers that read the same states; the first that is called computes for all."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self.layers, self.name = layers, layers[0].active_adapters[0]
        self.sizes = [layer.base_layer.out_features for layer in layers]
        self.weight, self.bias = layers[0].base_layer.weight, layers[0].base_layer.bias
        if len(layers) > 1:
            self.weight = _one_table([layer.base_layer.weight for layer in layers])
            if self.bias is not None:
                self.bias = _one_table([layer.base_layer.bias for layer in layers])
        self.scales = [float(layer.scaling[self.name]) for layer in layers]
        self.read: Any = None
        self.waiting: dict[int, torch.Tensor] = {}
        for number, layer in enumerate(layers):
            # An attribute goes before the class's method, and is no part of what is saved.
            layer.forward = _forward(self, number, layer.forward)

    def result(self, number: int, states: torch.Tensor) -> torch.Tensor:
        """What layer ``number`` makes of ``states``, [..., in] → [..., out]."""
        if self.read is not states or number not in self.waiting:
            self.waiting, self.read = dict(enumerate(self._all(states))), states
        result = self.waiting.pop(number)
        if not self.waiting:
            self.read = None
        return result

    def _all(self, states: torch.Tensor) -> list[torch.Tensor]:
        kind, first = self._kind(states), self.layers[0]
        rate = _rate(first) if first.training else 0.0
        halves = [layer.lora_A[self.name].weight for layer in self.layers]
        others = [layer.lora_B[self.name].weight for layer in self.layers]
        with torch.autocast(states.device.type, enabled=False):
            bias = None if self.bias is None else self.bias.to(kind)
            given = states.to(kind).flatten(0, -2)
            made = _Product.apply(given, self.weight.to(kind), bias, rate, self.scales, *halves, *others)  # type: ignore[no-untyped-call]
        return [part.unflatten(0, states.shape[:-1]) for part in made.split(self.sizes, dim=1)]

    def _kind(self, states: torch.Tensor) -> torch.dtype:
        """The floats to compute in: autocast's where it is on."""
        device = states.device.type
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.weight.dtype


def _forward(group: _Group, number: int, plain: Any) -> Any:
    def forward(states: torch.Tensor, *args: Any, **named: Any) -> torch.Tensor:
        layer = group.layers[number]
        if args or named or layer.disable_adapters or layer.merged:
            other: torch.Tensor = plain(states, *args, **named)
            return other
        return group.result(number, states)

    return forward


def _one_table(parts: Sequence[torch.nn.Parameter]) -> torch.Tensor:
    """Frozen parameters in one table, of which each is a part from now on: none is held twice."""
    table = torch.cat([part.data for part in parts])
    for part, piece in zip(parts, torch.split(table, [len(part) for part in parts]), strict=True):
        part.data = piece
    return table

"""The layers of BERT-like encoders, trained with fewer kernels and fewer copies: what is held, trained and saved stays
as it is.

Each layer is one step of autograd whose backward pass is written out. Its weights lie in 16-bit tables that products
read as they are: those of query, key and value below one another, the second halves of adapters beside the frozen
weights, so that a layer and its adapters are one product. What is trained stays in 32 bits; :meth:`Layers.refresh`
copies it into the tables after a step of the optimiser, in place of a cast for each use. What lies between the products
is in :mod:`tsirius.models.kernels`.

Hu et al. 2021, "LoRA" (arXiv 2106.09685).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn import functional

from tsirius.models import kernels, lora
from tsirius.models.kernels import NONE, Dropout

KINDS = ("BertLayer", "RobertaLayer", "XLMRobertaLayer", "CamembertLayer", "ElectraLayer")
"""Classes of transformers whose layers are alike: normalisation after each sum, GELU between two linear layers."""
SITES = 6
"""Dropouts of a layer, without that of attention, which draws its own."""
ALIGNED = 8
"""The ranks beside a table are filled up to a multiple of this: a GPU's matrix units read so many numbers at once."""


@contextlib.contextmanager
def shortened(model: Any, *, half: torch.dtype | None, when: bool) -> Iterator[Layers | None]:
    """Within this, the layers of a model are computed so, where they are of :data:`KINDS`; else its LoRA layers as in
    :mod:`tsirius.models.lora`. Enter it when the model is on its device, with the weights that training begins with.

    Args:
        model: from :func:`tsirius.models.adapters.build`.
        half: the 16-bit floats to compute in; None: as the weights are.
        when: whether at all.

    Yields:
        What is to be refreshed after each step of the optimiser; None: nothing is.
    """
    found = _found(model) if when else []
    if not found:
        with lora.shortened(model, when=when):
            yield None
        return
    held = Layers(model, found, half=half)
    try:
        yield held
    finally:
        held.release()


def _found(model: Any) -> list[Any]:
    """The layers of the model, where all of them can be computed so."""
    parts = [part for part in model.modules() if type(part).__name__ in KINDS]
    on_card = any(part.is_cuda for part in model.parameters())
    if not parts or (on_card and kernels.reason() is not None):
        return []
    return parts if all(_alike(part) for part in parts) else []


def _alike(part: Any) -> bool:
    """Whether a layer has what is known of its class, one adapter of the plain kind in each linear layer or none."""
    from transformers.activations import GELUActivation

    act = part.intermediate.intermediate_act_fn
    exact = type(act) is torch.nn.GELU and act.approximate == "none"
    if type(act) is GELUActivation:
        exact = act.act is functional.gelu
    own = part.attention.self
    if not exact or part.is_decoder or part.add_cross_attention or own.config._attn_implementation != "sdpa":
        return False
    groups = _linear(part)
    kinds = {lora._plain(layer) for group in groups for layer in group}
    if kinds == {True}:
        return all(
            lora._alike(group) and layer.base_layer.bias is not None and not layer.base_layer.weight.requires_grad
            for group in groups
            for layer in group
        )
    return kinds == {False} and all(
        type(layer) is torch.nn.Linear and layer.bias is not None and _trained(layer)
        for group in groups
        for layer in group
    )


def _trained(layer: torch.nn.Module) -> bool:
    return all(one.requires_grad for one in layer.parameters())


def _rows_alone(words: Any) -> bool:
    """Whether a table of words is trained, and the gradient of its rows is all there is to it."""
    plain = type(words) is torch.nn.Embedding and words.max_norm is None and not words.scale_grad_by_freq
    return plain and _trained(words)


def _linear(part: Any) -> list[list[Any]]:
    """The linear layers of a layer in the order in which they come, those together that read the same states."""
    own = part.attention.self
    return [
        [own.query, own.key, own.value],
        [part.attention.output.dense],
        [part.intermediate.dense],
        [part.output.dense],
    ]


class Layers:
    """A model's layers while it is trained.

    Args:
        model: with layers of :data:`KINDS`.
        parts: these layers.
        half: see :func:`shortened`.

    Attributes:
        copies: parts of the tables that products read, and the parameters that they are copies of.
    """

    def __init__(self, model: Any, parts: Sequence[Any], *, half: torch.dtype | None) -> None:
        self._parts, self._pass = parts, Pass(len(parts))
        self._layers = [Layer(part, self._pass, number, half=half) for number, part in enumerate(parts)]
        for one, following in zip(self._layers, [*self._layers[1:], None], strict=True):
            one.room = 0 if following is None else following.denses[0].ranks
        self._words: Any = model.get_input_embeddings()
        self.copies = [pair for one in self._layers for dense in one.denses for pair in dense.copies]
        # Many in one kernel, where all of a list lie in one piece each.
        whole = [[pair for pair in self.copies if pair[0].is_contiguous() == kind] for kind in (True, False)]
        self._lists = [([mine for mine, _ in part], [theirs for _, theirs in part]) for part in whole if part]
        self._hook = model.register_forward_pre_hook(lambda *_: self._pass.begin(model))
        for part, one in zip(parts, self._layers, strict=True):
            # An attribute goes before the class's method, and is no part of what is saved.
            part.forward = one.forward
        self.refresh()

    def refresh(self) -> None:
        """Copy what is trained into the tables that products read."""
        with torch.no_grad():
            for mine, theirs in self._lists:
                torch._foreach_copy_(mine, theirs)

    def gather(self) -> None:
        """Let gradients stay where they are from one step to the next, as graphs want it: set to 0, never to None."""
        for one in self._layers:
            for dense in one.denses:
                dense.gather()
        words = self._words
        if _rows_alone(words):
            words.weight.grad = torch.zeros_like(words.weight)
            words.forward = lambda ids: _Words.apply(ids, words.weight, words.padding_idx)  # type: ignore[no-untyped-call]

    def release(self) -> None:
        """Leave the model as it was, with what it has learned."""
        self._hook.remove()
        vars(self._words).pop("forward", None)
        for part, one in zip(self._parts, self._layers, strict=True):
            del part.forward  # the class's own is seen again
            for dense in one.denses:
                dense.release()
                dense.grads = None


class Pass:
    """What the layers share in one pass through the model.

    Attributes:
        states: what a layer gave last.
        room: the table in whose first columns that is; the next layer writes beside it.
    """

    def __init__(self, layers: int) -> None:
        self._count = layers * SITES
        self._seeds: torch.Tensor | None = None
        self._mask: tuple[Any, Any] = (None, None)
        self.states: Any = None
        self.room: Any = None

    def begin(self, model: Any) -> None:
        """Draw the seeds of all dropouts; without training there is none."""
        self._seeds, self._mask, self.states, self.room = None, (None, None), None, None
        if model.training:
            where = next(model.parameters()).device
            self._seeds = torch.randint(-(2**31), 2**31, (self._count, 2), dtype=torch.int32, device=where)

    def dropout(self, layer: int, site: int, rate: float) -> Dropout:
        """The dropout at a place; none where nothing was drawn."""
        if self._seeds is None or not rate:
            return NONE
        return Dropout(rate, self._seeds[layer * SITES + site])

    def mask(self, mask: torch.Tensor | None, kind: torch.dtype) -> torch.Tensor | None:
        """A mask of attention as numbers to add to its scores: made once for all layers."""
        if mask is None or mask.dtype != torch.bool:
            return mask
        if self._mask[0] is not mask:
            added = torch.zeros(mask.shape, dtype=kind, device=mask.device)
            self._mask = (mask, added.masked_fill_(~mask, float("-inf")))
        return self._mask[1]  # type: ignore[no-any-return]


class Dense:
    """Linear layers that read the same states, with their adapters: one product.

    Args:
        parts: linear layers that are trained, or peft's around frozen ones.
        half: see :func:`shortened`.

    Attributes:
        table: weights below one another, and beside them the second halves of the adapters, [out, in + R].
        firsts: first halves of the adapters below one another, [R, in].
        ranks: R, of all adapters, filled up to a multiple of :data:`ALIGNED`; without adapters 0.
        trained: the parameters that gradients are of: all first halves, then all second ones; or weights, then biases.
        copies: parts of the tables and the parameters that they are copies of.
        rate: of the dropout before the adapters.
        grads: of the weights, [out, in], see :meth:`gather`.
    """

    def __init__(self, parts: Sequence[Any], *, half: torch.dtype | None) -> None:
        self.adapted = lora._plain(parts[0])
        self._bases = [part.base_layer if self.adapted else part for part in parts]
        first = self._bases[0]
        self.width, kind, where = first.in_features, half or first.weight.dtype, first.weight.device
        self.outs = [base.out_features for base in self._bases]
        self.rate, self.scale, self._ranks = 0.0, 1.0, list[int]()
        self.grads: torch.Tensor | None = None
        firsts, seconds = [base.weight for base in self._bases], [base.bias for base in self._bases]
        if self.adapted:
            name = parts[0].active_adapters[0]
            firsts = [part.lora_A[name].weight for part in parts]
            seconds = [part.lora_B[name].weight for part in parts]
            self.rate, self.scale = lora._rate(parts[0]), float(parts[0].scaling[name])
            self._ranks = [len(one) for one in firsts]
        self.trained = [*firsts, *seconds]
        self.ranks = -(-sum(self._ranks) // ALIGNED) * ALIGNED
        self.table = torch.zeros(sum(self.outs), self.width + self.ranks, dtype=kind, device=where)
        self.firsts = torch.zeros(self.ranks, self.width, dtype=kind, device=where)
        self.bias = torch.cat([base.bias.detach().to(kind) for base in self._bases])
        weights = torch.split(self.table[:, : self.width], self.outs)
        if self.adapted:
            for base, mine in zip(self._bases, weights, strict=True):
                mine.copy_(base.weight.data)
                base.weight.data = mine  # none is held twice
            self.copies = list(zip(self._of_ranks(self.firsts), firsts, strict=False))
            self.copies += list(zip(self._of_seconds(self.table[:, self.width :]), seconds, strict=True))
        else:
            self.copies = list(zip(weights, firsts, strict=True))
            self.copies += list(zip(torch.split(self.bias, self.outs), seconds, strict=True))

    def _of_ranks(self, table: torch.Tensor) -> list[torch.Tensor]:
        """The rows of each adapter, of a table [R, …]."""
        return list(torch.split(table[: sum(self._ranks)], self._ranks))

    def _of_seconds(self, table: torch.Tensor) -> list[torch.Tensor]:
        """The block of each layer with its own adapter, of a table [out, R]."""
        rows = torch.split(table, self.outs)
        return [block.t() for part, row in zip(range(len(rows)), rows, strict=True)
                for block in [self._of_ranks(row.t())[part]]]  # fmt: skip

    def gather(self) -> None:
        """Let the gradients of trained weights be parts of one table, to which their products are added."""
        if not self.adapted:
            self.grads = torch.zeros(sum(self.outs), self.width, device=self.table.device)
            for base, mine in zip(self._bases, torch.split(self.grads, self.outs), strict=True):
                base.weight.grad = mine

    def release(self) -> None:
        """Give the frozen weights back their own memory."""
        if self.adapted:
            for base in self._bases:
                base.weight.data = base.weight.data.contiguous()

    def room(self, rows: int) -> torch.Tensor:
        """A table for states and what the first halves make of them, [N, in + R]."""
        return torch.empty(rows, self.width + self.ranks, dtype=self.table.dtype, device=self.table.device)

    def entered(self, states: torch.Tensor, drop: Dropout) -> torch.Tensor:
        """``states`` [N, in] and what the first halves make of them; without adapters the states themselves."""
        if not self.ranks:
            return states.to(self.table.dtype)
        room = self.room(len(states))
        self.enter(states, room, drop, how="copy")
        return room

    def enter(self, states: torch.Tensor, room: torch.Tensor, drop: Dropout, *, how: str) -> None:
        """Fill ``room`` from ``states``, see :func:`tsirius.models.kernels.enter`."""
        if self.ranks:
            kernels.enter(states, self.firsts, self.scale, drop, room, how=how)
        elif how == "gelu":
            torch.ops.aten.gelu.out(states, out=room)

    def product(self, room: torch.Tensor) -> torch.Tensor:
        """What the layers make of the states, [N, out]."""
        return functional.linear(room, self.table, self.bias)

    def back(
        self, grad: torch.Tensor, room: torch.Tensor, drop: Dropout,
        *, wanted: bool, other: torch.Tensor | None = None, before: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor | None, list[torch.Tensor | None]]:  # fmt: skip
        """The gradients of the states, [N, in], and of :attr:`trained`; of those that have one already None: it is
        added to that.

        Args:
            grad: of the product, [N, out].
            room: as it was filled.
            drop: as it was.
            wanted: whether the gradient of the states is.
            other: is added to it.
            before: the states, where GELU of them was taken.
        """
        if not self.ranks:
            of_states = None
            if wanted:
                of_states = grad @ self.table if other is None else torch.addmm(other, grad, self.table)
                if before is not None:
                    of_states = torch.ops.aten.gelu_backward(of_states, before)
            of_biases = torch.split(kernels.column_sums(grad), self.outs)
            if self.grads is None:
                return of_states, [*torch.split(grad.t() @ room, self.outs), *of_biases]
            kernels.add_product(self.grads, grad.t(), room)
            return of_states, [*(None for _ in self.outs), *of_biases]
        through = grad @ (self.table if wanted else self.table[:, self.width :])
        back = through[:, through.shape[1] - self.ranks :]
        of_firsts = self._of_ranks(kernels.firsts_back(room, back, self.scale, drop))
        parts, inner = torch.split(grad, self.outs, dim=1), self._of_ranks(room[:, self.width :].t())
        seconds = self.trained[len(parts) :]
        of_seconds = [_added(*one) for one in zip(seconds, [part.t() for part in parts], [own.t() for own in inner],
                                                  strict=True)]  # fmt: skip
        of_states = None
        if wanted:
            of_states = kernels.join(
                through[:, : self.width], back, self.firsts, self.scale, drop, other=other, before=before
            )
        return of_states, [*of_firsts, *of_seconds]


def _added(trained: torch.Tensor, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor | None:
    """Add a product to a parameter's gradient; where it has none, give the product."""
    if trained.grad is None:
        return one @ other
    kernels.add_product(trained.grad, one, other)
    return None


class _Words(torch.autograd.Function):
    """Rows of a table of words, whose gradient has one: only the rows that were read are added to."""

    @staticmethod
    def forward(ctx: Any, ids: torch.Tensor, table: torch.Tensor, skipped: int | None) -> torch.Tensor:
        ctx.ids, ctx.table, ctx.skipped = ids, table, skipped
        return functional.embedding(ids, table)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        kernels.add_rows(ctx.table.grad, ctx.ids.flatten(), grad.flatten(0, -2), skipped=ctx.skipped)
        return None, None, None


class Layer:
    """One layer of an encoder.

    Args:
        part: of transformers.
        shared: what the layers share.
        number: which it is.
        half: see :func:`shortened`.

    Attributes:
        room: columns that the next layer needs beside the states.
    """

    def __init__(self, part: Any, shared: Pass, number: int, *, half: torch.dtype | None) -> None:
        self.denses = [Dense(group, half=half) for group in _linear(part)]
        self.norms = [part.attention.output.LayerNorm, part.output.LayerNorm]
        self.heads = part.attention.self.num_attention_heads
        self.shared, self.number, self.room = shared, number, 0
        self._part = part
        self.trained_norms = self.norms[0].weight.requires_grad
        self._trained = [one for dense in self.denses for one in dense.trained]
        if self.trained_norms:
            self._trained += [one for norm in self.norms for one in (norm.weight, norm.bias)]

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *others: Any, **named: Any
    ) -> Any:
        """In place of the class's own."""
        mask = self.shared.mask(attention_mask, self.denses[0].table.dtype)
        result = _Layer.apply(hidden_states, mask, self, *self._trained)  # type: ignore[no-untyped-call]
        # The last one's would hold its own graph alive.
        self.shared.states = result if self.room else None
        return result

    def dropouts(self) -> list[Dropout]:
        """Before the four products' adapters, then before the two sums."""
        rates = [dense.rate for dense in self.denses]
        rates += [self._part.attention.output.dropout.p, self._part.output.dropout.p]
        return [self.shared.dropout(self.number, site, rate) for site, rate in enumerate(rates)]

    def apart(self, product: torch.Tensor, shape: torch.Size) -> Sequence[torch.Tensor]:
        """Queries, keys and values beside one another, [N, 3 W] → each [B, heads, L, width of one]."""
        return product.view(*shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)

    def attention(self, parts: Sequence[torch.Tensor], mask: torch.Tensor | None) -> torch.Tensor:
        """What is seen by attention, [B, L, heads, width of one]."""
        rate = self._part.attention.self.dropout.p if self._part.training else 0.0
        query, key, value = parts
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate)
        return seen.transpose(1, 2)

    def norm(self, number: int) -> tuple[torch.Tensor, torch.Tensor, float]:
        norm = self.norms[number]
        return norm.weight, norm.bias, norm.eps

    def next_room(self, rows: int) -> torch.Tensor:
        """Takes the result, and beside it what the next layer makes of it."""
        table = self.denses[0].table
        return torch.empty(rows, self.denses[0].width + self.room, dtype=table.dtype, device=table.device)


class _Layer(torch.autograd.Function):
    """A layer's states after it, [B, L, W], and the gradients of all that is trained in it."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, mask: torch.Tensor | None, layer: Layer, *trained: Any) -> torch.Tensor:
        with torch.autocast(states.device.type, enabled=False):
            return _forward(ctx, states, mask, layer)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        with torch.autocast(grad.device.type, enabled=False):
            return _backward(ctx, grad)


def _forward(ctx: Any, states: torch.Tensor, mask: torch.Tensor | None, layer: Layer) -> torch.Tensor:
    together, attended, inner, outer = layer.denses
    drops, shape = layer.dropouts(), states.shape
    width, rows = shape[-1], shape[0] * shape[1]
    if layer.shared.states is states and layer.shared.room is not None:
        first = layer.shared.room
        together.enter(first[:, :width], first, drops[0], how="there")
    else:
        first = together.entered(states.reshape(rows, width), drops[0])
    needed = any(ctx.needs_input_grad)
    leaves = [part.requires_grad_(needed) for part in layer.apart(together.product(first), shape)]
    with torch.set_grad_enabled(needed):
        seen = layer.attention(leaves, mask)
    second = attended.entered(seen.detach().reshape(rows, width), drops[1])
    raw = attended.product(second)
    third = inner.room(rows)
    means = kernels.add_norm(raw, first[:, :width], layer.norm(0), drops[4], third[:, :width])
    inner.enter(third[:, :width], third, drops[2], how="there")
    wide = inner.product(third)
    fourth = outer.room(rows)
    outer.enter(wide, fourth, drops[3], how="gelu")
    raw_again = outer.product(fourth)
    last = layer.next_room(rows)
    means_again = kernels.add_norm(raw_again, third[:, :width], layer.norm(1), drops[5], last[:, :width])
    layer.shared.room = last if layer.room else None
    if needed:
        ctx.layer, ctx.drops, ctx.shape, ctx.attention = layer, drops, shape, (leaves, seen)
        ctx.save_for_backward(first, second, raw, third, wide, fourth, raw_again, *means, *means_again)
    return last[:, :width].view(shape)


def _backward(ctx: Any, grad: torch.Tensor) -> Any:
    first, second, raw, third, wide, fourth, raw_again, *found = ctx.saved_tensors
    layer, drops, shape = ctx.layer, ctx.drops, ctx.shape
    (leaves, seen), width, trained = ctx.attention, shape[-1], layer.trained_norms
    together, attended, inner, outer = layer.denses
    grad = grad.to(first.dtype).reshape(-1, width)
    kept = (raw_again, third[:, :width], *found[2:])
    beside, given, *of_norm_again = kernels.add_norm_back(grad, kept, layer.norm(1)[0], drops[5], trained=trained)
    given, of_outer = outer.back(given, fourth, drops[3], wanted=True, before=wide)
    given, of_inner = inner.back(given, third, drops[2], wanted=True, other=beside)
    kept = (raw, first[:, :width], *found[:2])
    beside, given, *of_norm = kernels.add_norm_back(given, kept, layer.norm(0)[0], drops[4], trained=trained)
    given, of_attended = attended.back(given, second, drops[1], wanted=True)
    parts = torch.autograd.grad(seen, leaves, given.view(seen.shape))
    ctx.attention = None  # what autograd does not hold for us is not freed by it
    given = torch.stack([part.transpose(1, 2) for part in parts], dim=2).view(-1, 3 * width)
    given, of_together = together.back(given, first, drops[0], wanted=ctx.needs_input_grad[0], other=beside)
    found = [*of_together, *of_attended, *of_inner, *of_outer, *(of_norm + of_norm_again if trained else ())]
    return None if given is None else given.view(shape), None, None, *found

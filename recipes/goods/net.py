"""The encoder as few kernels as can be: BERT and XLM-RoBERTa alike, 16-bit weights with 32-bit masters.

On a fast card a step of such a small model takes as long as its kernels take to be started, so queries, keys and values
are one product, there is no dropout, and no cast in the forward pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

PAD = 1


class Net(nn.Module):
    """Token ids → mean-pooled states of length 1.

    Args:
        weights: by the names of transformers' BertModel or XLMRobertaModel, without the pooler.
        heads: of attention.
        first: the position of a text's first token: 0 for BERT, 2 for XLM-RoBERTa.
        eps: of the layer norms.
    """

    def __init__(self, weights: dict[str, Any], *, heads: int, first: int, eps: float) -> None:
        super().__init__()
        self.heads, self.first, self.eps = heads, first, eps
        self.layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.layer."))
        tensors = {name: torch.as_tensor(np.asarray(value)).float() for name, value in weights.items()}
        made = {name: tensors.pop(name) for name in list(tensors) if name.startswith("embeddings.")}
        for layer in range(self.layers):
            near = f"encoder.layer.{layer}."
            for end in ("weight", "bias"):
                made[f"{near}qkv.{end}"] = torch.cat(
                    [tensors.pop(f"{near}attention.self.{part}.{end}") for part in ("query", "key", "value")]
                )
        made |= tensors
        self.names = list(made)
        self.p = nn.ParameterDict({name.replace(".", "-"): nn.Parameter(value) for name, value in made.items()})

    def weights(self) -> dict[str, torch.Tensor]:
        """By the names that they came with."""
        made = {}
        for name in self.names:
            value = self.p[name.replace(".", "-")].detach()
            if ".qkv." in name:
                near, _, end = name.rpartition("qkv.")
                for part, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                    made[f"{near}attention.self.{part}.{end}"] = third
            else:
                made[name] = value
        return made

    def states(self, tokens: torch.Tensor) -> torch.Tensor:
        """The last states, [n, width, hidden]."""
        get = lambda name: self.p[name.replace(".", "-")]  # noqa: E731
        n, width = tokens.shape
        embedded = F.embedding(tokens, get("embeddings.word_embeddings.weight")) + (
            get("embeddings.position_embeddings.weight")[self.first : self.first + width]
            + get("embeddings.token_type_embeddings.weight")[0]
        )
        hidden = embedded.shape[-1]
        x = F.layer_norm(
            embedded, (hidden,), get("embeddings.LayerNorm.weight"), get("embeddings.LayerNorm.bias"), self.eps
        )
        mask = (tokens != PAD)[:, None, None, :].expand(n, 1, width, width)
        for layer in range(self.layers):
            near = f"encoder.layer.{layer}."
            part = lambda name: (get(f"{near}{name}.weight"), get(f"{near}{name}.bias"))  # noqa: B023, E731
            q, k, v = F.linear(x, *part("qkv")).view(n, width, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
            seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(n, width, hidden)
            x = F.layer_norm(
                x + F.linear(seen, *part("attention.output.dense")),
                (hidden,),
                *part("attention.output.LayerNorm"),
                self.eps,
            )
            inner = F.linear(F.gelu(F.linear(x, *part("intermediate.dense"))), *part("output.dense"))
            x = F.layer_norm(x + inner, (hidden,), *part("output.LayerNorm"), self.eps)
        return x

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The mean of the states, padding left out, of length 1, float32."""
        states = self.states(tokens)
        kept = (tokens != PAD).unsqueeze(-1).to(states.dtype)
        return F.normalize((states * kept).sum(1).float() / kept.sum(1).float().clamp(min=1), dim=-1)


class Masters:
    """AdamW on 32-bit copies of 16-bit parameters."""

    def __init__(self, modules: list[nn.Module], *, weight_decay: float) -> None:
        self.live = [parameter for module in modules for parameter in module.parameters()]
        self.masters = [parameter.detach().float().clone().requires_grad_() for parameter in self.live]
        for master in self.masters:
            master.grad = torch.zeros_like(master)
        groups = [
            {"params": [m for m in self.masters if m.dim() > 1], "weight_decay": weight_decay},
            {"params": [m for m in self.masters if m.dim() <= 1], "weight_decay": 0.0},
        ]
        fused = self.masters[0].is_cuda
        self.optimiser = torch.optim.AdamW(groups, lr=1e-5, betas=(0.9, 0.98), eps=1e-6, fused=fused)
        with torch.no_grad():
            for parameter in self.live:
                parameter.data = parameter.data.to(torch.bfloat16) if fused else parameter.data

    def step(self, rate: float) -> None:
        """One step from the gradients of the live parameters, which are cleared."""
        with torch.no_grad():
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            torch._foreach_copy_(
                [m.grad for m in self.masters],
                [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.live],
            )
            nn.utils.clip_grad_norm_(self.masters, 1.0, foreach=True)
            self.optimiser.step()
            torch._foreach_copy_(self.live, self.masters)
        for parameter in self.live:
            parameter.grad = None

    def restore(self) -> None:
        """Put the 32-bit weights into the live parameters."""
        for parameter, master in zip(self.live, self.masters, strict=True):
            parameter.data = master.data


def train(
    modules: list[nn.Module], loss: Callable[[int], Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]], *,
    steps: int, rate: float, warmup: int, weight_decay: float, minutes: float, title: str,
) -> dict[str, Any]:  # fmt: skip
    """Warm-up and a linear fall, by steps or by the clock, whichever is further on."""
    masters = Masters(modules, weight_decay=weight_decay)
    begun, shown, step = time.monotonic(), {}, 0
    while (done := max(step / steps, (time.monotonic() - begun) / 60 / minutes)) < 1:
        figures: dict[str, torch.Tensor] = {}
        for value, part in loss(step):
            value.backward()
            figures |= part
        masters.step(rate * min((step + 1) / warmup, 1 - done + 0.01))
        step += 1
        if step % 250 == 0 or step in (5, 50):
            shown = {name: round(float(number), 4) for name, number in figures.items()}
            print(title, step, f"{time.monotonic() - begun:.0f}s", shown, flush=True)
    masters.restore()
    return {"steps": step, "minutes": round((time.monotonic() - begun) / 60, 2), **shown}


BLOCK = 32


def save(weights: dict[str, torch.Tensor], file: Path) -> None:
    """Weights in blocks of 8 bits with a 16-bit scale, vectors in 16 bits."""
    made = {}
    for name, value in weights.items():
        array = value.detach().float().cpu().numpy()
        if array.ndim > 1 and array.size % BLOCK == 0:
            blocks = array.reshape(-1, BLOCK)
            scales = np.abs(blocks).max(1) / 127 + 1e-12
            made[f"{name}|q"] = np.round(blocks / scales[:, None]).astype(np.int8)
            made[f"{name}|s"] = scales.astype(np.float16)
            made[f"{name}|n"] = np.array(array.shape)
        else:
            made[name] = array.astype(np.float16)
    np.savez(file, **made)


def load(file: Path) -> dict[str, Any]:
    """What :func:`save` wrote, whole or in pieces (``<file>.0``, …), float32."""
    import io

    pieces = [file] if file.exists() else sorted(file.parent.glob(f"{file.name}.[0-9]"))
    arrays = np.load(io.BytesIO(b"".join(piece.read_bytes() for piece in pieces)))
    made = {}
    for name in arrays.files:
        if name.endswith("|q"):
            bare = name[:-2]
            made[bare] = (arrays[name].astype(np.float32) * arrays[f"{bare}|s"].astype(np.float32)[:, None]).reshape(
                arrays[f"{bare}|n"]
            )
        elif "|" not in name:
            made[name] = arrays[name].astype(np.float32)
    return made

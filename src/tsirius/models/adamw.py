"""AdamW over all parameters in one kernel, which also writes the 16-bit copies that products read.

torch's fused optimiser takes some tens of launches, none of which keeps a GPU's memory busy, and the copies are read
and written once more after it. The state is that of torch's optimiser: checkpoints are the same.

Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization" (arXiv 1711.05101).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tsirius.models import kernels

Pairs = Sequence[tuple[torch.Tensor, torch.Tensor]]

CHUNK = 1024
"""Numbers of a program: with four a thread, enough programs share a processor for loads to overlap."""
LARGEST = 2**31
"""Numbers of a parameter: places are 32-bit integers."""


def fits(optimiser: Any) -> bool:
    """Whether its steps can be taken so: AdamW of 32-bit parameters that lie in one piece, on a GPU with Triton."""
    first = optimiser.param_groups[0]
    return (
        type(optimiser) is torch.optim.AdamW
        and bool(optimiser.defaults["capturable"])
        and kernels.reason() is None
        and not any(group["amsgrad"] or group["maximize"] for group in optimiser.param_groups)
        and all(group["betas"] == first["betas"] and group["eps"] == first["eps"] for group in optimiser.param_groups)
        and all(
            part.dtype == torch.float32
            and part.numel() < LARGEST
            and part.is_contiguous()
            and part.grad is not None
            and part.grad.is_contiguous()
            for group in optimiser.param_groups
            for part in group["params"]
        )
    )


class AdamW:
    """Takes the steps of an optimiser that :func:`fits`. Its parameters, their gradients and its state must stay where
    they are.

    Args:
        optimiser: of parameters that have gradients.
        copies: 16-bit tables, and the parameters that they are copies of.
    """

    def __init__(self, optimiser: Any, copies: Pairs) -> None:
        self._groups = optimiser.param_groups
        copy_of = {id(theirs): mine for mine, theirs in copies}
        pointers, layout, chunks, self._steps = list[list[int]](), list[list[int]](), list[list[int]](), list[Any]()
        for number, group in enumerate(self._groups):
            for part in group["params"]:
                state = _state(optimiser, part)
                copy = copy_of.get(id(part))
                columns = part.shape[-1] if copy is not None and copy.dim() > 1 else part.numel()
                row = copy.stride(0) if copy is not None and copy.dim() > 1 else columns
                chunks += [[len(pointers), chunk] for chunk in range(-(-part.numel() // CHUNK))]
                moments = state["exp_avg"].data_ptr(), state["exp_avg_sq"].data_ptr()
                there = 0 if copy is None else copy.data_ptr()
                pointers.append([part.data_ptr(), part.grad.data_ptr(), *moments, there])
                layout.append([part.numel(), columns, row, number])
                self._steps.append(state["step"])
        where = self._steps[0].device
        self._tables = [torch.tensor(table, device=where) for table in (pointers, layout, chunks)]
        self._decays = torch.tensor([group["weight_decay"] for group in self._groups], device=where)
        self._betas = torch.tensor(self._groups[0]["betas"], dtype=torch.float64, device=where)
        self._one = torch.ones((), device=where)
        self._kind = copies[0][0].dtype if copies else torch.bfloat16

    def step(self, divisor: torch.Tensor | None) -> None:
        """Take a step.

        Args:
            divisor: of the gradients; None: 1.
        """
        from tsirius.models import triton_kernels

        torch._foreach_add_(self._steps, 1)
        found = (1 - self._betas ** self._steps[0].double()).float()
        rates = torch.stack([group["lr"] for group in self._groups])
        (first, second), epsilon = self._groups[0]["betas"], self._groups[0]["eps"]
        triton_kernels.adamw(  # type: ignore[no-untyped-call]
            self._tables, (rates, self._decays, found, self._one if divisor is None else divisor),
            (first, second, epsilon), chunk=CHUNK, kind=self._kind,
        )  # fmt: skip


def _state(optimiser: Any, part: torch.Tensor) -> dict[str, Any]:
    """The optimiser's state of a parameter, made as the optimiser makes it where there is none."""
    state: dict[str, Any] = optimiser.state[part]
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=part.device)
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(part), torch.zeros_like(part)
    return state

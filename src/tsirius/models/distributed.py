"""Several processes that train together, as torchrun or ``accelerate launch`` starts them, one a GPU.

The first one does the whole run. The others wait until it trains, and then take their share of every step's rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

LONG = timedelta(days=30)
"""Others wait so long for the first one, which may be labelling."""


def started() -> int:
    """World size as the launcher sets it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def helper() -> bool:
    """Whether this process is not the first of several."""
    return started() > 1 and int(os.environ.get("RANK", "0")) > 0


def process() -> int:
    """Rank of this process."""
    import torch

    return torch.distributed.get_rank() if _joined() else 0


def processes() -> int:
    """World size: the processes of this training."""
    import torch

    return torch.distributed.get_world_size() if _joined() else 1


def join() -> None:
    """Meet the other processes, where several were started."""
    import torch

    if started() < 2 or _joined():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    # Objects are broadcast by gloo: to wait for it by nccl would keep a GPU busy.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    torch.distributed.init_process_group(backend, timeout=LONG)


def part() -> None:
    """Leave each other."""
    import torch

    if _joined():
        torch.distributed.destroy_process_group()


def meet() -> None:
    """Wait for the other processes."""
    import torch

    if processes() > 1:
        torch.distributed.barrier()


def from_first(value: T) -> T:
    """The first process's ``value`` in all of them."""
    import torch

    if processes() < 2:
        return value
    shared = [value]
    torch.distributed.broadcast_object_list(shared, device=torch.device("cpu"))
    return shared[0]


def add_up(parameters: Iterable[torch.Tensor]) -> None:
    """Sum each gradient over all processes, all of them in one message."""
    import torch

    if processes() < 2:
        return
    parts = list(parameters)
    for one in parts:
        if one.grad is None:
            one.grad = torch.zeros_like(one)
    grads = [one.grad for one in parts if one.grad is not None]
    flat = torch.cat([grad.flatten() for grad in grads])
    torch.distributed.all_reduce(flat)
    parts_of = torch.split(flat, [grad.numel() for grad in grads])
    torch._foreach_copy_(grads, [one.view_as(grad) for one, grad in zip(parts_of, grads, strict=True)])


def _joined() -> bool:
    import torch

    return torch.distributed.is_available() and torch.distributed.is_initialized()

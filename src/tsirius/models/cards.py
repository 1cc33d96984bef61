"""A network on every GPU of a machine: batches go to them in turn."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from tsirius.models import batching

if TYPE_CHECKING:
    import torch


def everywhere(network: Any) -> list[Any]:
    """The network, and a copy of it on each other GPU that has room for one.

    Args:
        network: of transformers, on its device.
    """
    made = (batching.attempt(partial(_copied, network, device)) for device in others(network.device))
    return [network, *(one for one in made if one is not None)]


def others(device: torch.device) -> Iterator[torch.device]:
    """The GPUs beside ``device``; none where that is a CPU."""
    import torch

    if device.type == "cuda":
        here = torch.cuda.current_device() if device.index is None else device.index
        yield from (torch.device("cuda", number) for number in range(torch.cuda.device_count()) if number != here)


def _copied(network: Any, device: torch.device) -> Any:
    return copy.deepcopy(network).to(device)

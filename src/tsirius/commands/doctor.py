"""Doctor: what this machine can do; nothing is sent anywhere."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import psutil

from tsirius import extras
from tsirius.store import versions

HUB_MODELS = (
    "deepvk/GeRaCl-USER2-base",
    "intfloat/multilingual-e5-base",
    "deepvk/USER-bge-m3",
    "cointegrated/rut5-base-paraphraser",
    "Helsinki-NLP/opus-mt-ru-en",
    "Helsinki-NLP/opus-mt-en-ru",
)
"""The hub models that the recipes name."""

GIB = 2**30


def describe() -> dict[str, str]:
    """Names of properties with their values in words, in the order to print them."""
    memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(Path.cwd()))
    cores = f"{len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, 'cpu_affinity') else os.cpu_count()}"
    return {
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "cores": f"{cores} usable",
        "memory": f"{memory.available / GIB:.1f} GiB free of {memory.total / GIB:.1f} GiB",
        "disk here": f"{disk.free / GIB:.1f} GiB free of {disk.total / GIB:.1f} GiB",
        "GPU": _gpu(),
        "network": _network(),
        **{f"package {name}": version for name, version in versions().items()},
        **{f"model {name}": state for name, state in _hub_models().items()},
    }


def _gpu() -> str:
    try:
        import torch
    except ImportError:
        return f"not used: torch is not installed. {extras.install('train')}"
    if not torch.cuda.is_available():
        return "none that torch can use; training runs on the CPU"
    properties = torch.cuda.get_device_properties(0)
    # Emulated bf16 counts as support by default (a T4 says yes), but is slower than fp16.
    bf16 = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16, no bf16"
    return f"{torch.cuda.device_count()} × {properties.name}, {properties.total_memory / GIB:.1f} GiB, {bf16}"


def _network() -> str:
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return "off for hub models (HF_HUB_OFFLINE is set)"
    routed = any(stats.isup for name, stats in psutil.net_if_stats().items() if not name.startswith("lo"))
    return "an interface is up; hub models not at hand would be fetched" if routed else "offline: no interface is up"


def _hub_models() -> dict[str, str]:
    from huggingface_hub import try_to_load_from_cache

    paths = {name: try_to_load_from_cache(name, "config.json") for name in HUB_MODELS}
    return {name: "in the cache" if isinstance(path, str) else "not at hand" for name, path in paths.items()}

"""The environment: variables that libraries read once, when they are first imported, and which extras are installed.

``import tsirius`` sets the variables, so that they hold for the command line and for a program that uses the package.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tsirius.errors import UserError

SETTINGS = {
    # A thread that waits by spinning takes the core from the one it waits for, where others are at work as well.
    "OMP_WAIT_POLICY": ("PASSIVE", "torch"),
    # oneDNN compiles its work for each shape of a batch, and would keep 1,024 of those: 100 MB that hardly serve again.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": ("64", "torch"),
    # Nothing is sent anywhere.
    "HF_HUB_DISABLE_TELEMETRY": ("1", "huggingface_hub"),
    # The tokenizers' threads do not survive a fork, and warn about it at length.
    "TOKENIZERS_PARALLELISM": ("false", "tokenizers"),
}
"""Variable → its value, and the library that reads it."""


def prepare() -> None:
    """Set each variable that the user has not set and whose library has not been imported yet."""
    for name, (value, library) in SETTINGS.items():
        if library not in sys.modules:
            os.environ.setdefault(name, value)


TRAINING = ("torch", "transformers", "peft", "accelerate", "sentencepiece")
"""The packages of the extra ``train``: fine-tuning, and every model that does not come with the package."""


def need_training(what: str, *, where: str | Path) -> None:
    """Make sure that the packages of the extra ``train`` are installed; none is imported.

    Args:
        what: needs them, in words.
        where: the setting, model or folder that asks for it.

    Raises:
        UserError: one is missing.
    """
    for name in TRAINING:
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            raise UserError(f"{what} needs {name}, which is not installed", where=where, remedy=f"{install('train')}.")


def install(extra: str) -> str:
    """How to install an extra beside this installation, in words."""
    place = "tsirius"
    try:
        origin = importlib.metadata.distribution("tsirius").read_text("direct_url.json")
        url = urlsplit(json.loads(origin)["url"]) if origin else None
        if url is not None and url.scheme == "file" and Path(unquote(url.path)).is_dir():
            place = unquote(url.path)
    except (importlib.metadata.PackageNotFoundError, ValueError, KeyError):
        pass
    return f"Install it with: {sys.executable} -m pip install '{place}[{extra}]'"

"""The extras of the package: which are installed, and how to install one."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tsirius.errors import UserError

TRAINING = ("torch", "transformers", "peft", "accelerate", "sentencepiece")
"""The packages of the extra ``train``: fine-tuning, and every model that does not come with the package."""

FOLDERS = ("pyarrow",)
"""Those of the extra ``folders``: reviews that are predicted part by part, in folders, object stores and Spark."""


def need_training(what: str, *, where: str | Path) -> None:
    """Make sure that the packages of the extra ``train`` are installed; none is imported.

    Args:
        what: needs them, in words.
        where: the setting, model or folder that asks for it.

    Raises:
        UserError: one is missing.
    """
    _need(TRAINING, "train", what, where)


def need_folders(what: str, *, where: str | Path) -> None:
    """The same for the extra ``folders``."""
    _need(FOLDERS, "folders", what, where)


def _need(packages: Sequence[str], extra: str, what: str, where: str | Path) -> None:
    for name in packages:
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            raise UserError(f"{what} needs {name}, which is not installed", where=where, remedy=f"{install(extra)}.")


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

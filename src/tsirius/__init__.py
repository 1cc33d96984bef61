"""From unlabelled product reviews and a list of category names to a classifier.

Example:
    >>> import tsirius
    >>> run = tsirius.run(tsirius.load("shop.toml"))
    >>> tsirius.Classifier.load(run).predict(["Чайник гудит, но греет быстро"])
    ['бытовая техника']
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Config": "tsirius.config",
    "load": "tsirius.config",
    "run": "tsirius.pipeline",
    "Classifier": "tsirius.models.classifier",
    "Categories": "tsirius.categories",
    "UserError": "tsirius.errors",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    # Each name is imported when it is first asked for: the command line answers --help without the libraries behind it.
    if name not in _HOMES:
        raise AttributeError(f"module 'tsirius' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)

"""From unlabelled product reviews and a list of category names to a classifier.

Example:
    >>> import tsirius
    >>> run = tsirius.run(tsirius.load("shop.toml"))
    >>> tsirius.Classifier.load(run).predict(["Чайник гудит, но греет быстро"])
    ['бытовая техника']
"""

from __future__ import annotations

from tsirius import environment

TYPE_CHECKING = False  # typing and importlib wait until the command line handles Ctrl-C
if TYPE_CHECKING:
    import typing

    from tsirius.categories import Categories, Category
    from tsirius.commands.export import export
    from tsirius.commands.label import label
    from tsirius.commands.predict import predict_file
    from tsirius.config import Config, load
    from tsirius.errors import UserError
    from tsirius.models.classifier import Classifier
    from tsirius.pipeline import run

__version__ = "0.1.0"

__all__ = [
    "Categories",
    "Category",
    "Classifier",
    "Config",
    "UserError",
    "__version__",
    "export",
    "label",
    "load",
    "predict_file",
    "run",
]

_HOMES = {
    "Categories": "tsirius.categories",
    "Category": "tsirius.categories",
    "Classifier": "tsirius.models.classifier",
    "Config": "tsirius.config",
    "UserError": "tsirius.errors",
    "export": "tsirius.commands.export",
    "label": "tsirius.commands.label",
    "load": "tsirius.config",
    "predict_file": "tsirius.commands.predict",
    "run": "tsirius.pipeline",
}

environment.prepare()


def __getattr__(name: str) -> typing.Any:
    # Each name is imported when it is first used: the command line answers --help without the libraries behind it.
    if name not in _HOMES:
        raise AttributeError(f"module 'tsirius' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return list(__all__)

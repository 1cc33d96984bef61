"""New configuration files for the user to fill in."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from tsirius import config
from tsirius.errors import UserError
from tsirius.publish import write_text

SAMPLE = resources.files("tsirius") / "assets" / "sample"
"""The sample: ``reviews.csv`` and ``categories.toml``."""


def new(name: str, *, train: Path, test: Path | None, categories: Path) -> list[Path]:
    """Write ``NAME.toml``, and the sample's categories file where ``categories`` does not exist yet.

    Returns:
        The files written.

    Raises:
        UserError: the name cannot name a run, or ``NAME.toml`` is there already.
    """
    name = name.removesuffix(".toml")
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UserError(f"{name!r} cannot name a run", remedy="Use letters, digits, '-' and '_'.")
    path = Path(f"{name}.toml")
    if path.exists():
        raise UserError("is there already", where=path, remedy="Choose another name, or move it away.")
    written = [path]
    if not categories.exists():
        write_text(categories, (SAMPLE / "categories.toml").read_text(encoding="utf-8"))
        written.append(categories)
    write_text(
        path, config.starter(name, train=str(train), test=str(test) if test else None, categories=str(categories))
    )
    return written

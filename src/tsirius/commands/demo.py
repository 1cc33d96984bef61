"""The sample, as it comes with the package: what ``make demo`` runs, wherever tsirius is installed."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tsirius import config
from tsirius.commands.new import SAMPLE
from tsirius.config import Config

FILES = {
    "ingest.train": "reviews.csv",
    "ingest.test": "reviews.csv",
    "ingest.categories": "categories.toml",
    "evaluate.gold": "reviews.csv",
}
"""Setting → the file of the sample: ``demo.toml`` names them as they lie in the repository."""


def configuration(overrides: Sequence[str]) -> Config:
    """The configuration of the sample, with its files where they are installed.

    Raises:
        UserError: an override is not valid.
    """
    files = [f"{name}={json.dumps(str(SAMPLE / file), ensure_ascii=False)}" for name, file in FILES.items()]
    return config.load(str(SAMPLE / "demo.toml"), [*files, *overrides])

"""Probes: a few texts with the probabilities that a model gave them when it was written.

Whoever loads the model somewhere else, in other versions of libraries or on another processor, has it answer them
again: a whole folder says that the files are right, its probes that the model is. The texts are of this package and
the names of the categories, none of anyone's reviews.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tsirius.errors import UserError

if TYPE_CHECKING:
    from tsirius.models.classifier import Classifier

FILE = "probes.json"
TEXTS = (
    "Чайник гудит, но греет быстро",
    "Сапоги протекли через неделю, подошва отклеилась",
    "платье село после первой стирки, ткань тонкая",
    "Долго везли, коробка помята, продавец не отвечает",
    "The charger stopped working after two days",
    "!!! 5 из 5 👍",
)
CATEGORIES = 20
"""Of so many categories the names are probes."""
ROUNDING = 0.02
"""How far a probability may be from the recorded one: 8-bit and 16-bit numbers round otherwise on other processors."""


def write(folder: Path, classifier: Classifier) -> None:
    """Write the probes of ``classifier`` into ``folder``."""
    texts = [*TEXTS, *classifier.names[:CATEGORIES]]
    probabilities = np.round(classifier.predict_proba(texts).astype(np.float64), 6).tolist()
    text = json.dumps({"texts": texts, "probabilities": probabilities}, ensure_ascii=False, indent=1)
    (folder / FILE).write_text(text, encoding="utf-8")


def check(folder: Path, classifier: Classifier) -> int:
    """Make sure that ``classifier``, loaded from ``folder``, answers its probes as when it was written.

    Returns:
        How many they are; 0 where the folder has none.

    Raises:
        UserError: it does not, or the probes cannot be read.
    """
    path = folder / FILE
    if not path.is_file():
        return 0
    remedy = "Train or export the model again."
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        texts, wanted = list(found["texts"]), np.array(found["probabilities"], dtype=np.float64)
        if wanted.shape != (len(texts), len(classifier.names)):
            raise ValueError("of another shape")
    except (ValueError, KeyError, TypeError):
        raise UserError("does not hold this model's probes", where=path, remedy=remedy) from None
    off = np.abs(classifier.predict_proba(texts) - wanted).max(axis=1)
    if not (off <= ROUNDING).all():
        worst = int(np.nanargmax(off))
        raise UserError(f"the model answers its probe «{texts[worst]}» otherwise than when it was written",
                        where=folder, remedy=remedy)  # fmt: skip
    return len(texts)

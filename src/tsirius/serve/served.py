"""A model as the server holds it: loaded, verified, with what is told about it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsirius.errors import UserError
from tsirius.language.clean import normalise
from tsirius.models import hub, probes
from tsirius.models.classifier import DESCRIPTION, Classifier, Description, describe, find
from tsirius.serve.engine import Row
from tsirius.store import fingerprint_once

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOKENIZER = "tokenizer.json"
WARM_UP = ("Чайник гудит, но греет быстро. " * 8, "Спасибо")
"""What a model reads before it answers: its parts are read from the disk when they are first asked."""


@dataclass(frozen=True, eq=False)
class Served:
    """A model that answers.

    Attributes:
        classifier: the model.
        description: what it is.
        path: the folder that it was asked for by, a run's or a model's.
        fingerprint: of the model's folder when it was read.
        trained: when its folder was written, ISO 8601 in UTC.
        scores: weighted F1, interval and rows of what it was compared with; empty where nothing is known.
        probed: how many probes it answered as when it was written; 0 where it has none.
        tokenizer: counts tokens; None: they are not counted.
    """

    classifier: Classifier
    description: Description
    path: Path
    fingerprint: str
    trained: str
    scores: Mapping[str, Any]
    probed: int
    tokenizer: Any

    @property
    def version(self) -> str:
        """The first twelve digits of the fingerprint."""
        return self.fingerprint[:12]

    @property
    def names(self) -> list[str]:
        """The categories, in the order of the probabilities."""
        return self.classifier.names

    def rows(self, texts: Sequence[str]) -> list[Row]:
        """A row for each text."""
        probabilities: NDArray[np.float32] = self.classifier.predict_proba(texts)
        if self.tokenizer is None:
            return [Row(row, None, False) for row in probabilities]
        counted = [len(given.ids) for given in self.tokenizer.encode_batch([normalise(text) for text in texts])]
        most = self.description.max_length or math.inf
        cuts = self.description.long_texts == "truncate"
        return [
            Row(row, int(min(tokens, most)) if cuts else tokens, cuts and tokens > most)
            for row, tokens in zip(probabilities, counted, strict=True)
        ]

    def about(self) -> dict[str, Any]:
        """What /v1/model says of it."""
        return {
            "version": self.version,
            "fingerprint": self.fingerprint,
            "trained": self.trained,
            "kind": self.description.kind,
            "categories": self.names,
            "none": self.classifier.none,
            "max_tokens": self.description.max_length,
            "long_texts": self.description.long_texts if self.description.max_length else "read whole",
            "scores": dict(self.scores),
        }


def load(path: Path) -> Served:
    """Load the model of a run's or a model's folder, verify it, and have it answer its probes.

    Raises:
        UserError: there is none, it is damaged, it changed while it was read, or it answers otherwise than when it was
            written.
    """
    folder = find(path)
    before = fingerprint_once(folder)
    classifier, description = Classifier.load(folder), describe(folder)
    probed = probes.check(folder, classifier)
    classifier.predict_proba(WARM_UP)
    tokenizer = _tokenizer(folder, description)
    if fingerprint_once(folder) != before:
        raise UserError("changed while it was loaded", where=folder, remedy="Try again when it is finished.")
    written = datetime.fromtimestamp((folder / DESCRIPTION).stat().st_mtime, UTC)
    trained = written.isoformat(timespec="seconds").replace("+00:00", "Z")
    return Served(classifier, description, path, before, trained, _scores(path), probed, tokenizer)


def state(path: Path) -> Any:
    """What tells that another model was put at ``path``, without reading it; None where there is none."""
    if not path.exists():  # a name on the hub: asked for once, when the server starts
        return None
    try:
        folder = find(path).resolve()
        stats = [(file.name, file.stat()) for file in sorted(folder.iterdir()) if file.is_file()]
    except (OSError, UserError):
        return None
    return folder, [(name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def _tokenizer(folder: Path, description: Description) -> Any:
    """The tokenizer of the encoder within, which counts tokens and cuts nothing; None where there is none."""
    from tokenizers import Tokenizer

    if description.kind == "linear":
        places = [hub.fetch(part) for part in hub.parts(description.base_model)] if description.base_model else []
    else:
        places = [folder, *(folder / part for part in description.parts)]
    path = next((place / TOKENIZER for place in places if (place / TOKENIZER).is_file()), None)
    if path is None:
        return None
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _scores(path: Path) -> dict[str, Any]:
    """The scores of the run that ``path`` is the folder of."""
    try:
        scores = json.loads((path / "evaluate" / "scores.json").read_text(encoding="utf-8"))
        return {
            against: {name: score[name] for name in ("weighted_f1", "interval", "rows")}
            for against, score in scores.items()
            if score
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}

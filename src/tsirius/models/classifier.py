"""The classifier that a run makes: load it, give it reviews, get categories.

A model's folder holds ``model.json`` (what it is) and the weights of its kind beside it; nothing in it is pickled.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from pydantic import ConfigDict, PositiveInt, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from tsirius.errors import UserError
from tsirius.progress import Advance
from tsirius.text import normalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

DESCRIPTION, FORMAT = "model.json", 2
CHUNK = 512
"""Texts that are classified between two signs of progress."""


class Scorer(Protocol):
    """What every kind of model can do."""

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Scores of cleaned texts before the softmax, [N, K]."""
        ...


@dataclass(frozen=True, config=ConfigDict(strict=True, allow_inf_nan=False))
class Description:
    """What ``model.json`` says.

    Attributes:
        kind: ``linear``, ``lora`` or ``onnx``.
        names: the categories, in the order of the scores.
        none: the one without a product.
        prior_shift: added to the scores, one number a category; see :func:`prior_shift`.
        base_model: the encoder that an adapter belongs to or that gives embeddings, a path or hub name; or None.
        base_fingerprint: of the base model's weights; None where there is none.
        max_length: tokens of a text that are read; None where there is no limit.
    """

    kind: Literal["linear", "lora", "onnx"]
    names: list[str]
    none: str
    prior_shift: list[float]
    base_model: str | None
    base_fingerprint: str | None
    max_length: PositiveInt | None

    @model_validator(mode="after")
    def _fits(self) -> Description:
        if len(self.prior_shift) != len(self.names) or self.none not in self.names:
            raise ValueError("its categories do not fit together")
        if self.kind == "lora" and None in (self.base_model, self.base_fingerprint, self.max_length):
            raise ValueError("it names no base model")
        if self.kind == "onnx" and self.max_length is None:
            raise ValueError("it does not say how many tokens are read")
        return self

    def save(self, folder: Path) -> None:
        """Write ``model.json`` into ``folder``."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, ensure_ascii=False, indent=1)
        (folder / DESCRIPTION).write_text(text, encoding="utf-8")


class Classifier:
    """A trained classifier.

    Args:
        description: what it is.
        scorer: what scores cleaned texts.

    Attributes:
        names: the categories, in the order of the probabilities.
        none: the category of a review that names no product.
        scorer: what scores cleaned texts.

    Example:
        >>> classifier = Classifier.load("runs/shop")  # doctest: +SKIP
        >>> classifier.predict(["Чайник гудит, но греет быстро"])  # doctest: +SKIP
        ['бытовая техника']
    """

    def __init__(self, description: Description, scorer: Scorer) -> None:
        self.names, self.none = list(description.names), description.none
        self._shift = np.array(description.prior_shift, dtype=np.float64)
        self.scorer = scorer

    @classmethod
    def load(cls, path: str | Path) -> Classifier:
        """Load a model's folder, or the model of a run's folder.

        Raises:
            UserError: there is no model, a part of it is missing or broken, or its base model is not at hand.
        """
        folder = find(Path(path))
        description = describe(folder / DESCRIPTION)
        scorer: Scorer
        base_model, max_length = description.base_model, description.max_length or 0
        if base_model is not None:
            from tsirius.models import load

            load.check(base_model)
            if load.weights_fingerprint(base_model) != description.base_fingerprint:
                raise UserError("its weights are not those that the model was trained on", where=base_model,
                                remedy="Put those back, or train the model again.")  # fmt: skip
        if description.kind == "linear":
            from tsirius.models import encode, linear

            embed = encode.embedder(base_model, max_length=max_length) if base_model is not None else None
            scorer = linear.load(folder, categories=len(description.names), embed=embed)
        elif description.kind == "onnx":
            from tsirius.models import onnx

            scorer = onnx.load(folder, categories=len(description.names), max_length=max_length)
        else:
            from tsirius.models import lora

            scorer = lora.read(
                folder,
                base_model=str(base_model),
                names=description.names,
                max_length=max_length,
            )
        return cls(description, scorer)

    def predict(self, texts: Sequence[str], *, advance: Advance | None = None) -> list[str]:
        """The likeliest category of each text."""
        return [self.names[k] for k in self.predict_proba(texts, advance=advance).argmax(axis=1)]

    def predict_proba(self, texts: Sequence[str], *, advance: Advance | None = None) -> NDArray[np.float32]:
        """The probability of each category, [N, K]; every row sums to 1.

        Texts are cleaned first, and equal ones are classified once. A text of which nothing is left names no product.

        Args:
            texts: reviews as they came.
            advance: is told how many texts are done, as the work goes on.
        """
        cleaned = [normalise(text) for text in texts]
        copies = Counter(cleaned)
        # Longest first: texts of like length share a batch, and a lack of memory shows at once.
        unique = sorted((text for text in copies if text), key=lambda text: (-len(text), text))
        place = {text: row for row, text in enumerate(unique)}
        probabilities = np.zeros((len(unique) + 1, len(self.names)), dtype=np.float32)
        probabilities[-1, self.names.index(self.none)] = 1.0
        if advance and copies[""]:
            advance(copies[""])
        for start in range(0, len(unique), CHUNK):
            chunk = unique[start : start + CHUNK]
            probabilities[start : start + len(chunk)] = softmax(self.scorer.logits(chunk) + self._shift)
            if advance:
                advance(sum(copies[text] for text in chunk))
        return probabilities[[place.get(text, -1) for text in cleaned]]


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """Probabilities of scores, along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: NDArray[Any] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def prior_shift(natural: Sequence[float], training: Sequence[float]) -> list[float]:
    """What to add to the scores of a model trained at one mix of categories to use it at another.

    Quotas and augmentation change how often each category occurs; the model learns that mix along with the rest.
    Adding log(natural prior / training prior) undoes it (logit adjustment, Menon et al. 2021, arXiv 2007.07314). One
    row is added to every category on both sides, so that a rare category is held back, not ruled out.

    Args:
        natural: how many of as many rows would be of each category where nothing was done to them.
        training: rows of each category that the model learns from.
    """
    priors = [(np.array(counts) + 1) / (sum(counts) + len(counts)) for counts in (natural, training)]
    return [float(shift) for shift in np.log(priors[0] / priors[1])]


def find(path: Path) -> Path:
    """The model's folder in a run's folder or a model's folder.

    Raises:
        UserError: there is none.
    """
    if not path.exists():
        raise UserError("no such folder", where=path, remedy="Name a run's folder or a model's folder.")
    for folder in (path, path / "train" / "model"):
        if (folder / DESCRIPTION).is_file():
            return folder
    if (path / "config.json").is_file() and not (path / "train").exists():
        raise UserError("holds no trained model", where=path, remedy="If it is a run's folder, finish the run first.")
    raise UserError(f"holds no {DESCRIPTION}", where=path, remedy="Name a run's folder or a model's folder.")


def describe(path: Path) -> Description:
    """What a ``model.json`` says.

    Raises:
        UserError: it does not describe a model.
    """
    remedy = "Train the model again."
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        version = found.pop("format")
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        raise UserError("does not describe a model", where=path, remedy=remedy) from None
    if version != FORMAT:
        raise UserError(f"has format {version}, this version reads {FORMAT}", where=path, remedy=remedy)
    try:
        return Description(**found)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        raise UserError(f"does not describe a model: {place + ': ' if place else ''}{message[:1].lower()}{message[1:]}",
                        where=path, remedy=remedy) from None  # fmt: skip

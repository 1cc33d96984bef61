"""The classifier that a run makes: load it, give it reviews, get categories.

A model's folder holds ``model.json`` (what it is) and the weights of its kind beside it; nothing in it is pickled. A
fine-tuned model's ``adapter/`` and ``merged/`` are such folders themselves, and so are the members of an ensemble.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import ConfigDict, PositiveFloat, PositiveInt, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from tsirius import extras
from tsirius.errors import UserError
from tsirius.io.texts import as_texts
from tsirius.language.clean import normalise
from tsirius.models.batching import longest_first
from tsirius.models.scorer import Mean, Scorer
from tsirius.progress import Advance
from tsirius.store import fingerprint_once, verify, write_checksums

if TYPE_CHECKING:
    from numpy.typing import NDArray

DESCRIPTION, FORMAT = "model.json", 4
EMBEDDED = "embedded"
Kind = Literal["linear", "lora", "qlora", "full", "ensemble", "onnx"]
LongTexts = Literal["truncate", "windows"]
PART = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
"""A part's folder, in the model's."""
CHUNK = 512
"""Texts that are classified between two signs of progress."""


@dataclass(frozen=True, config=ConfigDict(strict=True, allow_inf_nan=False, extra="forbid"))
class Description:
    """What ``model.json`` says.

    Attributes:
        kind: how it was trained: ``linear``, ``lora``, ``qlora`` or ``full``; an ``ensemble`` of such; or ``onnx``.
        names: the categories, in the order of the scores.
        none: the one without a product.
        prior: the share of each category where nothing was done to the reviews; None: not known.
        prior_shift: added to the scores, one number a category; see
            :func:`tsirius.models.scorer.prior_shift`.
        base_model: the encoder that an adapter belongs to or that gives embeddings, a path or hub name; or None.
        base_fingerprint: of the base model, see :func:`tsirius.models.hub.fingerprint`; None where there is none.
        max_length: tokens of a text that are read at a time; None where there is no limit.
        parts: the folders beside ``model.json`` that hold the weights, each with a ``model.json``: the members of an
            ensemble; of a fine-tuned model the same one in up to two forms. Empty: they lie beside it.
        long_texts: what a fine-tuned encoder does with longer texts.
        pooling: how the encoder of a linear model makes an embedding, see
            :meth:`tsirius.models.pooling.Pooling.key`; None: there is none, or as the encoder's folder says.
        temperature: what the scores are divided by, the shift added, so that the confidence holds; changes no label.
    """

    kind: Kind
    names: list[str]
    none: str
    prior: list[float] | None
    prior_shift: list[float]
    base_model: str | None
    base_fingerprint: str | None
    max_length: PositiveInt | None
    parts: list[str]
    long_texts: LongTexts = "truncate"
    pooling: dict[str, Any] | None = None
    temperature: PositiveFloat = 1.0

    @model_validator(mode="after")
    def _fits(self) -> Description:
        sizes = {len(self.names), len(self.prior_shift), len(self.names if self.prior is None else self.prior)}
        if len(sizes) > 1 or self.none not in self.names:
            raise ValueError("its categories do not fit together")
        if self.kind in ("lora", "qlora", "full", "onnx") and self.max_length is None:
            raise ValueError("it names no max_length")
        if self.kind in ("lora", "qlora") and None in (self.base_model, self.base_fingerprint):
            raise ValueError("it names no base model")
        if self.kind == "ensemble" and not self.parts:
            raise ValueError("it names no members")
        if len(set(self.names)) < len(self.names):
            raise ValueError("it names a category twice")
        if any(not PART.fullmatch(part) for part in self.parts):
            raise ValueError("a part lies outside the folder, or is the folder itself")
        if len(set(self.parts)) < len(self.parts):
            raise ValueError("it names a part twice")
        return self

    def save(self, folder: Path) -> None:
        """Write ``model.json`` into ``folder``."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, ensure_ascii=False, indent=1)
        (folder / DESCRIPTION).write_text(text, encoding="utf-8")


class Classifier:
    """A trained classifier, used as one of scikit-learn's: at the end of a pipeline, with its metrics and scorers.

    It is pickled by its folder, which has to be there when it is read again.

    Args:
        description: what it is.
        scorer: what scores cleaned texts.
        source: the folder or hub name that it is loaded from; None where it has none, and cannot be pickled.

    Attributes:
        kind: how it was trained: ``linear``, ``lora``, ``qlora`` or ``full``; an ``ensemble`` of such; or ``onnx``.
        names: the categories, in the order of the probabilities.
        classes_: the same as an array. They are in the order of the categories file; metrics that take the columns of
            probabilities to be in alphabetical order want them sorted first.
        none: the category of a review that names no product.
        scorer: what scores cleaned texts.
        source: the folder or hub name that it was loaded from.

    Example:
        >>> classifier = Classifier.load("runs/shop")
        >>> classifier.predict(["Чайник гудит, но греет быстро"])
        ['бытовая техника']
        >>> classifier.predict_proba(["Чайник гудит", None]).shape
        (2, 9)
    """

    _estimator_type = "classifier"  # read by scikit-learn before 1.6; later ones ask __sklearn_tags__

    def __init__(self, description: Description, scorer: Scorer, *, source: str | None = None) -> None:
        self.kind, self.names, self.none = description.kind, list(description.names), description.none
        self.classes_ = np.array(self.names)
        self._shift = np.array(description.prior_shift, dtype=np.float64)
        self._temperature = description.temperature
        self.scorer = scorer
        self.source = source

    @classmethod
    def load(cls, path: str | Path, *, embedded: Path | None = None) -> Classifier:
        """Load a model: the folder of one (of an adapter, a merged one, an ensemble), a run's folder, or a hub name.

        Of a run, ``merged/`` is taken where there is one: it needs no base model, and is faster than the adapter.

        Args:
            path: the folder or hub name.
            embedded: a folder that may hold embeddings of the texts to come, see
                :func:`tsirius.models.embeddings.known`.

        Raises:
            UserError: there is no model, a part of it is missing or broken, or its base model is not at hand.
        """
        folder = find(Path(path))
        verify(folder)
        description = describe(folder)
        source = str(Path(path).absolute()) if Path(path).exists() else str(path)
        return cls(description, _scorer(folder, description, {EMBEDDED: embedded}), source=source)

    def __repr__(self) -> str:
        return f"<Classifier {self.kind}, {len(self.names)} categories ({', '.join(self.names)}), from {self.source}>"

    def __reduce__(self) -> tuple[Callable[[str], Classifier], tuple[str]]:
        if self.source is None:
            raise TypeError("a Classifier that was not loaded from a folder cannot be pickled")
        return Classifier.load, (self.source,)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=False),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(string=True, two_d_array=False, one_d_array=True),
        )

    def fit(self, texts: Any, categories: Any = None) -> Classifier:
        """Refused: it is trained already, by ``tsirius.run``. scikit-learn asks for the method to be there.

        Raises:
            UserError: always.
        """
        raise UserError("a trained classifier does not learn from rows", remedy="Train another one: tsirius.run(…).")

    def score(self, texts: Iterable[Any], categories: Iterable[str]) -> float:
        """The accuracy on texts whose categories are known: the share of right predictions."""
        return float(np.mean(np.array(self.predict(texts), dtype=object) == np.array(list(categories), dtype=object)))

    def predict(self, texts: Iterable[Any], *, advance: Advance | None = None) -> list[str]:
        """The likeliest category of each text; see :meth:`predict_proba`."""
        return [self.names[k] for k in self.predict_proba(texts, advance=advance).argmax(axis=1)]

    def predict_proba(self, texts: Iterable[Any], *, advance: Advance | None = None) -> NDArray[np.float32]:
        """The probability of each category, [N, K]; every row sums to 1.

        Texts are cleaned first, and equal ones are classified once. A text of which nothing is left names no product,
        nor does a missing one (None, NaN).

        Args:
            texts: reviews as they came: a list, a tuple, an array, a Series of pandas or polars.
            advance: is called with the number of texts that are done, as the work proceeds.

        Raises:
            UserError: a bare string, or something that holds no strings.
        """
        cleaned = [normalise(text) for text in as_texts(texts)]
        copies = Counter(cleaned)
        unique = sorted(text for text in copies if text)
        unique = [unique[row] for row in longest_first([len(text) for text in unique])]
        position = {text: row for row, text in enumerate(unique)}
        probabilities = np.zeros((len(unique) + 1, len(self.names)), dtype=np.float32)
        probabilities[-1, self.names.index(self.none)] = 1.0
        if advance and copies[""]:
            advance(copies[""])
        for start in range(0, len(unique), CHUNK):
            chunk = unique[start : start + CHUNK]
            probabilities[start : start + len(chunk)] = _softmax(self.scores(chunk) / self._temperature)
            if advance:
                advance(sum(copies[text] for text in chunk))
        return probabilities[[position.get(text, -1) for text in cleaned]]

    def scores(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The scores of cleaned texts before temperature and softmax, the prior's shift added, [N, K].

        Raises:
            UserError: they are NaN or infinite.
        """
        logits = self.scorer.logits(texts)
        if not np.isfinite(logits).all():
            raise UserError("its scores are NaN or infinite", where=self.source, remedy="Train the model again.")
        return np.asarray(logits + self._shift, dtype=np.float64)


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The softmax of each row; scipy's, which takes 0.3 s to import, gives the same."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return result


def _scorer(folder: Path, description: Description, shared: dict[Any, Any]) -> Scorer:
    """What scores texts with the model in ``folder``.

    Args:
        folder: where it is.
        description: what it is.
        shared: takes encoders that are in memory, for adapters to be read onto; under ``EMBEDDED`` a folder of known
            embeddings.
    """
    names, length = description.names, int(description.max_length or 0)
    windows = description.long_texts == "windows"
    if description.kind == "linear":
        from tsirius.models import embeddings, encode, linear, pooling

        embed = None
        if description.base_model is not None:
            _check_base(description)
            base_model = description.base_model
            how = pooling.restored(base_model, description.pooling, where=folder / DESCRIPTION)
            shared_by = ("embeddings", base_model, length, how)
            embed = shared.setdefault(shared_by, encode.embedder(base_model, how, max_length=length))
            if (embedded := shared.get(EMBEDDED)) is not None:
                embed = embeddings.known(embed, embedded, how, model=base_model, max_length=length)
        return linear.load(folder, categories=len(names), embed=embed)
    if description.kind == "onnx":
        from tsirius.models import onnx

        return onnx.load(folder, categories=len(names), max_length=length, windows=windows)
    if description.kind == "ensemble":
        members = [describe(folder / part) for part in description.parts]
        for part, member in zip(description.parts, members, strict=True):
            if member.kind == "ensemble":  # it could be part of itself
                raise UserError(
                    "is an ensemble within an ensemble", where=folder / part, remedy="Train the model again."
                )
            if member.names != names:
                raise UserError("tells other categories apart than the ensemble", where=folder / part,
                                remedy="Train the model again.")  # fmt: skip
        return Mean([_scorer(folder / part, one, shared) for part, one in zip(description.parts, members, strict=True)])
    from tsirius.models import hub

    if description.parts:
        part = next((name for name in description.parts if name == hub.MERGED), description.parts[0])
        form = describe(folder / part)
        if form.parts or (form.kind, form.names) != (description.kind, names):
            raise UserError("is not a form of the model that it lies in", where=folder / part,
                            remedy="Train the model again.")  # fmt: skip
        return _scorer(folder / part, form, shared)
    extras.need_training("a fine-tuned model", where=folder)
    from tsirius.models import saved_encoder

    if not (folder / saved_encoder.ADAPTER_CONFIG).is_file():
        return saved_encoder.read_plain(folder, names=names, max_length=length, windows=windows)
    base_model = str(description.base_model)
    key = (description.kind, base_model, description.base_fingerprint, length, windows)
    if key in shared:
        return saved_encoder.beside(shared[key], folder, base_model=base_model)
    _check_base(description)
    shared[key] = saved_encoder.read_adapter(
        folder, method=description.kind, base_model=base_model, names=names, max_length=length, windows=windows
    )
    return shared[key]  # type: ignore[no-any-return]  # an Encoder


def _check_base(description: Description) -> None:
    """Make sure that the model that this one was trained on is at hand, and still the same.

    Raises:
        UserError: it is not.
    """
    from tsirius.models import hub

    base_model = str(description.base_model)
    hub.check(base_model)
    if hub.fingerprint(base_model) != description.base_fingerprint:
        raise UserError("its weights, config.json or tokenizer are not those that the model was trained on",
                        where=base_model, remedy="Put those back, or train the model again.")  # fmt: skip


def find(path: Path) -> Path:
    """The model's folder in a run's folder or a model's folder.

    Raises:
        UserError: there is none.
    """
    if not path.exists():
        from tsirius.models import hub

        if hub.HUB_NAME.fullmatch(str(path)) and "/" in str(path):
            return hub.fetch_classifier(str(path), DESCRIPTION)
        raise UserError("no such folder", where=path, remedy="Name a run's folder or a model's folder.")
    for folder in (path, path / "train" / "model"):
        if (folder / DESCRIPTION).is_file():
            return folder
    if (path / "config.json").is_file() and not (path / "train").exists():
        raise UserError("holds no trained model", where=path, remedy="If it is a run's folder, finish the run first.")
    raise UserError(f"holds no {DESCRIPTION}", where=path, remedy="Name a run's folder or a model's folder.")


def load_known(model: Path) -> tuple[Classifier, str]:
    """The model of a run's folder or a model's folder, and the fingerprint of what was loaded.

    Raises:
        UserError: there is none, it is damaged, or it was replaced while it was loaded.
    """
    folder = find(model)
    before = fingerprint_once(folder)
    classifier = Classifier.load(folder)
    if fingerprint_once(folder) != before:
        raise UserError("changed while it was loaded", where=folder, remedy="Try again when it is finished.")
    return classifier, before


def set_temperature(folder: Path, temperature: float) -> None:
    """Write the temperature into a model that was just trained, and into its forms; not into the members of an
    ensemble, whose scores are averaged before it."""
    description = describe(folder)
    if description.kind != "ensemble":
        for part in description.parts:
            set_temperature(folder / part, temperature)
    replace(description, temperature=temperature).save(folder)
    write_checksums(folder)


def describe(folder: Path) -> Description:
    """Read the ``model.json`` of ``folder``.

    Raises:
        UserError: there is none, or it does not describe a model.
    """
    path, remedy = folder / DESCRIPTION, "Train the model again."
    if not path.is_file():
        raise UserError(f"has no {DESCRIPTION}", where=folder, remedy=remedy)
    from tsirius.models import hub

    try:
        result = hub.read_json(path)
    except UserError as error:
        raise UserError(f"does not describe a model: {error.what}", where=path, remedy=remedy) from None
    if "format" not in result:
        raise UserError("does not describe a model", where=path, remedy=remedy)
    version = result.pop("format")
    if version != FORMAT:
        raise UserError(f"has format {version}, this version reads {FORMAT}", where=path, remedy=remedy)
    try:
        return Description(**result)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(map(str, problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        said = f"{message[:1].lower()}{message[1:]}"
        what = f"does not describe a model: {field}: {said}" if field else f"does not describe a model: {said}"
        raise UserError(what, where=path, remedy=remedy) from None

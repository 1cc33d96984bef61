"""The model card: what a model was made of and how good it is, as the hub shows it (README.md with a YAML header)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from huggingface_hub import ModelCardData

from tsirius.headline import AGREEMENT, ANSWERS, NOT_KNOWN
from tsirius.metrics import Score

TASK = "text-classification"
LIBRARY = {"linear": "scikit-learn", "ensemble": "transformers", "full": "transformers"}


@dataclass(frozen=True)
class Card:
    """What a card tells.

    Attributes:
        kind: how the model was trained.
        names: the categories in the order of their ids.
        none: the one without a product.
        base_model: the encoder's hub name or folder; None where there is none.
        prior: the natural share of each category; None: not known.
        prior_shift: what is added to the scores.
        rows: rows of each category that it learned from.
        written: of these rows, how many people wrote; the others are repeats and variants of them.
        scores: how well it repeats the labellers, by where that was measured; their labels are no truth.
        settings: how it was trained.
        notes: how the training went.
    """

    kind: str
    names: Sequence[str]
    none: str
    base_model: str | None
    prior: Sequence[float] | None
    prior_shift: Sequence[float]
    rows: Sequence[int]
    written: int
    scores: Mapping[str, Score]
    settings: Mapping[str, Any]
    notes: Mapping[str, Any]


def render(card: Card, *, adapter: bool) -> str:
    """The card as Markdown.

    Args:
        card: what it tells.
        adapter: whether it lies beside an adapter, that needs its base model, and not beside whole weights.
    """
    return "\n".join(["---", _header(card, adapter=adapter), "---", "", *_body(card, adapter=adapter)]) + "\n"


def _header(card: Card, *, adapter: bool) -> str:
    """What the hub reads of a card, as YAML: without results, which it would show as scores against answers."""
    base: dict[str, Any] = {}
    if card.base_model is not None and not card.base_model.startswith("/"):  # a folder of this machine is no one else's
        base = {"base_model": card.base_model, "base_model_relation": "adapter" if adapter else "finetune"}
    data = ModelCardData(
        library_name="peft" if adapter else LIBRARY.get(card.kind, "transformers"),
        pipeline_tag=TASK,
        tags=[TASK, "product-reviews", "tsirius"],
        model_name="tsirius-classifier",
        **base,
    )
    return str(data.to_yaml())


def _body(card: Card, *, adapter: bool) -> list[str]:
    base = f", from the encoder `{card.base_model}`" if card.base_model else ""
    lines = [
        "# Product categories of reviews",
        "",
        f"A classifier of product reviews into {len(card.names)} categories, trained by tsirius (`{card.kind}`{base}) "
        f"on labels that other models gave. «{card.none}» is a review that names no product.",
        "",
        "```python",
        "from tsirius import Classifier",
        "",
        'Classifier.load("PATH_OR_HUB_NAME").predict(["..."])',
        "```",
        "",
        *(["This folder is an adapter: it needs the encoder that it was trained on.", ""] if adapter else []),
        "## Data",
        "",
        f"{sum(card.rows):,} training rows, of which people wrote {card.written:,}; the others are repeats "
        "and variants. No row was labelled by a person.",
        "",
        "| id | category | training rows | natural share | added to the score |",
        "|---|---|---|---|---|",
    ]
    for index, name in enumerate(card.names):
        share = "" if card.prior is None else f"{card.prior[index]:.3f}"
        shown = name.replace("|", "\\|")
        lines.append(f"| {index} | {shown} | {card.rows[index]:,} | {share} | {card.prior_shift[index]:+.3f} |")
    lines += ["", "The prediction is the category with the highest score after that addition; there are no thresholds.",
              "", "## Scores", "",
              f"**Weighted F1: {NOT_KNOWN}** when this card was written: it takes answers by people. {ANSWERS} of them,"
              f" by `tsirius audit RUN --of predictions --count {ANSWERS}` or `tsirius evaluate`, make it known.",
              ]  # fmt: skip
    if card.scores:
        lines += ["", f"{AGREEMENT.capitalize()}, which other models gave and which may be wrong:", ""]
    for where, score in card.scores.items():
        low, high = score.interval
        lines.append(
            f"- {score.weighted_f1:.3f} {where} (weighted F1; 95 % interval {low:.3f}-{high:.3f}, {score.rows:,} rows;"
            f" {score.baseline()})"
        )
    lines += ["", "## Training", "", "```json",
              json.dumps({"settings": card.settings, **card.notes}, ensure_ascii=False, indent=1), "```"]  # fmt: skip
    return lines

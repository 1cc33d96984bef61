"""The card's header is what the hub reads, and says what was measured."""

from typing import Any

import pytest
from huggingface_hub import ModelCard

from tsirius import metrics
from tsirius.models.card import Card, render

NAMES = ["посуда", "нет товара"]
SCORE = metrics.score(["посуда", "нет товара"], ["посуда", "посуда"], names=NAMES, rounds=10, seed=0)


def card(**changes: Any) -> Card:
    settings: dict[str, Any] = {
        "kind": "lora", "names": NAMES, "none": NAMES[-1], "base_model": "someone/encoder: «тест»", "prior": None,
        "prior_shift": [0.0, 0.0], "rows": [3, 4], "written": 5, "scores": {"on validation reviews": SCORE},
        "settings": {}, "notes": {},
    }  # fmt: skip
    return Card(**{**settings, **changes})


@pytest.mark.parametrize(
    ("adapter", "library", "relation"), [(True, "peft", "adapter"), (False, "transformers", "finetune")]
)
def test_the_header_is_what_the_hub_reads(adapter: bool, library: str, relation: str) -> None:
    data = ModelCard(render(card(), adapter=adapter)).data
    assert (data.library_name, data.pipeline_tag) == (library, "text-classification")
    assert (data.base_model, data.get("base_model_relation")) == ("someone/encoder: «тест»", relation)
    assert data.tags == ["text-classification", "product-reviews", "tsirius"]
    assert data.eval_results is None, "the hub would show agreement with pseudo-labels as a score"


def test_it_says_that_the_score_is_not_known_and_what_the_agreement_is() -> None:
    text = render(card(), adapter=False)
    unknown, agreed = text.index("**Weighted F1: not known yet**"), text.index("Agreement with pseudo-labels")
    assert unknown < agreed < text.index(f"- {SCORE.weighted_f1:.3f} on validation reviews (weighted F1")


def test_without_scores_or_a_base_model_it_has_none() -> None:
    for base_model in (None, "/home/someone/encoder"):
        text = render(card(kind="linear", base_model=base_model, scores={}), adapter=False)
        data = ModelCard(text).data
        assert data.library_name == "scikit-learn"
        assert data.base_model is None and data.eval_results is None
        assert "not known yet" in text and "Agreement with pseudo-labels" not in text

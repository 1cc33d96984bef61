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
        "prior_shift": [0.0, 0.0], "rows": [3, 4], "written": 5, "scores": {"against gold": SCORE}, "settings": {},
        "notes": {},
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
    (result,) = data.eval_results or []
    assert (result.metric_type, result.metric_value) == ("f1", round(SCORE.weighted_f1, 4))
    assert result.dataset_name == "reviews, against gold"


def test_without_scores_or_a_base_model_it_has_none() -> None:
    for base_model in (None, "/home/someone/encoder"):
        text = render(card(kind="linear", base_model=base_model, scores={}), adapter=False)
        data = ModelCard(text).data
        assert data.library_name == "scikit-learn"
        assert data.base_model is None and data.eval_results is None
        assert "None was measured in training." in text

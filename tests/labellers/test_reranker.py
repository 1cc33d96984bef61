"""The reranker as teacher: the model card's prompt, its yes and no, behind the same interface."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from tsirius.categories import Categories, Category
from tsirius.errors import UserError
from tsirius.labellers import Material, reranker
from tsirius.labellers.hypotheses import probabilities

CATEGORIES = Categories([Category("посуда"), Category("обувь"), Category("нет товара", none=True)])
INSTRUCTION = "Given a topic, find the reviews that are about it."
QUERIES = ["Отзыв о посуде", "Отзыв о товаре «обувь».", 'A review in {braces} and "quotes"!']
TEXTS = ["Кружка пришла со сколом.", "ок", "  Туфли натирают пятку,\n\nкаблук шатается. " * 3, "«Доставка»\n"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_reranker(tmp_path_factory.mktemp("reranker") / "qwen3")


def scorer(model: Path, **other: Any) -> Any:
    settings: dict[str, Any] = {"precision": "fp32", "max_length": 1024, "batch_tokens": 4096}
    return reranker.scorer(str(model), instruction=INSTRUCTION, **(settings | other))


def of_the_card(model: Path, text: str, query: str, *, max_length: int) -> float:
    """The score as the model card takes it, one prompt at a time."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    words = AutoTokenizer.from_pretrained(model)
    before = words.encode(reranker.BEFORE, add_special_tokens=False)
    after = words.encode(reranker.AFTER, add_special_tokens=False)
    pair = f"<Instruct>: {INSTRUCTION}\n<Query>: {query}\n<Document>: {text}"
    room = max_length - len(before) - len(after)
    ids = before + words(pair, truncation="longest_first", max_length=room)["input_ids"] + after
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(model)(input_ids=torch.tensor([ids])).logits[0, -1]
    vocabulary = words.get_vocab()
    return float(logits[[vocabulary["no"], vocabulary["yes"]]].softmax(dim=0)[1])


@pytest.mark.parametrize("max_length", [1024, 420])
def test_the_scores_are_the_model_cards(model: Path, max_length: int) -> None:
    found = probabilities(scorer(model, max_length=max_length).logits(TEXTS, QUERIES, advance=None))
    expected = [[of_the_card(model, text, query, max_length=max_length) for query in QUERIES] for text in TEXTS]
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_it_labels_behind_the_same_interface(model: Path) -> None:
    config = reranker.Config(
        model=str(model), templates=["Отзыв о товаре «{}»."], hypotheses="name", none="statements", correct_bias=True,
        precision="fp32", max_length=1024, batch_tokens=2048,
    )  # fmt: skip
    embed = lambda texts: np.zeros((len(texts), 1), np.float32)  # noqa: E731
    material = Material(CATEGORIES, [], model, embed, embed, max_length=64)
    teacher = reranker.make(config, material)
    votes = teacher.label([*TEXTS, ""])
    assert teacher.name == "reranker"
    np.testing.assert_allclose(votes.probabilities[:-1].sum(axis=1), 1, atol=1e-6)
    assert np.isnan(votes.probabilities[-1]).all()
    alone = np.concatenate([teacher.label([text]).probabilities for text in TEXTS])
    np.testing.assert_allclose(votes.probabilities[:-1], alone, atol=1e-4)


def test_a_model_that_cannot_say_yes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no token 'yes'"):
        scorer(tiny.build_reranker(tmp_path / "mute", answers=["maybe", "no"]))

"""The zero-shot teacher: the pipeline's scores, in any order, on little memory, and what follows from them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from tsirius.categories import Categories, Category
from tsirius.errors import UserError
from tsirius.labellers import hypotheses, nli
from tsirius.labellers.pairs import Batch, Scorer
from tsirius.models import cards, load

CATEGORIES = Categories(
    [
        Category("посуда", "кружки, тарелки"),
        Category("нет товара", "доставка", none=True),
        Category("обувь", "ботинки, туфли"),
        Category("ткани"),
    ]
)
TEXTS = [
    "Кружка со сколом.",
    "Кроссовки жмут, взял на размер больше, подошва мягкая, а стелька через неделю стёрлась; деньги не вернули.",
    "ок",
    " ".join(tiny.SENTENCES),
    "Доставка быстрая, спасибо!",
]
HYPOTHESES = ["Это отзыв о посуде.", "Это отзыв об обуви, ботинках или туфлях.", "Доставка."]
XNLI = ("contradiction", "neutral", "entailment")
REVIEW = "Это отзыв о товаре «{}»."


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_nli(tmp_path_factory.mktemp("nli") / "xnli", encoder=tiny_model, labels=XNLI)


def scorer(model: Path, **other: Any) -> Scorer:
    settings: dict[str, Any] = {"precision": "fp32", "max_length": 128, "batch_tokens": 600}
    return nli.scorer(str(model), **(settings | other))


def teacher(model: Path, *, content_free: Sequence[str] = ()) -> hypotheses.Teacher:
    queries = hypotheses.questions(
        CATEGORIES,
        templates=[REVIEW, "A review of {}."],
        parts="name",
        none_statements=[["Это о доставке.", "It is about delivery."], ["Общая похвала."]],
    )
    built = hypotheses.Teacher("nli", scorer(model), queries, np.zeros(len(queries.products)))
    return built.without_bias(content_free)


def probabilities(scorer: Scorer, texts: Sequence[str]) -> Any:
    return hypotheses.probabilities(scorer.logits(texts, HYPOTHESES, advance=None))


def test_every_card_takes_batches_and_the_scores_stay(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, seen = scorer(model).logits(TEXTS, HYPOTHESES, advance=None), set()
    monkeypatch.setattr(cards, "others", lambda device: [device, device])
    monkeypatch.setattr(cards, "_copied", lambda *_: load.judge(str(model), head=load.CLASSIFIER, precision="fp32"))
    everywhere = cards.everywhere

    def watched(network: Any) -> list[Any]:
        made = everywhere(network)
        for number, one in enumerate(made):
            one.register_forward_hook(lambda *_, number=number: seen.add(number))
        return made

    monkeypatch.setattr(cards, "everywhere", watched)
    found = scorer(model, batch_tokens=60)
    seen.clear()
    np.testing.assert_allclose(found.logits(TEXTS, HYPOTHESES, advance=None), alone, rtol=1e-5, atol=1e-5)
    assert seen == {0, 1, 2}


def test_a_card_without_room_is_left_out(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = load.judge(str(model), head=load.CLASSIFIER, precision="fp32")
    assert cards.everywhere(network) == [network]  # no GPU has it, so none beside it is asked
    monkeypatch.setattr(cards, "others", lambda device: [device])
    monkeypatch.setattr(cards, "_copied", lambda one, device: one)
    assert cards.everywhere(network) == [network, network]

    def full(*_: Any) -> None:
        raise torch.cuda.OutOfMemoryError("out of memory")

    monkeypatch.setattr(cards, "_copied", full)
    assert cards.everywhere(network) == [network]


@pytest.mark.parametrize("multi_label", [True, False])
def test_the_scores_are_the_pipelines(model: Path, multi_label: bool) -> None:
    from transformers import pipeline

    classify = pipeline("zero-shot-classification", model=str(model), device="cpu")
    given = classify(TEXTS, HYPOTHESES, hypothesis_template="{}", multi_label=multi_label)
    expected = [[dict(zip(row["labels"], row["scores"], strict=True))[one] for one in HYPOTHESES] for row in given]
    logits = scorer(model).logits(TEXTS, HYPOTHESES, advance=None)
    if multi_label:
        found = hypotheses.probabilities(logits)
    else:
        found = torch.from_numpy(logits[:, :, 1]).softmax(dim=1).numpy()
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_pairs_are_joined_as_the_tokenizer_joins_them(model: Path) -> None:
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(model)
    seen: dict[int, list[list[int]]] = {}
    for length in (60, 128):
        one = scorer(model, max_length=length)

        def spy(batch: Batch, one: Scorer = one, length: int = length) -> Any:
            seen.setdefault(length, []).extend(batch.ids)
            return one.forward(batch)

        replace(one, forward=spy).logits(TEXTS, HYPOTHESES, advance=None)
        own = [words(text, hypothesis, truncation="only_first", max_length=length)["input_ids"]
               for text in TEXTS for hypothesis in HYPOTHESES]  # fmt: skip
        assert sorted(seen[length]) == sorted(own)


@pytest.mark.parametrize(
    "labels", [("entailment", "neutral", "contradiction"), ("Neutral", "ENTAILMENT", "Contradiction")]
)
def test_entailment_is_found_by_name(tiny_model: Path, tmp_path: Path, labels: tuple[str, ...]) -> None:
    first = tiny.build_nli(tmp_path / "a", encoder=tiny_model, labels=XNLI)
    other = tiny.build_nli(tmp_path / "b", encoder=tiny_model, labels=labels)
    np.testing.assert_allclose(probabilities(scorer(other), TEXTS), probabilities(scorer(first), TEXTS), atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "places"),
    [
        (["entailment", "not_entailment"], (1, 0)),
        (["no", "Entails"], (0, 1)),
        (["neutral", "contradicts", "entail"], (1, 2)),
    ],
)
def test_two_labels_do(labels: list[str], places: tuple[int, int]) -> None:
    assert nli.answers(dict(enumerate(labels)), where="model") == places


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["LABEL_0", "LABEL_1"], "no label for entailment: LABEL_0, LABEL_1"),
        (["a", "b", "entailment"], "no label for contradiction: a, b, entailment"),
    ],
)
def test_other_labels_are_named(labels: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        nli.answers(dict(enumerate(labels)), where="model")


def test_an_encoder_without_a_head_is_refused(tiny_model: Path) -> None:
    with pytest.raises(UserError, match=r"no trained weights for classifier"):
        scorer(tiny_model)


@pytest.mark.parametrize(
    "error",
    [torch.cuda.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
)
def test_running_out_of_memory_is_survived(model: Path, error: Exception) -> None:
    one = scorer(model)
    texts = [f"{text} {number}" for number in range(40) for text in TEXTS[:3]]
    sizes: list[int] = []
    failed = []

    def tight(batch: Batch) -> Any:
        size = sum(map(len, batch.ids))
        if size > 250:
            failed.append(size)
            raise error
        sizes.append(size)
        return one.forward(batch)

    done: list[int] = []
    found = replace(one, forward=tight).logits(texts, HYPOTHESES, advance=lambda rows=1: done.append(rows))
    np.testing.assert_allclose(found, one.logits(texts, HYPOTHESES, advance=None), atol=1e-4)
    assert sum(done) == len(texts)
    assert 1 < len(failed) < 10  # the budget grew back, and less often once that had failed
    assert np.mean(sizes) > 100


def test_the_budget_grows_back(model: Path) -> None:
    one = scorer(model)
    sizes: list[int] = []

    def once(batch: Batch) -> Any:
        sizes.append(len(batch.ids))
        if len(sizes) == 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return one.forward(batch)

    replace(one, forward=once).logits([f"{number} кружек" for number in range(400)], HYPOTHESES, advance=None)
    assert sizes[1] < sizes[0]
    assert max(sizes[2:]) >= sizes[0]


def test_a_pair_that_does_not_fit_is_named(model: Path) -> None:
    def never(batch: Batch) -> Any:
        raise RuntimeError("CUDA out of memory")

    with pytest.raises(UserError, match="one text of 128 tokens does not fit"):
        replace(scorer(model), forward=never).logits(TEXTS, HYPOTHESES, advance=None)


def test_other_errors_are_not_hidden(model: Path) -> None:
    def broken(batch: Batch) -> Any:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        replace(scorer(model), forward=broken).logits(TEXTS, HYPOTHESES, advance=None)


def test_a_text_is_scored_once_and_by_itself(model: Path) -> None:
    one = scorer(model)
    seen = []

    def spy(batch: Batch) -> Any:
        seen.extend(batch.ids)
        return one.forward(batch)

    texts = [*TEXTS, *TEXTS[::-1], ""]
    done: list[int] = []
    found = replace(one, forward=spy).logits(texts, HYPOTHESES, advance=lambda rows=1: done.append(rows))
    assert len(seen) == len(TEXTS) * len(HYPOTHESES)
    assert sum(done) == len(texts)
    np.testing.assert_array_equal(found[: len(TEXTS)], found[len(TEXTS) : -1][::-1])
    assert np.isnan(found[-1]).all()
    alone = np.concatenate([one.logits([text], HYPOTHESES, advance=None) for text in TEXTS])
    np.testing.assert_allclose(found[: len(TEXTS)], alone, atol=1e-4)


def test_a_hypothesis_that_leaves_no_room_is_refused(model: Path) -> None:
    with pytest.raises(UserError, match="leaves no room for a text in 40 tokens"):
        scorer(model, max_length=40).logits(TEXTS, [" ".join(tiny.SENTENCES[:5])], advance=None)


def test_templates_are_averaged(model: Path) -> None:
    both = teacher(model)
    asked = both.questions
    assert asked.products[0] == ("Это отзыв о товаре «посуда».", "A review of посуда.")
    scores = dict(zip(asked.all, both.scores(TEXTS, asked.all).T, strict=True))
    products = np.stack([np.mean([scores[one] for one in group], axis=0) for group in asked.products], axis=1)
    odds = products / (1 - products)
    statements = np.stack([np.mean([scores[one] for one in group], axis=0) for group in asked.statements], axis=1)
    none = (statements / (1 - statements)).max(axis=1)
    gone = none / (none + odds.max(axis=1))
    expected = odds / odds.sum(axis=1, keepdims=True) * (1 - gone)[:, None]
    found = both.label(TEXTS).probabilities
    np.testing.assert_allclose(found[:, [0, 2, 3]], expected, atol=1e-4)
    np.testing.assert_allclose(found[:, 1], gone, atol=1e-4)


@pytest.mark.parametrize(
    ("parts", "filled"),
    [("name", ["обувь"]), ("description", ["ботинки, туфли"]), ("both", ["обувь", "ботинки, туфли"])],
)
def test_what_hypotheses_are_made_of(parts: hypotheses.Parts, filled: list[str]) -> None:
    asked = hypotheses.questions(CATEGORIES, templates=["О {}."], parts=parts, none_statements=[["Доставка."]])
    assert asked.products[1] == tuple(f"О {part}." for part in filled)
    assert asked.products[2] == ("О ткани.",)  # it has no description
    assert "О нет товара." not in asked.all


def test_votes_are_distributions_and_empty_texts_abstain(model: Path) -> None:
    votes = teacher(model).label([*TEXTS, "", "  "])
    np.testing.assert_allclose(votes.probabilities[: len(TEXTS)].sum(axis=1), 1, atol=1e-6)
    assert np.isnan(votes.probabilities[len(TEXTS) :]).all()
    assert all(votes.evidence[: len(TEXTS)])
    assert votes.evidence[len(TEXTS) :] == [[], []]


def test_the_two_steps() -> None:
    products = np.array([[2.0, 0.0], [-3.0, -3.0]])
    statements = np.array([[2.0, -9.0], [-9.0, 1.0]])
    found = hypotheses.two_steps(products, statements, none=1)
    assert found[0, 1] == pytest.approx(0.5)
    assert found[0, 0] / found[0, 2] == pytest.approx(np.exp(2))
    assert found[1, 1] > 0.98
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_a_text_without_content_speaks_for_no_product_once_corrected(model: Path) -> None:
    plain, fair = teacher(model), teacher(model, content_free=["отзыв"])
    before, after = plain.label(["отзыв"]).probabilities[0], fair.label(["отзыв"]).probabilities[0]
    products = [0, 2, 3]
    assert np.ptp(before[products]) > 1e-3
    assert np.ptp(after[products]) < 1e-6
    assert fair.bias.mean() == pytest.approx(0, abs=1e-9)
    np.testing.assert_array_equal(teacher(model, content_free=["", " "]).bias, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"templates": ["Это обувь."]}, "no {} in the template"),
        ({"templates": []}, "in the template"),
        ({"none_statements": [[]]}, "without a wording"),
    ],
)
def test_questions_that_ask_nothing_are_refused(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"templates": [REVIEW], "parts": "name", "none_statements": []}
    with pytest.raises(UserError, match=message):
        hypotheses.questions(CATEGORIES, **(given | change))


def test_no_texts_give_no_votes(model: Path) -> None:
    assert teacher(model).label([]).probabilities.shape == (0, len(CATEGORIES))


@pytest.mark.parametrize("labels", [XNLI, ("entailment", "not_entailment")])
@pytest.mark.parametrize("kind", tiny.PAIRS)
def test_the_scores_of_every_kind_are_the_pipelines(kind: str, labels: tuple[str, ...], tmp_path: Path) -> None:
    """DeBERTa v3 as mDeBERTa-v3-base-mnli-xnli, ModernBERT as ModernBERT-large-zeroshot-v2.0, of two labels."""
    from transformers import pipeline

    path = tiny.build_pairs(tmp_path / kind, kind, labels=labels)
    nli.check(nli.Config(model=str(path)))
    classify = pipeline("zero-shot-classification", model=str(path), device="cpu")
    given = classify(TEXTS, HYPOTHESES, hypothesis_template="{}", multi_label=True)
    expected = [[dict(zip(row["labels"], row["scores"], strict=True))[one] for one in HYPOTHESES] for row in given]
    one = scorer(path)
    found = probabilities(one, TEXTS)
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-4)
    alone = np.concatenate([probabilities(one, [text]) for text in TEXTS])
    np.testing.assert_allclose(found, alone, atol=1e-4)
    np.testing.assert_allclose(probabilities(one, TEXTS[::-1])[::-1], found, atol=1e-4)

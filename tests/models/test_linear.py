"""The linear model: it learns, survives a save, and takes categories of one row or none."""

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from tsirius.errors import UserError
from tsirius.language.words import lemmas
from tsirius.models import linear

TEXTS = [
    "Кастрюля с толстым дном, суп варится быстро",
    "Кружки целые, а тарелка разбита",
    "Сковорода не пригорает",
    "Кроссовки жмут, подошва скользит",
    "Ботинки тёплые, стелька мягкая",
    "Туфли натирают, каблук шатается",
    "Платье село по фигуре, ткань приятная",
    "Куртка с короткими рукавами",
]
LABELS = [0, 0, 0, 1, 1, 1, 2, 2]


def fit(texts: list[str], labels: list[int], categories: int = 4, weights: list[float] | None = None) -> linear.Linear:
    return linear.fit(texts, labels, weights=weights, categories=categories, c=10.0, rounds=100, embed=None)


def test_it_learns_and_reads_other_forms_of_a_word() -> None:
    model = fit(TEXTS, LABELS)
    assert model.logits(TEXTS).argmax(axis=1).tolist() == LABELS
    assert model.logits(["две сковороды", "кросовки", "купила платья"]).argmax(axis=1).tolist() == [0, 1, 2]


def test_a_saved_model_gives_the_same_scores_from_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        fit(TEXTS, LABELS).save(tmp_path / name)
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()
    texts = [*TEXTS, "", "👍", "ноутбук"]
    assert np.array_equal(
        linear.load(tmp_path / "one", categories=4, embed=None).logits(texts), fit(TEXTS, LABELS).logits(texts)
    )


def test_categories_of_one_row_and_of_none() -> None:
    model = fit([*TEXTS, "Наушники играют громко"], [*LABELS, 3], categories=5)
    scores = model.logits([*TEXTS, "Наушники играют громко"])
    assert scores.argmax(axis=1).tolist() == [*LABELS, 3]
    assert np.isfinite(scores).all()
    assert (scores[:, 4] < scores[:, :4].min(axis=1) - 10).all()


@pytest.mark.parametrize("present", [[2], [0, 3]])
def test_one_or_two_categories_alone(present: list[int]) -> None:
    labels = [present[row % len(present)] for row in range(len(TEXTS))]
    scores = fit(TEXTS, labels).logits(TEXTS)
    assert scores.argmax(axis=1).tolist() == labels
    assert np.isfinite(scores).all()


def by_scikit_learn(model: linear.Linear, texts: list[str]) -> csr_matrix:
    """What a model without embeddings sees of the texts, by the vectorisers that it was fitted with."""
    blocks, start = [csr_matrix((len(texts), 0), dtype=np.float32)], 0
    for view, words in model.terms.items():
        if words:
            one = TfidfVectorizer(vocabulary=words, sublinear_tf=True, dtype=np.float32, **linear.VIEWS[view])
            one.idf_ = model.idf[start : start + len(words)]
            blocks.append(one.transform(texts))
        start += len(words)
    return hstack(blocks, format="csr")


def test_two_categories_are_as_sure_as_scikit_learn() -> None:
    model = fit(TEXTS[:6], LABELS[:6], categories=2)
    features = by_scikit_learn(model, TEXTS[:6])
    expected = LogisticRegression(C=10.0).fit(features, LABELS[:6]).predict_proba(features)
    powers = np.exp(model.logits(TEXTS[:6]))
    assert np.allclose(powers / powers.sum(axis=1, keepdims=True), expected, atol=1e-3)


@settings(max_examples=50)
@given(st.lists(st.one_of(st.sampled_from(TEXTS), st.text(max_size=40)), min_size=1, max_size=5))
def test_a_text_is_seen_as_scikit_learn_sees_it(texts: list[str]) -> None:
    model = fitted()
    expected = by_scikit_learn(model, texts) @ model.coefficients + model.intercepts
    np.testing.assert_allclose(model.logits(texts), expected, atol=1e-5)


@cache
def fitted() -> linear.Linear:
    return fit([*TEXTS, "и я, я! 5", "Кастрюля " * 3], [*LABELS, 3, 0])


def test_a_model_is_used_without_scikit_learn(tmp_path: Path) -> None:
    fit(TEXTS, LABELS).save(tmp_path)
    code = (
        "import sys; from pathlib import Path; from tsirius.models import linear;"
        f"linear.load(Path({str(tmp_path)!r}), categories=4, embed=None).logits(['чашка']);"
        "print([name for name in ('sklearn', 'scipy', 'polars', 'pandas') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_weights_count() -> None:
    texts, labels = ["чашка с ручкой"] * 2, [0, 1]
    assert fit(texts, labels, 2, [3.0, 1.0]).logits(texts[:1]).argmax() == 0
    assert fit(texts, labels, 2, [1.0, 3.0]).logits(texts[:1]).argmax() == 1


def test_texts_without_letters() -> None:
    assert fit(["👍", "👍"], [0, 1], 2).logits(["👍", "чашка", ""]).shape == (3, 2)


def remove_weights(folder: Path) -> None:
    (folder / linear.WEIGHTS).unlink()


def remove_vocabulary(folder: Path) -> None:
    (folder / linear.VOCABULARY).unlink()


def cut_weights(folder: Path) -> None:
    (folder / linear.WEIGHTS).write_bytes((folder / linear.WEIGHTS).read_bytes()[:100])


def other_vocabulary(folder: Path) -> None:
    (folder / linear.VOCABULARY).write_text(json.dumps({"lemmas": ["чашка"], "characters": []}), encoding="utf-8")


def repeat_a_term(folder: Path) -> None:
    change_first_term(folder, lambda terms: terms[1])


def number_for_a_term(folder: Path) -> None:
    change_first_term(folder, lambda terms: 1)


def change_first_term(folder: Path, other: Callable[[list[str]], object]) -> None:
    terms = json.loads((folder / linear.VOCABULARY).read_text(encoding="utf-8"))
    terms["characters"][0] = other(terms["characters"])
    (folder / linear.VOCABULARY).write_text(json.dumps(terms), encoding="utf-8")


def lose_an_array(folder: Path) -> None:
    arrays = load_file(folder / linear.WEIGHTS)
    save_file({"idf": arrays["idf"]}, folder / linear.WEIGHTS)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (remove_weights, "has no weights.safetensors"),
        (remove_vocabulary, "has no vocabulary.json"),
        (cut_weights, "broken"),
        (other_vocabulary, "do not belong together"),
        (lose_an_array, "broken"),
        (repeat_a_term, "broken"),
        (number_for_a_term, "a term is no text"),
    ],
)
def test_a_broken_folder_is_refused(tmp_path: Path, harm, message: str) -> None:  # type: ignore[no-untyped-def]
    fit(TEXTS, LABELS).save(tmp_path)
    harm(tmp_path)
    with pytest.raises(UserError, match=message):
        linear.load(tmp_path, categories=4, embed=None)


def letters(texts: Sequence[str]) -> NDArray[np.float32]:
    """Embeddings of two numbers: does a text hold a б, a ц?"""
    return np.array([["б" in text, "ц" in text] for text in texts], dtype=np.float32)


def test_embeddings_are_seen_beside_the_words_and_not_saved(tmp_path: Path) -> None:
    texts, labels = ["дуб", "бор", "цех", "конец"], [0, 0, 1, 1]
    model = linear.fit(texts, labels, weights=None, categories=2, c=10.0, rounds=100, embed=letters)
    assert model.logits(["бэ", "цэ"]).argmax(axis=1).tolist() == [0, 1]
    model.save(tmp_path)
    loaded = linear.load(tmp_path, categories=2, embed=letters)
    np.testing.assert_array_equal(loaded.logits(texts), model.logits(texts))
    with pytest.raises(UserError, match="do not belong together"):
        linear.load(tmp_path, categories=2, embed=None)


def test_a_training_text_is_lemmatised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read = list[str]()

    def counted(text: str) -> list[str]:
        read.append(text)
        return lemmas(text)

    monkeypatch.setattr(linear, "VIEWS", {**linear.VIEWS, "lemmas": {"analyzer": counted}})
    model = fit(TEXTS, LABELS)
    assert read == TEXTS
    monkeypatch.undo()
    np.testing.assert_array_equal(model.logits(TEXTS), fit(TEXTS, LABELS).logits(TEXTS))


def test_three_hundred_categories_are_told_apart_in_little_memory() -> None:
    texts = [f"{noun}{number} хороший" for number in range(300) for noun in ("чайник", "товар", "предмет")]
    labels = [number for number in range(300) for _ in range(3)]
    fit(TEXTS, LABELS)  # what it imports is not counted
    tracemalloc.start()
    fitted = linear.fit(texts, labels, weights=None, categories=300, c=10.0, rounds=30, embed=None)
    right = (fitted.logits(texts).argmax(axis=1) == labels).mean()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert right > 0.9
    weights = fitted.coefficients.size * 8
    assert peak < 40 * weights, "L-BFGS keeps ten pairs of steps and gradients"

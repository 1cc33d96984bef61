"""The classifier: what it does around a model, and the folders that it refuses."""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tsirius.errors import UserError
from tsirius.models import linear
from tsirius.models.classifier import CHUNK, Classifier, Description

NAMES = ["посуда", "обувь", "нет товара"]


class Recorder:
    """Scores a text by its length, and keeps what it was asked."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        self.seen += texts
        return np.array([[len(text), 3.0, 0.0] for text in texts], dtype=np.float32)


def description(shift: Sequence[float] = (0, 0, 0)) -> Description:
    return Description("linear", NAMES, "нет товара", None, list(shift), None, None, None, [])


def save(folder: Path) -> Path:
    folder.mkdir(parents=True)
    linear.fit(["чашка", "тапки"], [0, 1], weights=None, categories=3, c=1.0, rounds=50, embed=None).save(folder)
    description().save(folder)
    return folder


def test_texts_are_cleaned_and_scored_once_in_their_order() -> None:
    scorer, done = Recorder(), [0]

    def advance(rows: int = 1) -> None:
        done[0] += rows

    texts = ["чашка", " чашка_x000D_", "я", "", "&nbsp;", "чашка"]
    probabilities = Classifier(description(), scorer).predict_proba(texts, advance=advance)
    assert scorer.seen == ["чашка", "я"]
    assert done == [len(texts)]
    assert probabilities.shape == (6, 3)
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert Classifier(description(), scorer).predict(texts) == [
        "посуда", "посуда", "обувь", "нет товара", "нет товара", "посуда",
    ]  # fmt: skip


def test_no_texts_and_many_texts() -> None:
    classifier = Classifier(description(), Recorder())
    assert classifier.predict_proba([]).shape == (0, 3)
    texts = [f"{n}" for n in range(2 * CHUNK + 1)]
    assert len(classifier.predict(texts)) == len(texts)


def test_the_shift_moves_the_scores() -> None:
    assert Classifier(description([-4, 0, 0]), Recorder()).predict(["чашка"]) == ["обувь"]


def test_a_model_and_a_run_are_loaded(tmp_path: Path) -> None:
    save(tmp_path / "run" / "train" / "model")
    for path in (tmp_path / "run", tmp_path / "run" / "train" / "model"):
        classifier = Classifier.load(path)
        assert classifier.names == NAMES
        assert classifier.predict(["чашки", "тапок"]) == ["посуда", "обувь"]


def test_it_says_what_it_is_and_is_pickled_by_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "run" / "train" / "model")
    monkeypatch.chdir(tmp_path)
    classifier = Classifier.load("run")
    assert repr(classifier) == f"<Classifier linear, 3 categories (посуда, обувь, нет товара), from {tmp_path / 'run'}>"
    monkeypatch.chdir("/")
    again = pickle.loads(pickle.dumps(classifier))
    assert np.array_equal(again.predict_proba(["чашки", "тапок"]), classifier.predict_proba(["чашки", "тапок"]))
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(Classifier(description(), Recorder()))


def test_it_is_used_as_one_of_scikit_learn(tmp_path: Path) -> None:
    from sklearn import metrics
    from sklearn.base import is_classifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer
    from sklearn.utils.validation import check_is_fitted

    save(tmp_path / "model")
    classifier = Classifier.load(tmp_path / "model")
    texts, answers = np.array(["чашка", "тапки", None], dtype=object), np.array(["посуда", "обувь", "посуда"])
    assert is_classifier(classifier)
    check_is_fitted(classifier)
    assert classifier.classes_.tolist() == NAMES
    assert classifier.classes_[classifier.predict_proba(texts).argmax(axis=1)].tolist() == classifier.predict(texts)
    assert classifier.score(texts, answers) == metrics.get_scorer("accuracy")(classifier, texts, answers) == 2 / 3
    assert metrics.f1_score(answers, classifier.predict(texts), average="weighted") > 0.5
    shout = FunctionTransformer(lambda column: [text and text.upper() for text in column])
    assert make_pipeline(shout, classifier).predict(texts) == classifier.predict(texts)
    with pytest.raises(UserError, match="does not learn"):
        classifier.fit(texts, answers)


def test_missing_texts_name_no_product_and_a_bare_string_is_refused() -> None:
    classifier = Classifier(description(), Recorder())
    assert classifier.predict([None, float("nan"), "чашка"]) == ["нет товара", "нет товара", "посуда"]
    for method in (classifier.predict, classifier.predict_proba):
        with pytest.raises(UserError, match="a bare string instead of a list of texts"):
            method("чашка")


def change(key: str, value: object) -> object:
    def harm(folder: Path) -> None:
        found = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        (folder / "model.json").write_text(json.dumps({**found, key: value}), encoding="utf-8")

    return harm


def one_category_less(folder: Path) -> None:
    change("names", NAMES[1:])(folder)  # type: ignore[operator]  # a function
    change("prior_shift", [0, 0])(folder)  # type: ignore[operator]  # a function


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "model.json").unlink(), "holds no model.json"),
        (lambda folder: (folder / "model.json").write_text("{"), "does not describe a model"),
        (lambda folder: (folder / "model.json").write_text("{}"), "does not describe a model"),
        (lambda folder: (folder / "model.json").write_text("[]"), "does not describe a model"),
        (lambda folder: (folder / "model.json").write_text('{"format": 4}'), "does not describe a model: kind"),
        (change("format", 1), "has format 1"),
        (change("kind", "forest"), "kind: input should be 'linear', 'lora'"),
        (change("kind", "lora"), "names no max_length"),
        (change("kind", "ensemble"), "names no members"),
        (change("parts", ["../elsewhere"]), "outside the folder"),
        (change("prior", [0.5]), "do not fit together"),
        (change("kind", "onnx"), "names no max_length"),
        (change("names", 5), "names: input should be a valid list"),
        (change("prior_shift", None), "prior_shift"),
        (change("prior_shift", ["a", "b", "c"]), "prior_shift.0"),
        (change("prior_shift", [float("nan"), 0, 0]), "finite"),
        (change("prior_shift", [0]), "do not fit together"),
        (change("none", "мебель"), "do not fit together"),
        (one_category_less, "do not belong together"),
        (lambda folder: (folder / linear.WEIGHTS).unlink(), "has no weights"),
    ],
)
def test_a_broken_folder_is_refused(tmp_path: Path, harm, message: str) -> None:  # type: ignore[no-untyped-def]
    harm(save(tmp_path / "model"))
    with pytest.raises(UserError, match=message):
        Classifier.load(tmp_path / "model")


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        Classifier.load(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="finish the run"):
        Classifier.load(tmp_path)

"""Windows: a long text is read whole, a short one as ever."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from tsirius.models import encode, saved_encoder, windows
from tsirius.models.classifier import Classifier, Description

NAMES = ["посуда", "обувь", "нет товара"]


@given(st.integers(0, 300), st.integers(8, 40), st.integers(0, 2), st.integers(0, 2))
def test_windows_cover_the_text_and_overlap(length: int, most: int, before: int, after: int) -> None:
    body = list(range(100, 100 + length))
    ids = [*[1] * before, *body, *[2] * after]
    special = [*[1] * before, *[0] * length, *[1] * after]
    found = windows.cut(ids, special, max_length=most)
    if len(ids) <= most:
        assert found == [ids]
        return
    assert {len(window) for window in found} == {most}
    assert all(window[:before] == [1] * before and window[most - after :] == [2] * after for window in found)
    bare = [window[before : most - after] for window in found]
    assert sorted({token for window in bare for token in window}) == body
    shared = (most - before - after) // windows.OVERLAP
    assert all(one[-1] - other[0] + 1 >= shared for one, other in pairwise(bare))


def test_the_mean_is_of_each_texts_own_windows() -> None:
    scores = np.array([[1, 0], [2, 4], [4, 8], [0, 3]], dtype=np.float32)
    assert windows.mean(scores, [1, 2, 1]).tolist() == [[1, 0], [3, 6], [0, 3]]
    assert windows.mean(scores[:0], []).shape == (0, 2)


@pytest.fixture(scope="module")
def folders(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same model, which cuts long texts or reads them in windows."""
    made = {}
    for long_texts in ("truncate", "windows"):
        folder = tmp_path_factory.mktemp(long_texts) / "model"
        tiny.build_nli(folder, encoder=tiny_model, labels=NAMES)
        Description("full", NAMES, "нет товара", None, [0.0] * 3, None, None, 16, [], long_texts).save(folder)  # type: ignore[arg-type]  # one of both
        made[long_texts] = folder
    return made


def test_what_is_said_at_the_end_counts(folders: dict[str, Path]) -> None:
    short, long = "кружка целая", "доставка быстрая " * 40
    texts = [short, f"{long} тапки жмут", "", long]
    cut, whole = (Classifier.load(folders[name]).predict_proba(texts) for name in ("truncate", "windows"))
    assert np.allclose(cut[0], whole[0]) and np.allclose(cut[2], whole[2]), "short texts are read as ever"
    assert np.allclose(cut[1], cut[3]), "cut before the words that differ"
    assert np.abs(whole[1] - whole[3]).max() > 1e-4
    encoder = Classifier.load(folders["windows"]).scorer
    assert isinstance(encoder, saved_encoder.Encoder)
    by_hand = [encoder.logits([text])[0] for text in ("кружка целая", f"{long} тапки жмут")]
    assert np.allclose(encoder.logits([short, f"{long} тапки жмут"]), by_hand, atol=1e-5)
    assert encode.windowed_logits(encoder.model, encoder.tokenizer, [], max_length=16, half=None).shape == (0, 3)


def test_a_model_saved_before_it_was_asked_cuts(folders: dict[str, Path], tmp_path: Path) -> None:
    said = (folders["truncate"] / "model.json").read_text(encoding="utf-8")
    (tmp_path / "model.json").write_text(said.replace(',\n "long_texts": "truncate"', ""), encoding="utf-8")
    assert "long_texts" not in (tmp_path / "model.json").read_text(encoding="utf-8")
    from tsirius.models.classifier import describe

    assert describe(tmp_path).long_texts == "truncate"

"""There and back: two models one after the other, and no way back from what is of no use."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tsirius.augmenters import Source, backtranslate, generate, paraphrase
from tsirius.augmenters.generate import Rewritten, Search

SEARCH = Search(beams=2, candidates=2, sample=False, temperature=1, top_p=1, no_repeat=1, no_copy=0, max_tokens=60)
SOURCES = [Source("a", "суп варится быстро"), Source("b", "чашки целые"), Source("c", "слово " * 99)]
SPEED: dict[str, Any] = {"precision": "fp32", "batch_tokens": 999}


def test_two_models_one_after_the_other(tiny_marian: Path, tiny_t5: Path) -> None:
    made = backtranslate.backtranslator(str(tiny_marian), str(tiny_t5), search=SEARCH, **SPEED, seed=0)
    there = generate.load(str(tiny_marian), prefix="", search=replace(SEARCH, candidates=1), **SPEED)
    back = generate.load(str(tiny_t5), prefix="", search=SEARCH, **SPEED)
    expected = []
    for source in SOURCES[:2]:
        [[between]] = there.rewrite([source.text], ["k"])  # type: ignore[misc]  # not None
        expected += back.rewrite([between], ["k"])
    assert made(SOURCES) == [*expected, None]


def test_paraphrases_are_the_models(tiny_t5: Path) -> None:
    made = paraphrase.paraphraser(str(tiny_t5), prefix="", search=SEARCH, **SPEED, seed=0)
    written = generate.load(str(tiny_t5), prefix="", search=SEARCH, **SPEED)
    assert made(SOURCES) == written.rewrite([source.text for source in SOURCES], list("abc"))


class Said:
    """Stands for a model: what it says of each text."""

    def __init__(self, answers: dict[str, list[str] | None]) -> None:
        self.answers, self.asked = answers, list[str]()

    def rewrite(self, texts: Sequence[str], keys: Sequence[str]) -> Rewritten:
        self.asked += texts
        return [self.answers[text] for text in texts]


def test_what_loops_or_is_empty_is_not_translated_back(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Said({"раз": ["one"], "два": ["two two two two"], "три": [" "], "длинно": None, "четыре": []})
    second = Said({"one": ["единожды", "один раз"]})
    models = {"there": first, "back": second}
    monkeypatch.setattr(backtranslate, "load", lambda model, **_: models[model])
    made = backtranslate.backtranslator("there", "back", search=SEARCH, **SPEED, seed=0)
    sources = [Source(text, text) for text in ("два", "раз", "длинно", "три", "четыре")]
    assert made(sources) == [[], ["единожды", "один раз"], None, [], []]
    assert second.asked == ["one"]

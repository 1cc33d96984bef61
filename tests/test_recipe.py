"""The recipe of the small encoder: what is held out stays out."""

import re
import sys
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))
from recipes.mini import dev_sets, forms, goods
from recipes.mini.prepare import LEARNED, NAME_HELD_OUT, NEITHER, REVIEW_HELD_OUT, hold_out

LINE = st.tuples(st.sampled_from("абвгдежз"), st.sampled_from(["", "kept", "away"]))
"""A text, and the listing it was left for if any: one whose name is held out, or another."""


@given(st.lists(LINE, min_size=1, max_size=40), st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 20))
def test_the_text_of_a_held_out_line_is_learned_from_nowhere(
    lines: list[tuple[str, str]], share: float, seed: int
) -> None:
    listed, away = (np.array([test(name) for _, name in lines]) for test in (bool, "away".__eq__))
    split = hold_out([text for text, _ in lines], listed, away, share=share, seed=seed)
    texts = {kind: {text for (text, _), one in zip(lines, split, strict=True) if one == kind} for kind in range(4)}
    assert not texts[LEARNED] & (texts[REVIEW_HELD_OUT] | texts[NAME_HELD_OUT])
    assert not texts[REVIEW_HELD_OUT] & texts[NAME_HELD_OUT]
    assert not (away & np.isin(split, (LEARNED, REVIEW_HELD_OUT))).any()
    for (text, _), one in zip(lines, split, strict=True):
        assert one != NEITHER or (text, "kept") in lines
        assert share or one != REVIEW_HELD_OUT
    if share == 1.0:
        assert not texts[LEARNED]


def test_names_that_are_held_out_are_in_no_hypothesis() -> None:
    found = goods.load(index=False)
    kept = forms.held_out_names(found, 20)
    assert len(kept) == len(found.departments)
    row = {"departments": [0], "kinds": [0]}
    names = [{**row, "general": ["ушанка"], "held_out": False}, {**row, "general": ["буденовка"], "held_out": True}]
    drawn = [form.text.replace("ё", "е") for form in forms.draw(found, names, [0, 1], 20, 4000)]
    assert any("ушанка" in text for text in drawn)
    for name in (*kept, "буденовка"):  # as a whole: «художественная литература» is another name than «литература»
        alone = re.compile(rf"(?<![а-я] ){name.replace('ё', 'е')}(?! [а-я])|(про|и) {name.replace('ё', 'е')}(?! [а-я])")
        assert not [text for text in drawn if alone.search(text)], name


def test_the_figures_of_the_card_are_of_the_answered_reviews(tmp_path: Path) -> None:
    (tmp_path / "categories.toml").write_text(
        '[[category]]\nname = "обувь"\ndescription = "ботинки, сапоги"\n[[category]]\nname = "посуда"\ndescription = '
        '"тарелки, кружки"\n[[category]]\nname = "нет товара"\ndescription = "доставка, продавец"\nnone = true\n'
    )
    reviews = [
        "Ботинки жмут",
        "Сапоги промокают",
        "Тарелка с трещиной",
        "Кружка целая",
        "Посылка шла месяц",
        "не спрошено",
    ]
    (tmp_path / "reviews.csv").write_text("id,text\n" + "".join(f"r{n},{text}\n" for n, text in enumerate(reviews)))
    truth = ["обувь", "обувь", "посуда", "посуда", "нет товара"]
    rows = [f"r{n},{name}\n" for n, name in enumerate(truth)]
    files = [tmp_path / name for name in ("categories.toml", "reviews.csv", "answers.csv")]
    files[2].write_text("id,category\n" + "".join(rows[::-1]))
    assert dev_sets.measure("tsirius-mini", *files) == {"rows": 5, "highest": 1.0, "prior": 1.0}
    files[2].write_text("id,category\n" + "".join([*rows[:4], "r4,обувь\n"]))
    assert dev_sets.measure("tsirius-mini", *files)["highest"] < 0.9

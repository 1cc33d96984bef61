"""Seeds: whose each word of the categories file is, and how far its neighbours follow."""

import numpy as np
import pytest

from tsirius.categories import Categories, Category
from tsirius.labellers.seeds import NAME_WEIGHT, membership, seeds

CATEGORIES = Categories(
    [
        Category("посуда", description="кружки, чашки для кухни"),
        Category("кухня", description="мебель, посуда и её"),
        Category("нет товара", description="доставка", none=True),
    ]
)


def test_a_word_of_two_categories_is_shared_by_its_weight() -> None:
    words = seeds(CATEGORIES)
    assert list(words) == sorted(words)
    assert words["кружка"].tolist() == [1, 0, 0] and words["доставка"].tolist() == [0, 0, 1]
    share = NAME_WEIGHT / (NAME_WEIGHT + 1)
    assert words["посуда"] == pytest.approx([share, 1 - share, 0])
    assert words["кухня"] == pytest.approx([1 - share, share, 0])
    assert "и" not in words and "для" not in words


@pytest.mark.parametrize("widen", [False, True])
def test_rows_sum_to_at_most_one_and_seeds_keep_their_categories(widen: bool) -> None:
    seeded = seeds(CATEGORIES)
    words = [*seeded, "тарелка", "трындец"]
    belongs = membership(words, seeded, categories=3, near=3.0, widen=widen)
    assert belongs.shape == (len(words), 3) and (belongs >= 0).all() and (belongs.sum(axis=1) <= 1 + 1e-9).all()
    for row, word in enumerate(seeded):
        assert not belongs[row][seeded[word] == 0].any()
    assert (belongs[-2].max() > 0.5) == widen
    assert belongs[-2].argmax() == 0


def test_no_words_belong_to_nothing() -> None:
    assert membership([], seeds(CATEGORIES), categories=3, near=5.0, widen=True).shape == (0, 3)
    assert not np.any(membership(["тарелка"], {}, categories=3, near=5.0, widen=True))

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsirius.language.near_duplicates import (
    PERMUTATIONS,
    Signatures,
    best_bands,
    near_duplicate_groups,
    shingle_hashes,
)
from tsirius.language.words import words

LONG = "Заказывала эту кофту для дочки в подарок, ткань мягкая, швы ровные, рукав немного длинноват, пришла за неделю"


def test_same_words_share_a_group():
    texts = ["Супер!", "супер", "👍", "👍👍", "Всё отлично", "все ОТЛИЧНО!!!", "👍", ""]
    assert near_duplicate_groups(texts, similarity=0.8) == [0, 0, 2, 3, 4, 4, 2, 7]


def test_near_duplicates_share_a_group_and_others_do_not():
    other = "Пылесос шумный, но пыль собирает хорошо, контейнер легко моется, шнура хватает на всю комнату"
    texts = [other, LONG, LONG.replace("неделю", "недели"), LONG[:60] + other[60:], LONG + " быстро"]
    assert near_duplicate_groups(texts, similarity=0.8) == [0, 1, 1, 3, 1]
    assert near_duplicate_groups(texts, similarity=1.0) == [0, 1, 2, 3, 4]
    assert near_duplicate_groups([], similarity=0.8) == []
    with pytest.raises(ValueError, match="similarity"):
        near_duplicate_groups(texts, similarity=0)


def test_short_texts_do_not_chain():
    short = [f"{start} {end}" for start in ("всё хорошо", "хорошо всё", "очень хорошо") for end in ("да", "нет", "ок")]
    assert near_duplicate_groups(short, similarity=0.5) == list(range(len(short)))


def test_small_steps_do_not_chain_through_a_whole_file():
    numbers = np.random.default_rng(0).integers(0, 10**6, size=3000)
    steps = [" ".join(f"слово{number}" for number in numbers[at : at + 30]) for at in range(2900)]
    sizes = np.bincount(near_duplicate_groups(steps, similarity=0.8))
    assert 1 < sizes.max() <= 200


def test_nearly_all_pairs_above_the_threshold_are_found():
    random.seed(0)
    letters = "абвгдежзиклмнопрстуф "
    texts = []
    for _ in range(300):
        text = [random.choice(letters) for _ in range(200)]
        copy = list(text)
        for place in random.sample(range(200), 3):  # similarity about 0.87
            copy[place] = random.choice(letters)
        texts += ["".join(text), "".join(copy)]
    groups = near_duplicate_groups(texts, similarity=0.8)
    found = sum(groups[at] == groups[at + 1] for at in range(0, 600, 2))
    assert found >= 295
    assert len(set(groups)) >= 300


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=60), st.sampled_from([LONG, LONG.upper(), LONG + "!", LONG + " ок"]))))
def test_groups_are_named_by_their_first_row(texts):
    groups = near_duplicate_groups(texts, similarity=0.8)
    assert len(groups) == len(texts)
    for row, group in enumerate(groups):
        assert group <= row and groups[group] == group
    first = {text: groups[row] for row, text in reversed(list(enumerate(texts)))}
    assert all(groups[row] == first[text] for row, text in enumerate(texts))


@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.95])
def test_bands_are_those_of_the_library(similarity):
    from datasketch import MinHashLSH

    library = MinHashLSH(threshold=similarity, num_perm=PERMUTATIONS, weights=(0.05, 0.95))
    assert best_bands(similarity) == (library.b, library.r)


def test_signatures_are_those_of_the_library(tmp_path):
    from datasketch import MinHash

    keys = ["один достаточно длинный текст", "и ещё один, подлиннее первого", "шесть6"]
    hashes, starts = shingle_hashes([" ".join(words(key)) for key in keys])
    signatures = Signatures(tmp_path / "signatures", keys, [0, 1, 2]).rows(np.array([0, 1, 2]))
    for row, own in enumerate(np.split(hashes, starts[1:])):
        expected = MinHash(num_perm=PERMUTATIONS, seed=1, scheme="affine32", hashfunc=int)
        expected.update_batch(own.tolist())
        assert (signatures[row] == expected.hashvalues).all()

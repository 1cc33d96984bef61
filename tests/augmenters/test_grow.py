"""Growing: sources and methods take turns, within bounds, and refusals are counted."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytest
from rows import examples

from tsirius.augmenters import Augmenter, Source, accept
from tsirius.augmenters.grow import Gate, Grown, grow
from tsirius.augmenters.relabel import Relabeller
from tsirius.errors import UserError
from tsirius.labellers import Votes
from tsirius.progress import Advance


def grown(
    reviews: dict[str, list[str]],
    wanted: dict[str, int],
    augmenters: Mapping[str, Augmenter],
    *,
    relabeller: Relabeller | None = None,
    max_per_source: int = 4,
    taken: set[str] | None = None,
) -> Grown:
    rows = examples(reviews)
    judge = accept.judge(
        [accept.Row(*row) for row in rows.select("clean", "group").iter_rows()],
        [],
        protected=frozenset(), shortest=0.2, longest=9, least=-9, most=1, likeness=0.9,
    )  # fmt: skip
    return grow(
        rows, wanted, augmenters, Gate(judge, relabeller or Relabeller([]), evidence={}),
        max_per_source=max_per_source, taken=taken if taken is not None else set(), seed=0,
    )  # fmt: skip


def numbered(sources: Sequence[Source]) -> list[Iterator[str]]:
    return [iter([f"{source.text} {number} раз" for number in range(9)]) for source in sources]


class Odd:
    """Gives a text a category by its number."""

    name = "odd"

    def label(self, texts: Sequence[str], *, advance: Advance | None = None) -> Votes:
        odd = ["3" in text or "5" in text or not any(map(str.isdigit, text)) for text in texts]
        return Votes(np.array([[one, not one] for one in odd], dtype=np.float32), [""] * len(texts))


def test_what_a_labeller_reads_otherwise_is_refused_and_tries_are_bounded() -> None:
    made = grown({"посуда": ["кружка", "тарелка"]}, {"посуда": 99}, {"eda": numbered}, relabeller=Relabeller([Odd()]),
                 taken={"r0~eda1"})  # fmt: skip
    assert made.refused == {"another category": 14}
    assert sorted(made.accepted["id"].to_list()) == ["r0~eda2", "r0~eda3", "r1~eda1", "r1~eda2"]
    texts = ["кружка 3 раз", "тарелка 3 раз", "кружка 5 раз", "тарелка 5 раз"]
    assert sorted(made.accepted["clean"].to_list()) == sorted(texts)
    assert [text.split()[1] for text in made.accepted["clean"]] == ["3", "3", "5", "5"], "in turns"


def test_the_cap_on_variants_of_one_review_holds() -> None:
    assert grown({"посуда": ["кружка"]}, {"посуда": 50}, {"eda": numbered}).accepted.height == 4
    both = grown({"посуда": ["кружка"]}, {"посуда": 50}, {"eda": numbered, "paraphrase": numbered}).accepted
    assert set(Counter(both["method"].to_list()).values()) <= {4} and both["clean"].is_unique().all()


def test_sources_and_methods_are_used_evenly() -> None:
    reviews = {"посуда": [f"кружка номер{n}" for n in range(9)]}
    made = grown(reviews, {"посуда": 9}, dict.fromkeys(("eda", "paraphrase", "backtranslate"), numbered)).accepted
    assert made["origin"].is_unique().all() and made.height == 9
    assert set(Counter(made["method"].to_list()).values()) == {3}
    more = grown(reviews, {"посуда": 40}, dict.fromkeys(("eda", "paraphrase"), numbered)).accepted
    assert set(Counter(more["origin"].to_list()).values()) <= {4, 5}


def test_no_more_sources_are_rewritten_than_variants_are_missing() -> None:
    asked = Counter[str]()

    def once(sources: Sequence[Source]) -> list[Iterator[str]]:
        asked.update(source.id for source in sources)
        return numbered(sources)

    grown({"посуда": [f"кружка номер{n}" for n in range(50)]}, {"посуда": 7}, {"eda": once})
    assert len(asked) == 7 and set(asked.values()) == {1}


def test_what_a_person_can_mend_is_told() -> None:
    def full(sources: Sequence[Source]) -> list[Iterator[str]]:
        raise UserError("no such model")

    with pytest.raises(UserError, match="no such model"):
        grown({"посуда": ["кружка"]}, {"посуда": 1}, {"paraphrase": full})

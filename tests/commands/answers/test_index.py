"""The index says after each entry what the whole log says, whatever people did in whatever order."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from tsirius.answers import standing
from tsirius.answers.log import Answer, Log
from tsirius.answers.standing import Given
from tsirius.commands.answers.index import Index

NAMES = ["обувь", "посуда"]
REVIEWS = pl.DataFrame(
    {"id": [f"r{row}" for row in range(8)], "hash": ["a", "b", "c", "c", "d", "e", "f", "g"],
     "group": [7, 7, 3, 3, 5, 5, 9, 1]}
)  # fmt: skip
ACTION = st.one_of(
    st.tuples(
        st.sampled_from(["Анна", "Борис"]),
        st.sampled_from([*REVIEWS["hash"].unique(), "gone"]),
        st.sampled_from(["category", "skip", "several"]),
        st.sampled_from([*NAMES, "мебель"]),
        st.sampled_from(["lesson", "lesson", "exam"]),
    ),
    st.tuples(st.sampled_from(["Анна", "Борис"])),
)


def do(log: Log, action: tuple[Any, ...]) -> None:
    if len(action) == 1:
        log.undo(action[0])
        return
    who, text, verdict, category, kind = action
    log.add([Answer(text, text, category if verdict == "category" else None, kind, who, verdict)])


@settings(max_examples=60, deadline=None)
@given(st.lists(ACTION, max_size=14), st.sets(st.sampled_from(REVIEWS["id"].to_list()), max_size=2))
def test_the_index_agrees_with_the_log(actions: list[tuple[Any, ...]], drawn: set[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log, seen = Log(Path(folder), hold=True), 0
        index = Index(REVIEWS["hash"], REVIEWS["group"], names=NAMES)
        index.draw([int(name[1:]) for name in sorted(drawn)])
        for action in actions:
            do(log, action)
            entries = log.since(seen)
            index.add(entries)
            seen = entries[-1][0].number if entries else seen
        answers = log.standing()
        log.close()
    said, _ = standing.stand(REVIEWS, Given(tuple(answers), frozenset(drawn)), names=NAMES)
    skipped = [one.text for one in answers if one.verdict == "skip"]
    done = REVIEWS.filter(pl.col("id").is_in(said["id"].implode()) | pl.col("hash").is_in(skipped))
    closed = REVIEWS["group"].is_in(done["group"].implode())
    assert index.open.tolist() == (~closed & REVIEWS["group"].is_first_distinct()).to_list()
    exam = set(said.filter(pl.col("role") == "exam")["id"])
    assert index.protected.tolist() == [name in exam for name in REVIEWS["id"]]
    for text in REVIEWS["hash"].unique():
        assert index.of(text) == [one for one in answers if one.text == text]
    assert index.exam() == {one.text: one.category for one in answers if one.kind == "exam" and one.category}
    counted = {who: dict(counts) for who, counts in index.people().items()}
    for who in ("Анна", "Борис"):
        own = [one for one in answers if one.who == who]
        assert counted.get(who, {}) == {
            kind: n for kind in ("lesson", "exam") if (n := sum(o.kind == kind for o in own))
        }
        assert [one.number for one in index.last(who, 99)][:1] == [one.number for one in own][-1:]
    lessons = [one for one in answers if one.kind == "lesson"]
    known = set(REVIEWS["hash"])
    divided = {
        text for text in known
        if len({(one.verdict, one.category) for one in lessons if one.text == text and one.verdict != "skip"}) > 1
    }  # fmt: skip
    assert set(index.disputed()) & known == divided
    assert set(index.answered()) == {one.text for one in lessons}

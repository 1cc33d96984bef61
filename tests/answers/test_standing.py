"""Which answers count: people agree or not, copies share an answer, the exam is left alone."""

import json
from pathlib import Path

import polars as pl
import pytest

from tsirius.answers import standing
from tsirius.answers.log import Answer, Kind, Log, Verdict, text_hash
from tsirius.answers.standing import Given, stand
from tsirius.errors import UserError
from tsirius.store import with_checksum

NAMES = ["обувь", "посуда"]
REVIEWS = pl.DataFrame(
    {"id": ["a", "b", "c", "d", "e"], "text": ["один", "один", "почти один", "два", "три"], "group": [0, 0, 0, 3, 4]}
)


def say(
    text: str, category: str | None, who: str = "Анна", kind: Kind = "lesson", verdict: Verdict = "category"
) -> Answer:
    return Answer("?", text_hash(text), category, kind, who, verdict)


def roles(*answers: Answer, exam: tuple[str, ...] = ()) -> dict[str, tuple[str, str | None]]:
    table, _ = stand(REVIEWS, Given(answers, frozenset(exam)), names=NAMES)
    return {name: (role, category) for name, role, category in table.iter_rows()}


def lost(*answers: Answer, exam: tuple[str, ...] = ()) -> dict[str, int]:
    counts = stand(REVIEWS, Given(answers, frozenset(exam)), names=NAMES)[1]
    return {why: count for why, count in counts.items() if count}


def test_an_answer_is_every_copys() -> None:
    found = roles(say("один", "обувь"))
    assert found == {"a": ("lesson", "обувь"), "b": ("lesson", "обувь"), "c": ("copy", "обувь")}


def test_copies_that_are_answered_differently_keep_their_own() -> None:
    found = roles(say("один", "обувь"), say("почти один", "посуда"))
    assert found == {"a": ("lesson", "обувь"), "b": ("lesson", "обувь"), "c": ("lesson", "посуда")}


def test_the_majority_counts_and_a_draw_does_not() -> None:
    one, other = say("два", "обувь", "Анна"), say("два", "посуда", "Борис")
    assert roles(one, other) == {"d": ("disputed", None)} and lost(one, other) == {"disputed": 1}
    assert roles(one, other, say("два", "обувь", "Вера")) == {"d": ("lesson", "обувь")}
    assert roles(say("два", None, verdict="several")) == {"d": ("several", None)}
    assert roles(say("два", None, verdict="skip")) == {} and lost(say("два", None, verdict="skip")) == {"skipped": 1}


def test_answers_that_come_to_nothing_are_counted() -> None:
    assert lost(say("нет такого", "обувь"), say("два", "мебель")) == {"gone": 1, "renamed": 1}
    assert roles(say("два", "мебель")) == {}


@pytest.mark.parametrize("planted", ["один", "почти один"])
def test_an_exam_review_or_its_near_copy_is_never_a_lesson(planted: str) -> None:
    for answers, exam in (
        ((say(planted, "обувь"),), ("a",)),
        ((say(planted, "обувь"), say("один", "посуда", "Борис", kind="exam")), ()),
    ):
        assert roles(*answers, exam=exam) == dict.fromkeys("abc", ("exam", None))
        assert lost(*answers, exam=exam) == {"protected": 1}


def test_nothing_given_is_nothing(tmp_path: Path) -> None:
    given = standing.read(tmp_path)
    assert given == Given((), frozenset()) and given.key() is None
    assert roles() == {} and lost() == {}


def test_the_key_hangs_on_what_is_said_not_on_when(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.add([say("один", "обувь")])
    first = standing.read(tmp_path).key()
    log.add([say("один", "обувь")])
    assert standing.read(tmp_path).key() == first, "the same again"
    log.add([say("два", "посуда")])
    assert standing.read(tmp_path).key() != first
    log.undo("Анна")
    assert standing.read(tmp_path).key() == first


def test_the_exams_sample_is_read_and_a_damaged_one_refused(tmp_path: Path) -> None:
    path = tmp_path / standing.SAMPLE
    path.parent.mkdir()
    path.write_text(json.dumps(with_checksum({"rows": [["a", "all", 5]]})), encoding="utf-8")
    assert standing.read(tmp_path).exam == {"a"}
    path.write_text(path.read_text(encoding="utf-8").replace('"a"', '"b"'), encoding="utf-8")
    with pytest.raises(UserError, match="altered or damaged"):
        standing.read(tmp_path)

"""The written texts of the recipe for goods: what they are put together from, and that they can be."""

import csv
import random
import string
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from recipes.goods import shop, written
from recipes.mini import goods, prepare

SLOTS = {
    "named": set(written.CASES),
    "passing": {"s", *written.CASES, *(f"o_{case}" for case in written.CASES)},
    "mention": {f"o_{case}" for case in written.CASES},
    "context": set(),
    "none_context": set(),
    "tail": set(),
}


def english(phrase: str) -> bool:
    return phrase.isascii()


def plain(phrase: str) -> str:
    return " ".join(phrase.lower().replace("ё", "е").split())


def test_every_department_is_implied_in_both_languages() -> None:
    found = defaultdict(set)
    for owner, thing, _ in written.uses():
        found[owner].add(english(thing))
    assert dict(found) == {table["id"]: {False, True} for table in shop.tables()[0]}


def test_a_phrase_that_implies_a_thing_is_of_one_department_and_language() -> None:
    owners = defaultdict(set)
    for owner, thing, phrase in written.uses():
        assert phrase, thing
        owners[plain(phrase)].add(owner)
        assert not english(thing) or english(phrase), (thing, phrase)
    assert not {phrase: found for phrase, found in owners.items() if len(found) > 1}
    first: dict[tuple[str, str], str] = {}  # a thing's language is told by its first phrase
    for owner, thing, phrase in written.uses():
        first.setdefault((owner, thing), phrase)
    assert not [(thing, phrase) for (_, thing), phrase in first.items() if english(thing) != english(phrase)]


@pytest.mark.parametrize("kind", ["ru", "en"])
def test_texts_that_name_nothing_cover_what_reviews_speak_of(kind: str) -> None:
    assert set(written.nothing(kind == "en")) == {*prepare.ASPECTS, "other"}
    assert set(written.stories(kind == "en")) == {*prepare.ASPECTS, "other"}


def test_alternatives_are_parted_and_closed() -> None:
    phrases = [phrase for table in written.table("stories.txt").values() for phrase in table]
    phrases += [frame for _, _, frames in written.companions() for frame in frames]
    rng = random.Random(1)
    for phrase in phrases:
        made = {written.chosen(rng, phrase) for _ in range(40)}
        assert len(made) > 1, phrase
        assert not any(mark in text for text in made for mark in "[]/"), phrase
    assert written.chosen(rng, "[a/a], [b/b] c, [/]") == "a, b c"


def test_companions_are_of_departments_and_shelves_that_exist() -> None:
    departments = {table["id"] for table in shop.tables()[0]}
    for owner, thing, frames in written.companions():
        assert owner in departments
        assert all(english(thing) == english(frame) for frame in frames), thing
        slots = {slot for frame in frames for _, slot, _, _ in string.Formatter().parse(frame) if slot is not None}
        assert slots <= set(written.CASES), thing
        assert all("{" in frame for frame in frames), thing


def test_no_phrase_is_empty_or_written_twice() -> None:
    for name in ("none.txt", "stories.txt", "frames.txt"):
        for (kind, language), phrases in written.table(name).items():
            assert all(phrases), (name, kind)
            assert language in ("ru", "en")
            assert language == "ru" or all(map(english, phrases)), (name, kind)
            again = [phrase for phrase, count in Counter(map(plain, phrases)).items() if count > 1]
            assert not again, (name, kind, again)
    again = [row for row, count in Counter((one, plain(two)) for one, _, two in written.uses()).items() if count > 1]
    assert not again


def test_nothing_of_the_bed_is_written() -> None:
    """No phrase shares half of its dictionary forms with a review of the bed that it is tested by."""
    bed = Path(__file__).parents[1] / "recipes" / "bed"
    reviews = [
        row["text"]
        for name in ("bed.csv", "bed_en.csv")
        for row in csv.DictReader((bed / name).open("r", encoding="utf-8"))
    ]
    told = [set(goods.lemmas(text)) for text in reviews]
    phrases = [phrase for _, _, phrase in written.uses()]
    phrases += [
        phrase for name in ("none.txt", "frames.txt") for table in written.table(name).values() for phrase in table
    ]
    near = []
    for phrase in phrases:
        words = set(goods.lemmas(phrase))
        if len(words) > 2 and any(
            2 * len(words & here) >= len(words | here) or (len(words) > 3 and 5 * len(words & here) >= 4 * len(words))
            for here in told
        ):
            near.append(phrase)
    assert not near


def test_frames_have_only_slots_that_are_filled() -> None:
    for (kind, _), frames in written.table("frames.txt").items():
        for frame in frames:
            slots = {slot for _, slot, _, _ in string.Formatter().parse(frame) if slot is not None}
            assert slots <= SLOTS[kind], frame
            if kind == "passing":  # tells of a thing, and mentions another
                assert slots - SLOTS["mention"], frame
                assert slots & SLOTS["mention"], frame
            elif SLOTS[kind]:
                assert slots, frame


@pytest.mark.parametrize("latin", [False, True])
def test_texts_are_put_together(latin: bool) -> None:
    rng = random.Random(1)
    thing, other = ("kettle", "shoe") if latin else ("чайник", "тапочки")
    phrase = "boils in two minutes" if latin else "кипит две минуты"
    for _ in range(300):
        for text in (
            written.named(rng, thing, [phrase]),
            written.named(rng, thing, None, [phrase]),
            written.met(rng, thing, ["{n} [is here/was there]" if latin else "{n} [тут/там]"]),
            written.passing(rng, thing, phrase, other, latin),
            written.implied(rng, [phrase], latin),
            written.generic(rng, latin)[0],
        ):
            assert text.strip() and "{" not in text


def test_a_frame_is_filled_in_its_case() -> None:
    names = written.cases("сковорода", "o_")
    assert written.filled("вместе с {o_i}, к {o_d}", **names) == "вместе со сковородой, к сковороде"
    assert written.filled("с {i}", **written.cases("синяя скатерть", "")) == "с синей скатертью"


def test_no_goods_are_found_in_words_of_the_same_dictionary_form() -> None:
    departments, kinds, none, more = shop.tables()
    number = {table["id"]: place for place, table in enumerate(departments)}
    found = shop.index(departments, kinds, none, number, frozenset(more["words"]["homographs"]))
    items = {item for table in kinds for item in table["items"]}
    assert set(more["words"]["homographs"]) <= items
    assert not found.found(goods.lemmas("беру ещё, больше не надо, от души, ни капли, битая, из банка"))
    assert found.found(goods.lemmas("беру перчатки"))

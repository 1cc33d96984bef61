"""The program in Russian: the catalogue against the source, how texts are found in it, and what a user sees."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import sweep
import typer.main
from hypothesis import given
from hypothesis import strategies as st

from tsirius import cli, i18n
from tsirius.errors import UserError

CATALOGUE = Path(i18n.__file__).parent / "assets" / "ru.toml"
SECTIONS = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))
FOREIGN = ("click", "pages", "placeholders")
"""Sections that are not read from the source of the messages."""
TEXTS = {english: said for room, texts in SECTIONS.items() if room not in FOREIGN for english, said in texts.items()}
OPEN: tuple[str, ...] = ()
"""Rooms whose texts are still to be translated."""
SAMPLES = {"n": "1,234", "p": "s", "w": "   "}
LATIN = re.compile(r"[A-Za-z]{2,}")

Call = Callable[..., subprocess.CompletedProcess[str]]


@cache
def source() -> sweep.Sweep:
    swept = sweep.Sweep()
    swept.sweep()
    return swept


def holes(template: str) -> list[tuple[str, str]]:
    return [(number, kind) for number, kind, _ in i18n.HOLE.findall(template)]


def test_every_text_of_the_source_has_a_translation() -> None:
    missing = {
        text: sorted(places)[0]
        for text, places in source().found.items()
        if text not in TEXTS and not any(place.startswith(OPEN) for place in places if OPEN)
    }
    assert not missing


def test_every_translation_is_of_a_text_of_the_source() -> None:
    assert not TEXTS.keys() - source().found.keys()


def test_the_sweep_finds_what_a_reader_finds() -> None:
    """A count of what grep sees keeps the sweep from growing blind."""
    files = [path.read_text(encoding="utf-8") for path in sorted(sweep.ROOT.rglob("*.py"))]
    refusals = sum(len(re.findall(r"raise UserError\(", text)) for text in files)
    where = {place for places in source().found.values() for place in places}
    assert len(where) > refusals > 300
    for text in ("is missing", "; did you mean {0}?", "sure", "{0:n} of {1:n} reviews kept: {2:l}", "weights ({0})"):
        assert text in source().found


def test_the_pages_and_the_catalogue_name_the_same_templates() -> None:
    assert sweep.pages().keys() == SECTIONS["pages"].keys()


@pytest.mark.parametrize("room", sorted(SECTIONS))
def test_translations_have_the_holes_of_their_templates(room: str) -> None:
    for english, said in SECTIONS[room].items():
        wanted = {number for number, kind in holes(english) if kind != "p"}
        assert {number for number, _ in holes(said)} == wanted, english
        assert all(len(words.split("|")) in (1, 4) for _, _, words in i18n.HOLE.findall(said)), english


@pytest.mark.parametrize("room", sorted(SECTIONS.keys() - {"placeholders"}))
def test_translations_are_russian(room: str) -> None:
    """Something in Cyrillic, unless the template has no word of its own, and no letter that only looks alike."""
    names = re.compile(r"[\w./=*\"'\[\]{}:,() …×|+-]*")
    for english, said in SECTIONS[room].items():
        words = re.sub(r"\{\d[^}]*\}", "", english)
        if re.search(r"[a-z]{2,} [a-z]{2,}", words) and english != said:
            assert re.search("[а-яё]", said), english
        mixed = re.search(r"[а-яё][a-z]|[a-z][а-яё]", re.sub(r"&\w+;|<[^>]+>|\{\d[^}]*\}", " ", said), re.IGNORECASE)
        assert not mixed, (said, mixed)
        assert names is not None


def test_a_text_made_of_a_template_finds_its_translation() -> None:
    """Of each template, filled with values that look like none; texts in it are ones that the catalogue has."""
    catalogue, wrong = i18n.catalogue(), {}
    for english, said in TEXTS.items():
        values = [
            SAMPLES.get(kind, "unchanged" if kind in ("t", "l") else "a.csv: is empty. Check the path." if kind == "e" else "«Ж»")
            for _, kind in holes(english)
        ]  # fmt: skip
        text = i18n._fill(re.sub(r"\{(\d+):[a-z]\}", r"{\1}", english), values)
        told = {"unchanged": "не изменился", "1,234": "1\N{NO-BREAK SPACE}234"}
        told |= {"a.csv: is empty. Check the path.": "a.csv: файл пуст. Проверьте путь."}
        expected = i18n._fill(said, [told.get(value, value) for value in values])
        if "}{" in english:  # nobody could tell where the second hole begins
            continue
        if (found := catalogue.find(text.strip()) or "").strip() != expected.strip():
            wrong[english] = found
    assert not wrong, len(wrong)

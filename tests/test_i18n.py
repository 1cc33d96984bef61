"""The program in Russian: the catalogue against the source, how texts are found in it, and what a user sees."""

import re
import shutil
import subprocess
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

CATALOGUE = Path(i18n.__file__).parent / "assets" / "ru.toml"
SECTIONS = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))
FOREIGN = ("click", "pages", "placeholders")
"""Sections that are not read from the source of the messages."""
TEXTS = {english: said for room, texts in SECTIONS.items() if room not in FOREIGN for english, said in texts.items()}
OPEN: tuple[str, ...] = ()
"""Rooms whose texts are still to be translated."""
SAMPLES = {"n": "1,234", "p": "s", "w": "   ", "e": "a.csv: is empty. Check the path."} | dict.fromkeys(
    "tl", "unchanged"
)
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
    for english, said in SECTIONS[room].items():
        words = re.sub(r"\{\d[^}]*\}", "", english)
        if re.search(r"[a-z]{2,} [a-z]{2,}", words) and english != said:
            assert re.search("[а-яё]", said), english
        mixed = re.search(r"[а-яё][a-z]|[a-z][а-яё]", re.sub(r"&\w+;|<[^>]+>|\{\d[^}]*\}", " ", said), re.IGNORECASE)
        assert not mixed, (said, mixed)


def test_a_text_made_of_a_template_finds_its_translation() -> None:
    """Of each template, filled with values that look like none; texts in it are ones that the catalogue has."""
    catalogue, wrong = i18n.catalogue(), {}
    for english, said in TEXTS.items():
        values = [
            SAMPLES.get(kind, "«Ж»")
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


@given(st.text(max_size=60))
def test_what_nothing_is_known_of_stays(text: str) -> None:
    """Reviews and names of files come through whole: a text in quotes is never one of the program's."""
    with i18n.speaking("ru"):
        assert i18n.translate(f"«{text}»").count("\n") == text.count("\n")
        said = i18n.translate(f"unsupported file type {text!r}")
        assert said == f"неизвестный тип файла {text!r}"


@given(st.integers(0, 10**6))
def test_words_go_with_their_numbers(count: int) -> None:
    with i18n.speaking("ru"):
        said = i18n.translate(f"{count:,} training reviews, {count:,} validation reviews")
        assert said.replace("\N{NO-BREAK SPACE}", "") == f"обучающих отзывов: {count}, валидационных: {count}"


@pytest.mark.parametrize(
    ("value", "word"),
    [("1", "строка"), ("2", "строки"), ("5", "строк"), ("11", "строк"), ("21", "строка"),
     ("1\N{NO-BREAK SPACE}012", "строк"), ("1\N{NO-BREAK SPACE}003", "строки"), ("0,5", "строки"), ("нет", "строк")],
    ids=["one", "few", "many", "eleven", "twenty-one", "1012", "1003", "half", "no-number"],
)  # fmt: skip
def test_the_form_of_a_word_is_that_of_its_number(value: str, word: str) -> None:
    assert i18n._fill("{0|строка|строки|строк}", [value]) == word


def test_the_language_is_named_or_that_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (i18n.VARIABLE, "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    assert i18n.language() == "en"
    monkeypatch.setenv("LANG", "ru_RU.UTF-8")
    assert i18n.language() == "ru"
    monkeypatch.setenv("LC_MESSAGES", "C")
    assert i18n.language() == "en"
    monkeypatch.setenv(i18n.VARIABLE, "ru")
    assert i18n.language() == "ru"
    with i18n.speaking("en"):
        assert i18n.language() == "en"
    assert i18n.translate("is empty") == "файл пуст" and i18n.numerals("1,234.5") == "1\N{NO-BREAK SPACE}234,5"


def refused(call: Call, folder: Path, *arguments: str) -> str:
    """The line of a refusal in Russian, without the names of files, settings and formats, which stay."""
    result = call(*arguments, "--lang", "ru", cwd=folder)
    assert result.returncode == 2, result.stderr
    return result.stderr


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["run", "none.toml"], "tsirius none.toml new"),
        (["predict", "none", "reviews.csv"], "tsirius none reviews csv"),
        (["evaluate", "none", "gold.csv"], "tsirius none"),
        (["plan", "bad.toml"], "tsirius bad.toml ingest trian Known"),
        (["check", "typo.toml"], "tsirius typo.toml select sure"),
        (["predict", "none", "reviews.csv", "--for", "word"], "tsirius for word excel"),
        (["--bad"], "tsirius bad"),
        (["pln"], "tsirius pln plan"),
        (["plan"], "tsirius plan toml section key value"),
        (["plan", "x.toml", "--workers", "none"], "tsirius plan toml section key value workers"),
    ],
    ids=["no-config", "no-run", "no-model", "unknown-key", "bad-value", "no-dialect", "no-option", "no-verb",
         "no-argument", "no-number"],
)  # fmt: skip
def test_a_refusal_is_russian_throughout(call: Call, tmp_path: Path, arguments: list[str], names: str) -> None:
    (tmp_path / "bad.toml").write_text('name = "x"\n[ingest]\ntrian = "a.csv"\n', encoding="utf-8")
    (tmp_path / "typo.toml").write_text(
        'name = "x"\n[ingest]\ntrain = "a.csv"\ncategories = "c.toml"\n[select]\nsure = 7\n', encoding="utf-8"
    )
    said = refused(call, tmp_path, *arguments)
    known = {*re.findall(r"[A-Za-z]+", names), *("python", "pytest", "tsirius")}
    if "ключи:" in said:  # the settings' names
        known |= set(re.findall(r"[A-Za-z]+", said.partition("ключи:")[2]))
    assert not [word for word in LATIN.findall(said) if word not in known], said
    assert re.search("[а-яё]{3}", said)


def verbs() -> list[list[str]]:
    group = typer.main.get_command(cli.app)
    found = [[]]
    for name, command in group.commands.items():  # type: ignore[attr-defined]  # a group's
        found += [[name], *([name, inner] for inner in getattr(command, "commands", {}))]
    return found


@pytest.mark.parametrize("verb", verbs(), ids=lambda verb: "-".join(verb) or "all")
def test_the_help_is_russian(call: Call, tmp_path: Path, verb: list[str]) -> None:
    """Every line of a description has more Russian words than names."""
    said = call(*verb, "--help", "--lang", "ru", cwd=tmp_path).stdout
    assert said.startswith("Использование: ") and "Показать эту справку и выйти." in said
    english = r"\b(the|of|and|by|default|required|file|show|with|or|for|is|in|to|run's)\b"
    left = [line for line in said.splitlines() if len(re.findall(english, line, re.IGNORECASE)) > 1]
    assert not left


def test_the_report_is_russian(shop: Path, tmp_path: Path, call: Call) -> None:
    """No English sentence in it; the run's other stages do not run again."""
    folder = tmp_path / "shop"
    shutil.copytree(shop, folder)
    run = folder / "runs" / "shop"
    english = (run / "report.html").read_text(encoding="utf-8")
    result = call("report", "runs/shop", "--lang", "ru", cwd=folder)
    assert result.returncode == 0, result.stderr
    page = (run / "report.html").read_text(encoding="utf-8")
    assert '<html lang="ru">' in page and '<html lang="en">' in english
    shown = re.sub(
        r"<style>.*?</style>|<code>.*?</code>|<bdi>.*?</bdi>|<blockquote.*?</blockquote>", " ", page, flags=re.DOTALL
    )
    shown = re.sub(r'<section aria-labelledby="settings">.*</section>', " ", shown, flags=re.DOTALL)  # names and values
    words = [*re.findall(r'(?:aria-label|title)="([^"]*)"', shown), *re.findall(r">([^<>]+)<", shown)]
    left = [text.strip() for text in words if re.search(r"[a-z]{2,} [a-z]{2,}", text)]
    assert not left
    assert call("report", "runs/shop", cwd=folder).returncode == 0
    assert (run / "report.html").read_text(encoding="utf-8").startswith('<!doctype html>\n<html lang="en">')


def test_names_of_categories_are_left_as_they_are() -> None:
    with i18n.speaking("ru"):
        said = i18n.translate("No review was labelled as «обувь», «new».")
    assert said == "Ни один отзыв не получил метку «обувь», «new»."

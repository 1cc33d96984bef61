"""The Russian pages: each says what its English one says, heading by heading, block by block, figure by figure."""

import re
from collections import Counter
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
GENERATED = {"settings.md", "commands.md"}
"""Pages that are output in English; the Russian ones link to them."""
PAGES = sorted({page.name for page in DOCS.glob("*.md")} - GENERATED)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def code(text: str) -> list[tuple[str, list[str]]]:
    """The fenced blocks without their comments, which are translated."""
    return [
        (language, [line.partition("  # ")[0].rstrip() for line in block.splitlines() if not line.startswith("# ")])
        for language, block in FENCED.findall(text)
    ]


def headings(text: str) -> list[int]:
    return [len(marks) for marks in re.findall(r"^(#+) ", FENCED.sub("", text), re.MULTILINE)]


def targets(text: str, folder: Path) -> list[str]:
    """Where the links lead, those to a Russian page as if to the English one."""
    found = []
    for link in LINK.findall(FENCED.sub("", text)):
        if not link.startswith("https:"):
            link = (folder / link).resolve().relative_to(DOCS).as_posix().removeprefix("ru/")
        found.append(link)
    return sorted(found)


def figures(text: str, *, russian: bool) -> "Counter[str]":
    """The numbers outside of fenced blocks, as they are written in a program: 1,000.5 and 1 000,5 are one."""
    text = FENCED.sub("", text)
    if russian:
        text = re.sub(r"(?<=\d)[ \u00a0](?=\d{3}(?!\d))", "", text)
        text = re.sub(r"(?<=\d),(?=\d)", ".", text)
    else:
        text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
        text = re.sub(r"(?<![\w.])\.(?=\d)", "0.", text)
    return Counter(re.findall(r"\d+(?:\.\d+)*", text))


def rows(text: str) -> list[str]:
    return [line for line in FENCED.sub("", text).splitlines() if line.startswith("|")]


def test_every_page_is_in_both_languages() -> None:
    assert sorted(page.name for page in (DOCS / "ru").glob("*.md")) == PAGES


@pytest.mark.parametrize("name", PAGES)
def test_a_russian_page_has_the_same_headings_blocks_and_links(name: str) -> None:
    english, russian = read(name), read(f"ru/{name}")
    assert headings(russian) == headings(english)
    assert code(russian) == code(english)
    assert targets(russian, DOCS / "ru") == targets(english, DOCS)


@pytest.mark.parametrize("name", PAGES)
def test_a_russian_page_has_the_same_figures(name: str) -> None:
    english, russian = read(name), read(f"ru/{name}")
    assert figures(english, russian=False) - figures(russian, russian=True) == Counter()
    pairs = list(zip(rows(english), rows(russian), strict=True))
    assert [pair for pair in pairs if figures(pair[0], russian=False) != figures(pair[1], russian=True)] == []


def test_a_figure_is_the_same_in_both_notations() -> None:
    assert figures("20,000 rows, .65, 99.5 %", russian=False) == figures("20 000 строк, 0,65, 99,5 %", russian=True)
    assert figures("1.5", russian=False) != figures("1,6", russian=True)

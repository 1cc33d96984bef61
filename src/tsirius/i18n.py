"""The words of the program in another language than English.

The code speaks English, and knows of no other language: a message is translated where it is shown, not where it is
made. ``assets/ru.toml`` is the catalogue, from templates to their translation. A template is a text of the code with
the values taken out, as the syntax tree of an f-string gives it: ``unsupported file type {0}``. :func:`translate` finds
the template that a text was made of, takes the values out of the text, and fills the translation. ``tests/sweep.py``
reads all templates from the source, and ``tests/test_i18n.py`` compares them with the catalogue.

What may stand in a hole of a template:

=======  ===============================================================================
``{0}``    any value, which is shown as it is
``{0:n}``  a formatted number; Russian has a comma before decimals and a space at thousands
``{0:t}``  a text, which is translated by its own template where it has one
``{0:l}``  such texts, separated by commas
``{0:e}``  an error as :class:`tsirius.errors.UserError` prints it: where, what, remedy
``{0:p}``  the end of an English plural, or 'is' and 'are': no translation needs it
``{0:w}``  blanks that align a table
=======  ===============================================================================

A translation has the holes as ``{0}``, in any order, and ``{0|строка|строки|строк}`` is the word for that number.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from tsirius.errors import UserError

LANGUAGES = ("en", "ru")
VARIABLE = "TSIRIUS_LANG"
RUSSIAN = 0x19
"""The primary language of Windows' numbers of languages."""
DEPTH = 6
"""How deep texts stand in texts at most."""
PIECES = 4
"""Of how many pieces between commas a text in a list may be."""

HOLE = re.compile(r"\{(\d+)(?::([a-z]))?((?:\|[^|{}]*)*)\}")
VALUES = {
    "n": r"(?: *[-+]?(?:\d[\d,_]*(?:\.\d+)?(?:e[-+]?\d+)?|nan|inf|–)%?)",
    "p": r"[A-Za-z]*",
    "w": r"\s*",
}
_spoken: ContextVar[str | None] = ContextVar("language", default=None)


def language() -> str:
    """The language to speak, one of :data:`LANGUAGES`: of :func:`speaking`, ``TSIRIUS_LANG``, or the system."""
    chosen = _spoken.get() or os.environ.get(VARIABLE)
    if chosen:
        return chosen if chosen in LANGUAGES else "en"
    locale = next((value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := os.environ.get(name))), "")
    return "ru" if locale.lower().startswith("ru") or (not locale and _windows_is_russian()) else "en"


def _windows_is_russian() -> bool:
    """Whether the windows and menus of this Windows are in Russian; no on other systems."""
    if sys.platform != "win32":
        return False
    import ctypes

    return bool(ctypes.windll.kernel32.GetUserDefaultUILanguage() & 0x3FF == RUSSIAN)


def check(wanted: str, *, where: str) -> None:
    """Make sure that a language is known.

    Raises:
        UserError: it is not.
    """
    if wanted not in LANGUAGES:
        raise UserError(f"unknown language {wanted!r}", where=where, remedy=f"Known: {', '.join(LANGUAGES)}.")


@contextmanager
def speaking(wanted: str) -> Iterator[None]:
    """Speak ``wanted``, one of :data:`LANGUAGES`, while the block runs."""
    before = _spoken.set(wanted)
    try:
        yield
    finally:
        _spoken.reset(before)


def translate(text: str) -> str:
    """``text`` in the language that is spoken, line by line; a line of which nothing is known stays as it is.

    Example:
        >>> with speaking("ru"):
        ...     translate("unsupported file type '.doc'")
        "неизвестный тип файла '.doc'"
    """
    return text if language() == "en" else catalogue().text(text)


def fill(template: str, *values: object) -> str:
    """A template in the language that is spoken, with the values of its holes: for pages, which name their templates.

    Raises:
        KeyError: the catalogue does not have it.
    """
    said = template if language() == "en" else catalogue().pages[template]
    return _fill(said, [str(value) for value in values])


def told(error: UserError) -> str:
    """What an error says, in the language that is spoken."""
    if language() == "en":
        return str(error)
    where = str(error.where) if error.where is not None else None
    if where and re.search(r"\s", where):  # else a name
        where = translate(where)
    return str(UserError(translate(error.what), where=where, remedy=translate(error.remedy) if error.remedy else None))


def numerals(text: str) -> str:
    """The numbers of ``text``, which holds no other commas and points, as the language writes them."""
    return text if language() == "en" else _numerals(text)


def placeholders(text: str) -> str:
    """``text`` with the words in capitals that stand for a value, such as NAME, in the language that is spoken."""
    if language() == "en":
        return text
    known = catalogue().words
    return re.sub(r"\b[A-Z][A-Z_]+\b|<[a-z\[\] ]+>", lambda found: known.get(found[0], found[0]), text)


@cache
def catalogue() -> Catalogue:
    """The catalogue of Russian, read once."""
    sections = tomllib.loads((Path(__file__).parent / "assets" / "ru.toml").read_text(encoding="utf-8"))
    pages, words = sections.pop("pages", {}), sections.pop("placeholders", {})
    return Catalogue({template: said for room in sections.values() for template, said in room.items()}, pages, words)


@dataclass(frozen=True)
class Catalogue:
    """Texts in English and Russian.

    Attributes:
        texts: by template, what a message says.
        pages: by template, what the pages say that name their templates.
        words: words in capitals that stand for a value.
    """

    texts: Mapping[str, str]
    pages: Mapping[str, str]
    words: Mapping[str, str]

    @cached_property
    def plain(self) -> dict[str, str]:
        """Those without holes."""
        return {unescaped(english): unescaped(said) for english, said in self.texts.items() if not HOLE.search(english)}

    @cached_property
    def templates(self) -> list[Template]:
        """Those with holes; the one with most letters first."""
        found = [Template(english, said) for english, said in self.texts.items() if HOLE.search(english)]
        return sorted(found, key=lambda one: one.rank, reverse=True)

    def text(self, text: str) -> str:
        """Every line of a text, translated where the catalogue has it, with the blanks around it."""
        return "\n".join(self._line(line) for line in text.split("\n"))

    def _line(self, line: str) -> str:
        inner = line.strip()
        said = self.find(inner)
        return line if said is None else line.replace(inner, said, 1)

    def cell(self, cell: str, depth: int, *, strict: bool) -> str | None:
        """A text with the blanks that align it in a table: where there are some, its width stays; None: no template."""
        inner = cell.strip()
        said = self.find(inner, depth, strict=strict) if inner else None
        if said is None:
            return None
        blanks = len(cell) - len(inner)
        blanks = max(1, len(cell) - len(said)) if blanks > 1 else blanks
        return " " * blanks + said if cell[0] == " " else said + " " * blanks

    def find(self, text: str, depth: int = DEPTH, *, strict: bool = False) -> str | None:
        """The translation of a text; None where there is no template for it.

        Values may look like the letters of a template. A template all of whose texts are known, with as many brackets
        opened as closed in each value, comes before the others; then the one with most letters.

        Args:
            text: in English.
            depth: how deep other texts may stand in it.
            strict: where a list or a sentence is parted by what has a template: only the first way counts, and no
                template with nothing but a comma.
        """
        if (whole := self.plain.get(text)) is not None:
            return whole
        for way in (True, False)[: (1 if strict else 2) if depth > 0 else 0]:
            for template in self.templates:
                if template.longest in text and not (strict and template.comma):
                    said = template.translated(text, self, depth, strict=way)
                    if said is not None:
                        return said
        # what a library or the system says, at the beginning of a sentence or not
        return (
            self.find(text[:1].lower() + text[1:], depth, strict=strict)
            if text[:1].isupper() and text[1:2].islower()
            else None
        )

    def error(self, text: str, depth: int) -> str | None:
        """The translation of "where: what. remedy", of which each part has a template; None otherwise."""
        starts = [0, *(found.end() for found in re.finditer(": ", text))]
        for start in starts:
            rest = text[start:]
            for end in [len(rest), *(found.start() for found in re.finditer(r"\. ", rest))]:
                what, remedy = self.find(rest[:end], depth, strict=True), rest[end + 2 :]
                mended = self.find(remedy, depth, strict=True) if remedy else ""
                if what is not None and mended is not None:
                    where = self.find(text[: start - 2], depth) if start else ""
                    head = f"{where or text[: start - 2]}: " if start else ""
                    return head + what + (f". {mended}" if mended else "")
        return None

    def several(self, text: str, depth: int, *, strict: bool) -> str | None:
        """The texts of a list with commas or wide blanks between them, each translated where it has a template.

        Some have a comma themselves: of the ways to part the list into known texts, that with the shortest.
        None where there is no text in it; or, if strict, where not all of it is.
        """
        parts = re.split(r"(, | {2,})", text)
        whole = self._parted(parts, depth)
        if whole is None and not strict:
            said = [self.find(part, depth, strict=True) for part in parts]
            whole = "".join(new or part for new, part in zip(said, parts, strict=True)) if any(said) else None
        return whole

    def _parted(self, parts: list[str], depth: int) -> str | None:
        """The parts at even places joined into texts that have a template; None where that is not possible."""
        rest: dict[int, str | None] = {len(parts) + 1: ""}
        for start in range(len(parts) - 1, -1, -2):
            rest[start] = None
            for end in range(start + 1, min(len(parts), start + 2 * PIECES) + 1, 2):
                after = rest[end + 1]
                said = self.find("".join(parts[start:end]), depth, strict=True) if after is not None else None
                if said is not None and after is not None:
                    rest[start] = said + (parts[end] if end < len(parts) else "") + after
                    break
        return rest[0]


class Template:
    """A template with holes, and its translation.

    Attributes:
        said: the translation.
        longest: the longest text between two holes, by which a text is looked for.
        weight: the number of characters between the holes.
        kinds: of the holes.
        rank: by which they are tried: weight, then how much is known of the holes.
        wordless: there is no letter between them.
        comma: nor anything but a comma.
    """

    def __init__(self, english: str, said: str) -> None:
        self.english, self.said = english, said
        pieces = [unescaped(piece) for piece in HOLE.sub("\0", english).split("\0")]
        self.longest = max(pieces, key=len)
        self.weight = sum(map(len, pieces))
        self.kinds = [kind for _, kind, _ in HOLE.findall(english)]
        self.rank = (self.weight, self.kinds.count("n"), len(self.kinds) - self.kinds.count(""), self.kinds.count("l"))
        self.wordless = not any(map(str.isalpha, "".join(pieces)))
        self.comma = self.wordless and self.longest == ", "

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        parts, end = [], 0
        for hole in HOLE.finditer(self.english):
            parts.append(re.escape(unescaped(self.english[end : hole.start()])))
            parts.append(f"({VALUES.get(hole[2] or '', '.*?')})")
            end = hole.end()
        return re.compile("".join([*parts, re.escape(unescaped(self.english[end:]))]))

    def translated(self, text: str, given: Catalogue, depth: int, *, strict: bool) -> str | None:
        """The translation with the values of ``text``; None where it was not made of this template.

        A template without a word of its own fits much: it counts where one of its texts is known.
        """
        found = self.pattern.fullmatch(text)
        if found is None:
            return None
        values = found.groups()
        if strict and not all(map(_balanced, values)):
            return None
        said = [
            _value(kind, value, given, depth - 1, strict=strict) for kind, value in zip(self.kinds, values, strict=True)
        ]
        known = [
            new is not None
            for kind, value, new in zip(self.kinds, values, said, strict=True)
            if kind in ("t", "l", "e") and value.strip()
        ]
        if (strict and not all(known)) or (self.wordless and known and not any(known)):
            return None
        return _fill(self.said, [value if new is None else new for value, new in zip(values, said, strict=True)])


def _balanced(text: str) -> bool:
    """Whether each bracket that closes was opened before, and the other way round."""
    brackets = re.sub(r"[^()]", "", text)
    while "()" in brackets:
        brackets = brackets.replace("()", "")
    return not brackets


def _value(kind: str, value: str, given: Catalogue, depth: int, *, strict: bool) -> str | None:
    """The translation of a hole's value; None where it stays."""
    if kind == "n":
        return _numerals(value)
    if kind == "t":
        return given.cell(value, depth, strict=strict)
    if kind == "l":
        return given.several(value, depth, strict=strict)
    return given.error(value, depth) if kind == "e" else None


def _numerals(text: str) -> str:
    return re.sub(r"(?<=\d),(?=\d{3})", "\N{NO-BREAK SPACE}", text).replace(".", ",")


def _fill(said: str, values: list[str]) -> str:
    parts, end = [], 0
    for hole in HOLE.finditer(said):
        value, words = values[int(hole[1])], hole[3].split("|")[1:]
        parts += [unescaped(said[end : hole.start()]), words[_form(value)] if words else value]
        end = hole.end()
    return "".join([*parts, unescaped(said[end:])])


def unescaped(text: str) -> str:
    """The letters of a template: doubled braces are single ones."""
    return text.replace("{{", "{").replace("}}", "}")


def _form(value: str) -> int:
    """Which of the three Russian forms goes with a number: 0 with 1, 1 with 2 and with a fraction, 2 with 5."""
    digits = re.sub(r"\s", "", value)
    if not re.fullmatch(r"[-+]?\d+", digits):
        return 1 if re.search(r"\d", value) else 2
    ones, tens = int(digits[-1]), int(digits[-2:])
    if ones == 1 and tens != 11:
        return 0
    return 1 if 2 <= ones <= 4 and not 12 <= tens <= 14 else 2

"""Figures and words of the report: from plain numbers, names and texts to short texts."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

DASH = "–"
SPACE = "\N{NO-BREAK SPACE}"

NAME_CHARACTERS, VALUE_CHARACTERS, EXAMPLE_CHARACTERS, LISTED_NAMES, FLAT_PAIRS = 60, 200, 280, 8, 60
"""What bounds the size of the page, whatever names, values and texts a run has."""

_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"  # forbidden in HTML
    r"\u202a-\u202e\u2066-\u2069]"  # these turn the direction of the text that follows them
)


def number(value: float | None) -> str:
    """A count with a comma between thousands; a dash where there is none."""
    return DASH if value is None else f"{value:,.0f}"


def decimal(value: float | None) -> str:
    """A score with three digits after the point; a dash where there is none."""
    return DASH if value is None or not math.isfinite(value) else f"{value:.3f}"


def percent(part: float, whole: float) -> str:
    """``part`` of ``whole`` in percent; never '0 %' for some or '100 %' for not all of them."""
    if not whole:
        return DASH
    share = 100 * part / whole
    if 0 < share < 0.1:
        return f"<0.1{SPACE}%"
    if 99.9 < share < 100:
        return f">99.9{SPACE}%"
    # A digit more where whole percents would round to none or all.
    return f"{share:.1f}{SPACE}%" if 0 < share < 0.95 or 99 < share < 100 else f"{share:.0f}{SPACE}%"


def width(part: float, whole: float) -> str:
    """``part`` of ``whole`` as a CSS length; never wider than the whole."""
    return f"{rounded(100 * min(1.0, part / whole))}%" if whole > 0 and part > 0 else "0%"


def duration(seconds: float | None) -> str:
    """Seconds as a person says them: '0.4 s', '1 min 12 s', '2 h 5 min'."""
    if seconds is None:
        return DASH
    if seconds < 59.95:
        return f"{seconds:.1f}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min {rest}{SPACE}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{SPACE}h {minutes}{SPACE}min"


def memory(mib: float | None) -> str:
    """MiB as MiB or GiB."""
    if mib is None:
        return DASH
    return f"{mib:,.0f}{SPACE}MiB" if mib < 1024 else f"{mib / 1024:.1f}{SPACE}GiB"


def printable(text: str) -> str:
    """``text`` with the characters that HTML forbids, or that would turn its neighbours around, made visible."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def shorten(text: str, limit: int) -> str:
    """At most ``limit`` characters of ``text``, cut at a space where one is near the end."""
    text = printable(text)
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    space = cut.rfind(" ", limit * 3 // 4)
    return f"{cut[:space] if space > 0 else cut}…"


def shorten_middle(text: str, limit: int) -> str:
    """At most ``limit`` characters of ``text``, its start and its end: long names often differ in one of the two."""
    text = printable(text)
    if len(text) <= limit:
        return text
    end = limit // 3
    return f"{text[: limit - 1 - end]}…{text[-end:]}"


def ranges(rows: Iterable[int], limit: int) -> tuple[str, int]:
    """Row numbers as '3, 17–19, 204', at most ``limit`` of such parts, and how many rows are left out."""
    parts: list[tuple[int, int]] = []
    left = 0
    for row in sorted(set(rows)):
        if parts and row == parts[-1][1] + 1:
            parts[-1] = (parts[-1][0], row)
        elif len(parts) < limit:
            parts.append((row, row))
        else:
            left += 1
    # U+2060 keeps a line from breaking inside a range.
    return ", ".join(f"{a}" if a == b else f"{a}\u2060–\u2060{b}" for a, b in parts), left


def short(name: str) -> str:
    """A name of any length as one that fits a table."""
    return shorten_middle(name, NAME_CHARACTERS)


def listing(names: Sequence[str]) -> str:
    """'«a», «b» and 3 more'."""
    more = len(names) - LISTED_NAMES
    return ", ".join(f"«{short(name)}»" for name in names[:LISTED_NAMES]) + (f" and {more} more" if more > 0 else "")


def flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested mappings of JSON values as dotted names with short values, at most ``FLAT_PAIRS`` of them."""
    if isinstance(value, Mapping) and value:
        pairs = [pair for key, inner in value.items() for pair in flat(inner, f"{name}.{key}" if name else str(key))]
        more = len(pairs) - FLAT_PAIRS + 1
        return pairs if more <= 1 else [*pairs[: FLAT_PAIRS - 1], ("…", f"{more} more")]
    if isinstance(value, float) and math.isfinite(value):
        value = float(f"{value:.6g}")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return [(short(name), shorten(text, VALUE_CHARACTERS))] if name else []


def excerpt(text: str | None) -> str:
    """A review of any length as one that fits an example."""
    return shorten(text or "", EXAMPLE_CHARACTERS)


def highlighted(text: str | None, words: Iterable[str]) -> Markup:
    """A review as :func:`excerpt` gives it, with ``words`` highlighted."""
    wanted = set(words)
    pieces = re.split(r"(\w+)", excerpt(text))
    return Markup("").join(Markup("<mark>{}</mark>").format(piece) if piece in wanted else escape(piece)
                           for piece in pieces)  # fmt: skip


def rounded(value: float) -> str:
    """At most two digits after the point: finer than a pixel, and the same text on every machine."""
    return f"{value:.2f}".rstrip("0").rstrip(".")

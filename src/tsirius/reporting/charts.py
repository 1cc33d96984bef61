"""Figures and drawings of the report: functions from plain numbers to short texts and inline SVG.

Every drawing measures in percent of its box instead of a ``viewBox``, so that it fits a phone and a desk without its
letters shrinking. Every colour is a class: the page decides how it looks in the light, in the dark and on paper.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import polars as pl
from markupsafe import Markup, escape

DASH = "–"
SPACE = "\N{NO-BREAK SPACE}"

NAME_CHARACTERS, VALUE_CHARACTERS, LISTED_NAMES, FLAT_PAIRS = 60, 200, 8, 60
"""What bounds the size of the page, whatever names and values a run has."""

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
    return f"{_round(100 * min(1.0, part / whole))}%" if whole > 0 and part > 0 else "0%"


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


def bins(values: pl.Series, count: int) -> list[int]:
    """How many of ``values`` fall into each of ``count`` equal parts of 0 to 1; the missing fall into none."""
    numbers = values.cast(pl.Float64).drop_nulls().drop_nans()
    # A 32-bit 0.7 is a hair below 0.7: rounding puts it into the part that starts there.
    places = (numbers * count).round(5).floor().clip(0, count - 1).cast(pl.Int64)
    found = dict(places.rename("place").value_counts().iter_rows())
    return [found.get(place, 0) for place in range(count)]


def interval(score: float, low: float, high: float, baseline: float, label: str) -> Markup:
    """A score on the line from 0 to 1 with its interval as a band and the baseline as a mark.

    Args:
        score: 0 to 1, as the three after it.
        low: the interval's lower end.
        high: the interval's upper end.
        baseline: the score to beat.
        label: the drawing in words.
    """
    band = f'<rect class="band" x="{_at(low)}" y="5" width="{_at(max(0.0, high - low))}" height="12" rx="2"/>'
    return _svg(
        "interval", 38, label,
        '<line class="axis" x1="0" x2="100%" y1="11" y2="11"/>',
        band,
        f'<line class="baseline" x1="{_at(baseline)}" x2="{_at(baseline)}" y1="1" y2="21"/>',
        f'<circle class="score" cx="{_at(score)}" cy="11" r="5"/>',
        _text("0", 0, 36, "start"), _text("0.5", 0.5, 36, "middle"), _text("1", 1, 36, "end"),
    )  # fmt: skip


def histogram(layers: Mapping[str, Sequence[int]], marks: Mapping[str, float], label: str) -> Markup:
    """Columns over the line from 0 to 1, the layers stacked in their order from the ground up.

    Args:
        layers: for each CSS class, the counts of the equally wide bins; all of one length.
        marks: upright lines by name: where they stand, 0 to 1.
        label: the drawing in words.
    """
    columns = list(zip(*layers.values(), strict=True))
    top = max((sum(column) for column in columns), default=0)
    parts = ['<line class="axis" x1="0" x2="100%" y1="86%" y2="86%"/>']
    for place, column in enumerate(columns):
        ground = 86.0
        start, step = 100 * place / len(columns), 100 / len(columns)
        for name, count in zip(layers, column, strict=True):
            height = 70 * count / top if top else 0.0
            ground -= height
            if count:
                said = f"<title>{start / 100:.2f} to {(start + step) / 100:.2f}: {count:,} {escape(name)}</title>"
                parts.append(f'<rect class="{escape(name)}" x="{_round(start + step * 0.06)}%" y="{_round(ground)}%"'
                             f' width="{_round(step * 0.88)}%" height="{_round(height)}%">{said}</rect>')  # fmt: skip
    for row, (name, at) in enumerate(marks.items()):  # a row each: two marks may stand close to each other
        y = 5 + 8 * row
        anchor, gap = ("end", -0.008) if at > 0.7 else ("start", 0.008)
        parts.append(f'<line class="mark" x1="{_at(at)}" x2="{_at(at)}" y1="{y - 4}%" y2="86%"/>')
        parts.append(_text(f"{name} {at:g}", at + gap, f"{y}%", anchor))
    parts += [_text(f"{place:g}", place, "96%", anchor) for place, anchor in
              ((0, "start"), (0.25, "middle"), (0.5, "middle"), (0.75, "middle"), (1, "end"))]  # fmt: skip
    return _svg("histogram", 200, label, *parts)


def reliability(bins: Sequence[tuple[float, float, float, float, float]], label: str) -> Markup:
    """Dots of confidence (across) against the share that was right (up), each with its interval; on the diagonal they
    are the same.

    Args:
        bins: for each: mean confidence, share right, its interval's ends, and the bin's share of the rows.
        label: the drawing in words.
    """

    def up(share: float) -> str:
        return f"{_round(90 - 84 * min(1.0, max(0.0, share)))}%"

    def across(share: float) -> str:
        return f"{_round(6 + 92 * min(1.0, max(0.0, share)))}%"

    parts = [f'<line class="axis" x1="{across(0)}" x2="{across(1)}" y1="{up(0)}" y2="{up(0)}"/>',
             f'<line class="axis" x1="{across(0)}" x2="{across(0)}" y1="{up(0)}" y2="{up(1)}"/>',
             f'<line class="mark" x1="{across(0)}" x2="{across(1)}" y1="{up(0)}" y2="{up(1)}"/>']  # fmt: skip
    for confidence, right, low, high, share in bins:
        at = across(confidence)
        said = f"<title>confidence {confidence:.2f}: {right:.2f} right ({low:.2f} to {high:.2f})</title>"
        parts.append(f'<line class="whisker" x1="{at}" x2="{at}" y1="{up(low)}" y2="{up(high)}"/>')
        parts.append(
            f'<circle class="score" cx="{at}" cy="{up(right)}" r="{_round(3 + 9 * share**0.5)}">{said}</circle>'
        )
    for place in (0.0, 0.5, 1.0):
        parts.append(f'<text x="{across(place)}" y="99%" text-anchor="middle">{place:g}</text>')
        parts.append(f'<text x="0" y="{up(place)}" dominant-baseline="middle">{place:g}</text>')
    return _svg("reliability", 260, label, *parts)


def curve(points: Sequence[tuple[float, float]], kept: float | None, label: str) -> Markup:
    """Values over steps as a line with a dot each; that of the model that was kept as a dashed line.

    Args:
        points: step and value, in the order of the steps.
        kept: the value of the model that was kept; None draws no line.
        label: the drawing in words.
    """
    last = max((step for step, _ in points), default=1.0) or 1.0
    values = [value for _, value in points]
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = max((high - low) * 0.15, (0.1 - (high - low)) / 2)  # a hundredth must not look like a cliff
    low, high = low - room, high + room

    def up(value: float) -> float:
        return 84 - 78 * (value - low) / (high - low)

    def across(step: float) -> float:
        return 9 + 89 * step / last

    parts = ['<line class="axis" x1="9%" x2="98%" y1="84%" y2="84%"/>']
    if kept is not None:
        parts.append(f'<line class="mark" x1="9%" x2="98%" y1="{_round(up(kept))}%" y2="{_round(up(kept))}%"/>')
    for (one, a), (other, b) in pairwise(points):
        parts.append(f'<line class="curve" x1="{_round(across(one))}%" x2="{_round(across(other))}%"'
                     f' y1="{_round(up(a))}%" y2="{_round(up(b))}%"/>')  # fmt: skip
    for step, value in points:
        parts.append(f'<circle class="score" cx="{_round(across(step))}%" cy="{_round(up(value))}%" r="4">'
                     f"<title>step {step:,.0f}: {value:.3f}</title></circle>")  # fmt: skip
    for value in sorted({min(values, default=0.0), max(values, default=1.0)}):
        parts.append(f'<text x="0" y="{_round(up(value))}%" dominant-baseline="middle">{value:.3g}</text>')
    parts.append('<text x="9%" y="97%" text-anchor="start">0</text>')
    parts.append(f'<text x="98%" y="97%" text-anchor="end">step {last:,.0f}</text>')
    return _svg("curve-box", 200, label, *parts)


def marked(text: str, found: Iterable[str], limit: int) -> Markup:
    """``text``, shortened, with the words among ``found`` set off."""
    wanted = set(found)
    pieces = re.split(r"(\w+)", shorten(text, limit))
    return Markup("").join(Markup("<mark>{}</mark>").format(piece) if piece in wanted else escape(piece)
                           for piece in pieces)  # fmt: skip


def _svg(kind: str, height: int, label: str, *parts: str) -> Markup:
    inside = "".join(parts)
    return Markup(  # the parts are made here, of numbers and escaped words
        f'<svg class="{kind}" width="100%" height="{height}" role="img" aria-label="{escape(label)}">{inside}</svg>'
    )


def _text(words: str, place: float, y: int | str, anchor: str) -> str:
    return f'<text x="{_at(place)}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'


def _at(share: float) -> str:
    return f"{_round(100 * min(1.0, max(0.0, share)))}%"


def _round(value: float) -> str:
    """At most two digits after the point: finer than a pixel, and the same text on every machine."""
    return f"{value:.2f}".rstrip("0").rstrip(".")

"""Drawings of the report: functions from plain numbers to inline SVG.

Every drawing measures in percent of its box instead of a ``viewBox``, so that it fits a phone and a desk without its
letters shrinking. Every colour is a class: the page decides how it looks in the light, in the dark and on paper.
Words are in the user's language.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from markupsafe import Markup, escape

from tsirius.i18n import numerals, translate
from tsirius.reporting.figures import rounded

STYLE = """
text { font: 12px sans-serif; fill: #566168 }
svg { overflow: visible }
.axis { stroke: #a9b4b6 }
.score { fill: #17686f }
.whisker { stroke: #17686f; stroke-width: 1.5; opacity: .45 }
.mark { stroke: #a8491a; stroke-dasharray: 3 3 }
"""
"""The colours of a reliability diagram in a file of its own; in the report the page gives them."""


def interval(score: float, low: float, high: float, baseline: float | None, label: str) -> Markup:
    """A score on the line from 0 to 1 with its interval as a band and the baseline as a mark.

    Args:
        score: 0 to 1, as the three after it.
        low: the interval's lower end.
        high: the interval's upper end.
        baseline: the score to beat; None: not known.
        label: the drawing in words.
    """
    beat = ""
    if baseline is not None:
        beat = f'<line class="baseline" x1="{_at(baseline)}" x2="{_at(baseline)}" y1="1" y2="21"/>'
    band = f'<rect class="band" x="{_at(low)}" y="5" width="{_at(max(0.0, high - low))}" height="12" rx="2"/>'
    return _svg(
        "interval", 38, label,
        '<line class="axis" x1="0" x2="100%" y1="11" y2="11"/>',
        band,
        beat,
        f'<circle class="score" cx="{_at(score)}" cy="11" r="5"/>',
        _text("0", 0, 36, "start"), _text(numerals("0.5"), 0.5, 36, "middle"), _text("1", 1, 36, "end"),
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
    for index, column in enumerate(columns):
        ground = 86.0
        start, step = 100 * index / len(columns), 100 / len(columns)
        for name, count in zip(layers, column, strict=True):
            height = 70 * count / top if top else 0.0
            ground -= height
            if count:
                title = translate(f"{start / 100:.2f} to {(start + step) / 100:.2f}: {count:,} {name}")
                parts.append(f'<rect class="{escape(name)}" x="{rounded(start + step * 0.06)}%" y="{rounded(ground)}%"'
                             f' width="{rounded(step * 0.88)}%" height="{rounded(height)}%">'
                             f"<title>{escape(title)}</title></rect>")  # fmt: skip
    for row, (name, at) in enumerate(marks.items()):  # a row each: two marks may stand close to each other
        y = 5 + 8 * row
        anchor, gap = ("end", -0.008) if at > 0.7 else ("start", 0.008)
        parts.append(f'<line class="mark" x1="{_at(at)}" x2="{_at(at)}" y1="{y - 4}%" y2="86%"/>')
        parts.append(_text(f"{name} {numerals(f'{at:g}')}", at + gap, f"{y}%", anchor))
    parts += [_text(numerals(f"{tick:g}"), tick, "96%", anchor) for tick, anchor in
              ((0, "start"), (0.25, "middle"), (0.5, "middle"), (0.75, "middle"), (1, "end"))]  # fmt: skip
    return _svg("histogram", 200, label, *parts)


def reliability(bins: Sequence[tuple[float, float, float, float, float]], label: str) -> Markup:
    """A reliability diagram: confidence (across) against accuracy (up), each dot with its interval; the diagonal is
    perfect calibration.

    Args:
        bins: for each: mean confidence, accuracy, its interval's ends, and the bin's share of the rows.
        label: the drawing in words.
    """

    def up(share: float) -> str:
        return f"{rounded(90 - 84 * min(1.0, max(0.0, share)))}%"

    def across(share: float) -> str:
        return f"{rounded(6 + 92 * min(1.0, max(0.0, share)))}%"

    parts = [f'<line class="axis" x1="{across(0)}" x2="{across(1)}" y1="{up(0)}" y2="{up(0)}"/>',
             f'<line class="axis" x1="{across(0)}" x2="{across(0)}" y1="{up(0)}" y2="{up(1)}"/>',
             f'<line class="mark" x1="{across(0)}" x2="{across(1)}" y1="{up(0)}" y2="{up(1)}"/>']  # fmt: skip
    for confidence, right, low, high, share in bins:
        at = across(confidence)
        title = escape(translate(f"confidence {confidence:.2f}: {right:.2f} right ({low:.2f} to {high:.2f})"))
        parts.append(f'<line class="whisker" x1="{at}" x2="{at}" y1="{up(low)}" y2="{up(high)}"/>')
        parts.append(
            f'<circle class="score" cx="{at}" cy="{up(right)}" r="{rounded(3 + 9 * share**0.5)}">'
            f"<title>{title}</title></circle>"
        )
    for tick in (0.0, 0.5, 1.0):
        parts.append(f'<text x="{across(tick)}" y="99%" text-anchor="middle">{numerals(f"{tick:g}")}</text>')
        parts.append(f'<text x="0" y="{up(tick)}" dominant-baseline="middle">{numerals(f"{tick:g}")}</text>')
    return _svg("reliability", 260, label, *parts)


def curve(points: Sequence[tuple[float, float]], best: float | None, label: str) -> Markup:
    """Values over steps as a line with a dot each; the value of the model that was kept as a dashed line.

    Args:
        points: step and value, in the order of the steps.
        best: the value of the model that was kept; None draws no line.
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
    if best is not None:
        parts.append(f'<line class="mark" x1="9%" x2="98%" y1="{rounded(up(best))}%" y2="{rounded(up(best))}%"/>')
    for (one, a), (other, b) in pairwise(points):
        parts.append(f'<line class="curve" x1="{rounded(across(one))}%" x2="{rounded(across(other))}%"'
                     f' y1="{rounded(up(a))}%" y2="{rounded(up(b))}%"/>')  # fmt: skip
    for step, value in points:
        parts.append(f'<circle class="score" cx="{rounded(across(step))}%" cy="{rounded(up(value))}%" r="4">'
                     f"<title>{escape(translate(f'step {step:,.0f}: {value:.3f}'))}</title></circle>")  # fmt: skip
    for value in sorted({min(values, default=0.0), max(values, default=1.0)}):
        parts.append(
            f'<text x="0" y="{rounded(up(value))}%" dominant-baseline="middle">{numerals(f"{value:.3g}")}</text>'
        )
    parts.append('<text x="9%" y="97%" text-anchor="start">0</text>')
    parts.append(f'<text x="98%" y="97%" text-anchor="end">{translate(f"step {last:,.0f}")}</text>')
    return _svg("curve-box", 200, label, *parts)


def picture(panels: Mapping[str, Markup], *, title: str) -> str:
    """Drawings side by side as an SVG file of its own, each below its name.

    Args:
        panels: the drawings by name; a name's lines stay lines.
        title: above them all.
    """
    width, height, gap = 280, 300, 30
    parts = [f'<text x="{gap}" y="20" style="font-size: 15px">{escape(title)}</text>']
    for index, (name, drawing) in enumerate(panels.items()):
        x = gap + index * (width + gap)
        parts += [
            f'<text x="{x}" y="{42 + 15 * row}">{escape(line)}</text>' for row, line in enumerate(name.splitlines())
        ]
        parts.append(f'<svg x="{x}" y="80" width="{width}" height="{height}">{drawing}</svg>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{gap + len(panels) * (width + gap)}" height="{height + 90}">'
        f"<style>{STYLE}</style>"
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _svg(kind: str, height: int, label: str, *parts: str) -> Markup:
    inside, said = "".join(parts), escape(translate(label))
    return Markup(  # the parts are made here, of numbers and escaped words
        f'<svg class="{kind}" width="100%" height="{height}" role="img" aria-label="{said}">{inside}</svg>'
    )


def _text(words: str, x: float, y: int | str, anchor: str) -> str:
    return f'<text x="{_at(x)}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'


def _at(share: float) -> str:
    return f"{rounded(100 * min(1.0, max(0.0, share)))}%"

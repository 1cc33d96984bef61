"""Drawings stay in their box, and words in them stay words."""

from __future__ import annotations

from xml.etree import ElementTree

from finished import Page
from hypothesis import given, settings
from hypothesis import strategies as st

from tsirius.reporting import charts


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=30), st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None)
def test_drawings_stay_in_their_box(bins: list[tuple[int, int]], one: float, other: float) -> None:
    layers = {"kept": [a for a, _ in bins], "left": [b for _, b in bins]}
    marks = {"grey": min(one, other), "sure": max(one, other)}
    drawn = charts.histogram(layers, marks, "<&>") + charts.interval(one, min(one, other), max(one, other), other, '"')
    seen = Page(str(drawn))
    for name in ("x", "y", "x1", "x2", "cx", "width", "height"):
        assert all(-1 <= float(value.rstrip("%")) <= 100.01 for value in seen.values(name) if value.endswith("%"))


def test_a_picture_of_its_own_is_well_formed_and_carries_its_colours() -> None:
    bins = [(0.3, 0.2, 0.1, 0.4, 0.5), (0.9, 0.8, 0.7, 0.95, 0.5)]
    panels = {name: charts.reliability(bins, name) for name in ("before", "after\n<b>&", "$5")}
    text = charts.picture(panels, title="labels of «обувь»")
    root = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{space}svg")) == 3 and len(root.findall(f".//{space}circle")) == 6
    words = [element.text for element in root.iter(f"{space}text")]
    assert {"labels of «обувь»", "before", "after", "<b>&", "$5"} <= set(words)
    used = {element.get("class") for element in root.iter()} - {None, "reliability"}
    assert used and all(f".{name} " in charts.STYLE for name in used if name)
    assert text == charts.picture(panels, title="labels of «обувь»")

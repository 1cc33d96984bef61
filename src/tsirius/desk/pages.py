"""The pages: templates of ``assets/desk`` filled in. Every text in them is escaped there."""

from __future__ import annotations

from functools import partial
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tsirius.desk import strings
from tsirius.reporting import figures

CODES = (
    *(f"Digit{number}" for number in range(1, 10)),
    *(f"Key{letter}" for letter in "QWERTYUIOPASDFGHJKL"),
)
"""The keys of the categories in their order, by place; the lowest row of letters is for :data:`ACTIONS`."""
ACTIONS = {"undo": "KeyZ", "skip": "KeyX", "several": "KeyC", "view": "KeyV", "note": "KeyN", "next": "KeyM"}


def environment() -> Environment:
    """What renders the templates."""
    made = Environment(
        loader=PackageLoader("tsirius", "assets/desk"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"percent": percent, "f1": f1, "excerpt": figures.excerpt}
    made.globals |= {"ACTIONS": ACTIONS}
    return made


def render(pages: Environment, template: str, *, lang: str, **parts: Any) -> str:
    """A page as HTML."""
    say = partial(strings.text, lang=lang)
    key = partial(strings.key_label, lang=lang)
    return pages.get_template(template).render(parts, lang=lang, t=say, key=key)


def percent(share: float | None) -> str:
    """0.873 → «87 %»."""
    return "" if share is None else f"{share:.0%}".replace("%", "\u00a0%")


def f1(value: float) -> str:
    """0.8734 → «0.873»."""
    return f"{value:.3f}"


def buttons(names: list[str], order: list[int]) -> list[dict[str, str]]:
    """The categories in ``order``, each with the key at its place."""
    return [
        {"name": names[number], "code": CODES[place] if place < len(CODES) else ""}
        for place, number in enumerate(order)
    ]

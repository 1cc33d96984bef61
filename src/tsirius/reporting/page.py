"""The pages: what the other modules return, filled into a template in the user's language. Every text in them is
escaped here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from tsirius import i18n
from tsirius.reporting import figures


def environment() -> Environment:
    """The templates in ``assets``, with the words of the language that is spoken.

    ``tr`` is a function from a template of a text and its values, and a filter of texts that were made elsewhere;
    ``numerals`` is a filter of numbers.
    """
    made = Environment(
        loader=PackageLoader("tsirius", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"tr": i18n.translate, "numerals": i18n.numerals}
    made.globals |= {"tr": _said, "language": i18n.language()}
    return made


def _said(template: str, *values: object) -> Markup:
    return Markup(i18n.fill(template, *map(escape, values)))  # the templates are those of the catalogue


def _in_words(shown: Callable[..., str], said: Callable[[str], str]) -> Callable[..., str]:
    """A figure, then its words in the language that is spoken."""
    return lambda *values: said(shown(*values))


def render(**parts: Any) -> str:
    """The report as HTML, from the parts that ``assets/report.html.j2`` names."""
    made = environment()
    made.filters |= {
        "number": _in_words(figures.number, i18n.numerals),
        "decimal": _in_words(figures.decimal, i18n.numerals),
        "duration": _in_words(figures.duration, i18n.translate),
        "memory": _in_words(figures.memory, i18n.translate),
        "printable": figures.printable,
        "short": figures.short,
    }
    made.globals |= {
        "percent": _in_words(figures.percent, i18n.numerals),
        "width": figures.width,
    }
    return made.get_template("report.html.j2").render(parts)

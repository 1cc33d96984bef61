"""The pages: what the other modules return, filled into a template in the user's language. Every text in them is
escaped here."""

from __future__ import annotations

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


def render(**parts: Any) -> str:
    """The report as HTML, from the parts that ``assets/report.html.j2`` names."""
    made = environment()
    made.filters |= {
        "number": lambda value: i18n.numerals(figures.number(value)),
        "decimal": lambda value: i18n.numerals(figures.decimal(value)),
        "duration": lambda value: i18n.translate(figures.duration(value)),
        "memory": lambda value: i18n.translate(figures.memory(value)),
        "printable": figures.printable,
        "short": figures.short,
    }
    made.globals |= {
        "percent": lambda part, whole: i18n.numerals(figures.percent(part, whole)),
        "width": figures.width,
    }
    return made.get_template("report.html.j2").render(parts)

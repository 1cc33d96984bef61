"""The page itself: what the other modules return, filled into the template. Every text in it is escaped there."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tsirius.reporting import figures


def render(**parts: Any) -> str:
    """The report as HTML, from the parts that ``assets/report.html.j2`` names."""
    environment = Environment(
        loader=PackageLoader("tsirius", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": figures.number,
        "decimal": figures.decimal,
        "duration": figures.duration,
        "memory": figures.memory,
        "printable": figures.printable,
        "short": figures.short,
    }
    environment.globals |= {"percent": figures.percent, "width": figures.width}
    return environment.get_template("report.html.j2").render(parts)

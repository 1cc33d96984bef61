"""What mkdocs asks while it builds the site: the version beside the name, and of each page its other language."""

from __future__ import annotations

from typing import Any

import tsirius

RUSSIAN = "ru/"
"""The folder of the Russian pages, which have the names of the English ones."""


def on_config(config: Any) -> Any:
    """Add the version to the site's name."""
    config.site_name = f"{config.site_name} {tsirius.__version__}"
    return config


def on_page_context(context: Any, *, page: Any, config: Any, nav: Any) -> Any:
    """Say which language a page is in, and link it to itself in the other one.

    The theme makes these links relative, so that they lead somewhere without a server. A page that is in English only
    leads to the first Russian one.
    """
    russian = page.file.src_uri.startswith(RUSSIAN)
    english = page.file.dest_uri.removeprefix(RUSSIAN)
    known = {item.file.dest_uri for item in nav.pages}
    translated = RUSSIAN + english if RUSSIAN + english in known else RUSSIAN + "index.html"
    config.theme["language"] = "ru" if russian else "en"
    config.extra["alternate"] = [
        {"name": "English", "link": english, "lang": "en"},
        {"name": "По-русски", "link": translated, "lang": "ru"},
    ]
    return context

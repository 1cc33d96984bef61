"""What mkdocs asks while it builds the site: the version stands beside the name."""

from __future__ import annotations

from typing import Any

import tsirius


def on_config(config: Any) -> Any:
    """Add the version to the site's name."""
    config.site_name = f"{config.site_name} {tsirius.__version__}"
    return config

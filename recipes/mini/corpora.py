"""Reading the corpora's folder."""

from __future__ import annotations

import lzma
from pathlib import Path


def lines(corpora: Path, name: str) -> list[str]:
    """The lines of ``<name>.txt.xz``, empty ones left out."""
    with lzma.open(corpora / f"{name}.txt.xz", "rt", encoding="utf-8") as file:
        return [line for line in file.read().split("\n") if line.strip()]


def pairs(corpora: Path) -> list[tuple[str, str]]:
    """(review, name of the product it was left for)."""
    import polars as pl

    table = pl.read_parquet(corpora / "ru_review_product_pairs.parquet")
    return [
        (text.replace("\n", " "), name.strip())
        for text, name in table.select("text", "product_name").iter_rows()
        if text and text.strip() and name and name.strip()
    ]

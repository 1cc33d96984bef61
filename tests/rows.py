"""Rows for the tests: what people wrote, each in a group of its own."""

import polars as pl

from tsirius import tables


def examples(reviews: dict[str, list[str]]) -> pl.DataFrame:
    """The texts of each category as :data:`tsirius.tables.EXAMPLES`, numbered r0, r1 and so on."""
    rows = [(text, label) for label, texts in reviews.items() for text in texts]
    return pl.DataFrame(
        [(f"r{n}", text, n, label, 0.9, f"r{n}", "written", 1.0) for n, (text, label) in enumerate(rows)],
        schema=dict(tables.EXAMPLES),
        orient="row",
    )

"""Report: one page, ``report.html``, that says what happened to the reviews and how well the model does.

The page is one file without scripts, fonts or pictures from elsewhere. A score against pseudo-labels (agreement with
the labeller) and a score against gold (answers by people) are never mixed, and only the latter, or that of an audit,
is the page's headline. The same run gives the same bytes; as the
page shows how long each stage took, two runs of the same settings do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from tsirius import headline, i18n, tables
from tsirius.categories import Categories
from tsirius.progress import say
from tsirius.reporting import flow, labels, page, records, scores
from tsirius.section import Section

VERSION = 6


class Config(Section):
    pairs: int = Field(10, ge=0, le=100)
    """Most confused pairs of categories shown."""
    examples: int = Field(3, ge=0, le=20)
    """Reviews shown for each of these pairs, and of each category as many that are right and wrong."""
    suspects: int = Field(12, ge=0, le=100)
    """Labels shown that are likely wrong."""
    unsure: int = Field(12, ge=0, le=100)
    """Reviews shown whose label is the least sure, and as many of which no word is known."""


def run(
    config: Config, given: Mapping[str, Path], out: Path, *, seed: int, scratch: Path, language: str
) -> dict[str, Any]:
    """Write the page in ``language``, one of :data:`tsirius.i18n.LANGUAGES`."""
    with i18n.speaking(language):
        text, kinds = _page(config, given)
    (out / "report.html").write_text(text, encoding="utf-8", newline="\n")
    size = len(text.encode())
    say(f"  report.html: {size / 1024:,.0f} KiB")
    return {"bytes": size, "scores": kinds}


def _page(config: Config, given: Mapping[str, Path]) -> tuple[str, list[str]]:
    """The page in the language that is spoken, and the kinds of the scores in it."""
    names = Categories.from_json((given["ingest"] / "categories.json").read_text(encoding="utf-8")).names
    recorded = records.read_records(given)
    scored = records.read_json(given["evaluate"] / "scores.json")
    assessed = [
        scores.assess(kind, scored[kind], given["evaluate"], pairs=config.pairs, examples=config.examples)
        for kind in scores.KINDS
        if scored.get(kind)
    ]
    columns = ("label", "confidence", "kept", "reason")
    labelled = records.read_columns(given["select"] / "labelled.parquet", tables.LABELLED, columns)
    predicted = (
        records.read_columns(given["predict"] / "predictions.parquet", tables.PREDICTIONS, ("category", "confidence"))
        if "predict" in given
        else None
    )
    votes = records.read_votes(given["label"] / "votes.parquet")
    label = records.read_columns(given["label"] / "labels.parquet", tables.LABELS, ("id", "label"))
    counts = flow.count_categories(given, labelled, predicted)
    found = headline.read(given["evaluate"].parent, scored)
    text = page.render(
        name=given["ingest"].resolve().parent.name,
        first=scores.first(found, assessed),
        scores=assessed,
        links=flow.results(given),
        hints=flow.hints(names, counts, assessed, records=recorded),
        funnel=flow.funnel(given, labelled, counts),
        mix=flow.mix(names, counts),
        histograms=labels.histograms(labelled, predicted, thresholds=records.settings(recorded, "select")),
        reasons=labels.reasons(labelled),
        labellers=labels.labellers(votes, label),
        agreements=labels.agreements(votes),
        learning=scores.learning(
            records.notes(recorded, "train"), metric=records.settings(recorded, "train").get("early_stopping_metric")
        ),
        variants=flow.variants(given["augment"], recorded),
        suspects=labels.suspects(given, votes, limit=config.suspects),
        unsure=labels.least_sure(given["select"] / "labelled.parquet", limit=config.unsure),
        strange=labels.without_known_word(given["select"] / "labelled.parquet", limit=config.unsure),
        rejected=flow.rejected(given["ingest"] / "rejected.parquet"),
        costs=flow.costs(recorded),
        details=records.details(recorded),
        versions=records.versions(recorded),
    )
    return text, [score["kind"] for score in assessed]

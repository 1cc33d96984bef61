"""Does confidence mean something, before and after a change, and do the predictions follow the labels' mix?

    python benchmarks/calibration.py [--of predictions|labels] [--bins 10] [--equal-mass] [--out PICTURE.svg]
        --set NAME GOLD.csv TEST.csv [BEFORE=]RUN [AFTER=]RUN ... [--set ...]

A set has answers (id, category), the file of reviews with these ids (id, text), and any number of finished runs to
compare. Of each run it prints the reliability table and the expected calibration error (Guo et al. 2017) over the
answered reviews, then the share of each category: among the run's labels (its estimated prior), its predictions for
the whole test file, and the answers, with a 95 % interval. A category with less than 0.5 % of the labels and more than
2 % of the predictions is marked "!". The picture has a panel for each run.

Predictions are found by id. Labels are found by text: make a run that labels the answered reviews too, for example with
ingest.train=TEST.csv. The answers measure; no run may have seen them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import polars as pl

from tsirius.calibration import Reliability, reliability, wilson
from tsirius.categories import Categories
from tsirius.io.source import open_source, read_batches
from tsirius.language.clean import normalise
from tsirius.reporting import charts, scores

HARDLY, FLOOD = 0.005, 0.02


def table(path: Path) -> pl.DataFrame:
    """All rows of a file: ``id``, and ``text`` and ``category`` where it has them."""
    source = open_source(path, text_column="auto", id_column="auto", encoding="auto", text_required=False)
    return pl.concat(read_batches(source, rows=20_000))


def labels(run: Path) -> pl.DataFrame:
    """A run's labels: ``clean``, ``said`` and ``confidence``, each text once; those without a label are left out."""
    reviews = pl.read_parquet(run / "ingest" / "reviews.parquet", columns=["id", "clean"])
    labelled = pl.read_parquet(run / "label" / "labels.parquet", columns=["id", "label", "confidence"])
    joined = reviews.join(labelled, on="id").filter(pl.col("label").is_not_null())
    return joined.unique("clean", keep="first", maintain_order=True).select("clean", "confidence", said="label")


def predictions(run: Path) -> pl.DataFrame:
    """A run's predictions: ``id``, ``said`` and ``confidence``."""
    predicted = pl.read_parquet(run / "predict" / "predictions.parquet")
    return predicted.select("id", "confidence", said="category")


def mix(run: Path, answers: pl.Series) -> str:
    """The share of each category among labels, predictions and answers, as lines of text."""
    names = Categories.from_json((run / "ingest" / "categories.json").read_text(encoding="utf-8")).names
    given = labels_of_all(run)
    path = run / "predict" / "predictions.parquet"
    predicted = pl.read_parquet(path)["category"] if path.is_file() else pl.Series([], dtype=pl.String)
    width = max(map(len, names))
    lines = [f"{'category':<{width}}   labels  predicted   answers  95 % interval"]
    for name in names:
        prior, share, real = (shared(values, name) for values in (given, predicted, answers))
        low, high = wilson(real, len(answers))
        mark = "  !" if prior < HARDLY and share > FLOOD else ""
        lines.append(f"{name:<{width}}  {prior:7.2%}  {share:9.2%}  {real:8.2%}  {low:.2%}-{high:.2%}{mark}")
    return "\n".join(lines)


def labels_of_all(run: Path) -> pl.Series:
    """The label of every labelled review."""
    return pl.read_parquet(run / "label" / "labels.parquet", columns=["label"])["label"].drop_nulls()


def shared(values: pl.Series, name: str) -> float:
    """The share of ``name`` among ``values``; 0 where there are none."""
    return float((values == name).sum()) / max(1, len(values))


def measure(run: Path, answers: pl.DataFrame, *, of: str, bins: int, equal_mass: bool) -> Reliability:
    """The reliability table of a run over answers with ``id``, ``clean`` and ``category``."""
    own = labels(run) if of == "labels" else predictions(run)
    rows = answers.join(own, on="clean" if of == "labels" else "id", how="inner", maintain_order="left")
    if rows.is_empty():
        sys.exit(f"{run}: no {of} for the answered reviews")
    right = (rows["said"] == rows["category"]).to_numpy()
    return reliability(rows["confidence"].to_numpy(), right, weights=None, bins=bins, equal_mass=equal_mass)


def diagrams(panels: dict[str, Reliability], *, title: str) -> str:
    """Reliability diagrams side by side, as SVG."""
    return charts.picture(
        {
            f"{name}\ncalibration error {table.error:.3f}, {table.rows:,} rows": charts.reliability(
                scores.diagram(table), name
            )
            for name, table in panels.items()
        },
        title=title,
    )


def main() -> None:
    """Print the tables, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs="+", action="append", required=True, metavar="NAME GOLD TEST RUN")
    parser.add_argument("--of", choices=["predictions", "labels"], default="predictions")
    parser.add_argument("--bins", type=int, default=10)
    parser.add_argument("--equal-mass", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    panels: dict[str, Reliability] = {}
    for part in options.set:
        if len(part) < 4:
            parser.error("--set needs a name, the answers, their reviews and at least one run")
        name, gold, test, *runs = part
        texts = table(Path(test)).select("id", clean=pl.col("text").map_elements(normalise, return_dtype=pl.String))
        answers = table(Path(gold)).select("id", "category").join(texts, on="id", how="left", maintain_order="left")
        for spoken in runs:
            title, equals, path = spoken.partition("=")
            run = Path(path if equals else spoken)
            title = f"{name}, {title if equals else run.name}"
            curve = measure(run, answers, of=options.of, bins=options.bins, equal_mass=options.equal_mass)
            panels[title] = curve
            print(
                f"\n## {title}: confidence of the {options.of}, {curve.rows:,} of {answers.height:,} answered reviews\n"
            )
            print(curve.table())
            print(f"\n{mix(run, answers['category'])}")
    print("\n| run | rows | mean confidence | right | calibration error |\n|---|---|---|---|---|")
    for title, curve in panels.items():
        print(f"| {title} | {curve.rows} | {curve.confidence:.3f} | {curve.accuracy:.3f} | {curve.error:.3f} |")
    if options.out:
        options.out.write_text(diagrams(panels, title=f"Confidence of the {options.of}, against answers by people"))
        print(f"\n{options.out}")


if __name__ == "__main__":
    main()

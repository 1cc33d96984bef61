"""A labeller is one module and one line: a toy is registered, checked, documented, and runs in label and augment."""

import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tsirius import tables

CODE = """
from tsirius.labellers import LABELLERS; LABELLERS['toy'] = 'toy'  # the one line, before the configuration is read
import sys
from tsirius import cli, config
print(dict(config.reference())["label.toy"])
for line in sys.argv[1:]:
    sys.argv = ["tsirius", *line.split()]
    try:
        cli.main()
    except SystemExit as end:
        print("exit code", end.code, file=sys.stderr)
"""
"""Registers the toy as the package would, prints its settings, and runs each argument, a command line."""
CATEGORIES = """
[[category]]
name = "обувь"
[[category]]
name = "посуда"
[[category]]
name = "другое"
none = true
"""
SHOP = """
[ingest]
train = "reviews.csv"
categories = "categories.toml"
near_duplicate = 1.0
[label]
use = ["toy", "lexicon"]
encoder = "tsirius-mini"
doubt = false
toy.trust = 0.9
lexicon.widen = false
[select]
sure = 0.5
grey = 0.4
[augment]
target_per_class = 12
agree = "toy"
[train]
linear_encoder = ""
"""


def run(folder: Path, *lines: str) -> tuple[str, list[str]]:
    """What a process prints, and what each of the command lines says on standard error, with its exit code."""
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run([sys.executable, "-c", CODE, *lines], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": paths})  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = re.split(r"(?<=exit code \d)\n", done.stderr)
    assert len(said) == len(lines) + 1, done.stderr
    return done.stdout, said


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.toml").write_text(SHOP, encoding="utf-8")
    (tmp_path / "categories.toml").write_text(CATEGORIES, encoding="utf-8")
    ends = ["отличная, советую всем друзьям", "пришла быстро и целой, спасибо", "так себе, ожидала большего за цену"]
    said = ["обувь", "посуда", "другое"]
    rows = [f"{number} раз: {name} {ends[number % 3]} номер {number}" for number in range(8) for name in said]
    pl.DataFrame({"text": rows}).write_csv(tmp_path / "reviews.csv")
    return tmp_path


def test_it_labels_and_judges_variants(shop: Path) -> None:
    _, (first, again, *_) = run(shop, "run shop.toml", "run shop.toml label.toy.batch=9")
    assert first.endswith("exit code 0") and again.endswith("exit code 0"), first + again
    label = shop / "runs/shop/label"
    votes = tables.read(label / "votes.parquet", tables.VOTES).filter(labeller="toy")
    assert votes["said"].null_count() == 0 and votes["evidence"].to_list()[:2] == [["обувь"], ["посуда"]]
    assert '"trust": 0.9' in (label / "labellers.json").read_text(encoding="utf-8")
    assert "batch" not in (label / "labellers.json").read_text(encoding="utf-8"), "it decides no result"
    variants = tables.read(shop / "runs/shop/augment/variants.parquet", tables.VARIANTS)
    assert variants.height and all(name in text for name, text in variants.select("label", "clean").iter_rows())
    assert "label: running" in first and "label: skipped" in again


def test_its_settings_are_checked_and_documented(shop: Path) -> None:
    printed, (unknown, large, *_) = run(
        shop, "check shop.toml label.toy.trusst=0.7", "check shop.toml label.toy.trust=2"
    )
    assert "label.toy.trusst: unknown key; did you mean 'trust'?" in unknown and unknown.endswith("exit code 2")
    assert "label.toy.trust: input should be less than 1" in large and large.endswith("exit code 2")
    assert printed.strip() == str([("trust", "0.8", "How sure the toy is."), ("batch", "1", "Changes nothing.")])

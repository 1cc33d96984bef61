"""A labeller is one module and one line: a toy is registered, checked, documented, and runs in label and augment."""

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tsirius import tables

REGISTER = "from tsirius.labellers import LABELLERS; LABELLERS['toy'] = 'toy'\n"
"""The one line. It comes before the configuration is read, as one in the package does."""
RUN = REGISTER + "from tsirius.cli import main; import sys; sys.exit(main())"
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


def python(code: str, folder: Path, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": paths})  # fmt: skip
    assert done.returncode == expect, done.stderr
    return done


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
    done = python(RUN, shop, "run", "shop.toml")
    label = shop / "runs/shop/label"
    votes = tables.read(label / "votes.parquet", tables.VOTES).filter(labeller="toy")
    assert votes["said"].null_count() == 0 and votes["evidence"].to_list()[:2] == [["обувь"], ["посуда"]]
    assert '"trust": 0.9' in (label / "labellers.json").read_text(encoding="utf-8")
    assert "batch" not in (label / "labellers.json").read_text(encoding="utf-8"), "it decides no result"
    variants = tables.read(shop / "runs/shop/augment/variants.parquet", tables.VARIANTS)
    assert variants.height and all(name in text for name, text in variants.select("label", "clean").iter_rows())
    again = python(RUN, shop, "run", "shop.toml", "label.toy.batch=9")
    assert "label: skipped" in again.stderr and "label: " in done.stderr


def test_its_settings_are_checked_and_documented(shop: Path) -> None:
    refused = python(RUN, shop, "check", "shop.toml", "label.toy.trusst=0.7", expect=2).stderr
    assert "label.toy.trusst: unknown key; did you mean 'trust'?" in refused
    assert (
        "label.toy.trust: input should be less than 1"
        in python(RUN, shop, "check", "shop.toml", "label.toy.trust=2", expect=2).stderr
    )
    code = REGISTER + "from tsirius import config; print(dict(config.reference())['label.toy'])"
    assert python(code, shop).stdout.strip() == str(
        [("trust", "0.8", "How sure the toy is."), ("batch", "1", "Changes nothing.")]
    )

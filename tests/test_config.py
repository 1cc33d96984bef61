"""Configuration: files, overrides, and what is said of mistakes."""

import re
import tomllib
from pathlib import Path

import pytest

from tsirius import config
from tsirius.errors import UserError

MINIMAL = '[ingest]\ntrain = "reviews.csv"\ncategories = "categories.toml"\n'


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "shop.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_name_is_the_files_where_none_is_given(tmp_path: Path) -> None:
    loaded = config.load(written(tmp_path, MINIMAL))
    assert loaded.name == "shop" and loaded.seed == 0 and loaded.ingest.test is None


@pytest.mark.parametrize(
    ("override", "value"),
    [("ingest.test=", None), ("evaluate.gold = ", None),
     ("select.sure=0.75", 0.75), ("select.sure = 0.75", 0.75), ("train.model=models/tiny", "models/tiny"),
     ('train.model="models/tiny"', "models/tiny"), ("train.model=7b", "7b"), ("name=other", "other")],
)  # fmt: skip
def test_overrides(tmp_path: Path, override: str, value: object) -> None:
    loaded = config.load(written(tmp_path, MINIMAL), [override]).model_dump()
    for part in override.partition("=")[0].strip().split("."):
        loaded = loaded[part]
    assert loaded == value


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        (MINIMAL, ["select.shure=0.7"], "select.shure: unknown key; did you mean 'sure'?"),
        (MINIMAL, ["selct.sure=0.7"], "selct: unknown key; did you mean 'select'?"),
        (MINIMAL, ["select.sure=1.7"], "select.sure: input should be less than or equal to 1, got 1.7"),
        (MINIMAL, ["select.sure=high"], "select.sure: "),
        (MINIMAL, ["select.sure=0.3"], "grey (0.4) is above sure (0.3)"),
        (MINIMAL, ["select.sure"], "not an override: 'select.sure'"),
        (MINIMAL, ["name.sure=1"], "'name' is not a section"),
        (MINIMAL, ["name=a/b"], "name: "),
        (MINIMAL, ["seed=-1"], "seed: input should be greater than or equal to 0, got -1"),
        ('name = "shop"', [], "ingest: is missing"),
        (MINIMAL.replace("train", "trian"), [], "ingest.trian: unknown key; did you mean 'train'?"),
        ("name = [", [], "not valid TOML"),
        (MINIMAL, ["ingest.train=true"], "shop.toml, ingest.train: not a path: True"),
    ],
)
def test_refused(tmp_path: Path, text: str, overrides: list[str], words: str) -> None:
    with pytest.raises(UserError) as caught:
        config.load(written(tmp_path, text), overrides)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_name_of_an_oddly_named_file(tmp_path: Path) -> None:
    path = tmp_path / "(1) мой прогон!.toml"
    path.write_text(MINIMAL, encoding="utf-8")
    assert config.load(path).name == "1-мой-прогон"


def test_every_setting_is_described() -> None:
    for section, fields in config.reference():
        for key, _, meaning in fields:
            assert meaning, f"{section}.{key} has no docstring"


def test_the_starter_file_says_the_defaults(tmp_path: Path) -> None:
    files = {"train": [Path("reviews.csv")], "test": None, "categories": Path("categories.toml")}
    text = config.starter("shop", **files, found={})
    loaded = config.load(written(tmp_path, text))
    settings = [
        line.removeprefix("# ") for line in text.splitlines() if line.startswith("[") or re.match(r"(# )?\w+ = ", line)
    ]
    assert '# gold = ""' in text.splitlines()
    full = config.parse(tomllib.loads("\n".join(settings)), where="starter")
    assert full.model_dump(exclude={"ingest": {"test"}}) == loaded.model_dump(exclude={"ingest": {"test"}})

"""The public names: what a program that imports the package can rely on."""

import ast
from pathlib import Path

import pytest

import tsirius
from tsirius.commands.new import SAMPLE


def test_the_public_names_are_there_and_listed() -> None:
    assert set(dir(tsirius)) == set(tsirius.__all__) == tsirius._HOMES.keys() | {"__version__"}
    for name in tsirius.__all__:
        assert getattr(tsirius, name) is not None
    for name in tsirius._HOMES:
        assert getattr(tsirius, name).__doc__, name
    with pytest.raises(AttributeError, match="has no attribute 'lable'"):
        tsirius.lable  # noqa: B018


def test_a_type_checker_is_told_the_same_homes() -> None:
    tree = ast.parse(Path(tsirius.__file__).read_text(encoding="utf-8"))
    (typed,) = [node for node in tree.body if isinstance(node, ast.If)]
    assert ast.unparse(typed.test) == "TYPE_CHECKING"
    found = {name.name: node.module for node in typed.body if isinstance(node, ast.ImportFrom) for name in node.names}
    assert found == tsirius._HOMES
    assert (Path(tsirius.__file__).parent / "py.typed").is_file()


def test_paths_may_be_strings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop.toml").write_text(
        f'[ingest]\ntrain = "reviews.csv"\ncategories = "{SAMPLE}/categories.toml"\n', encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    assert tsirius.load("shop.toml") == tsirius.load(Path("shop.toml"))
    assert tsirius.load("shop.toml", ["seed=3"]).seed == 3
    for call in (
        lambda: tsirius.run("nowhere.toml"),
        lambda: tsirius.Classifier.load("nowhere"),
        lambda: tsirius.export("nowhere", to="onnx"),
        lambda: tsirius.predict_file("nowhere", "reviews.csv", "out.csv"),
    ):
        with pytest.raises((tsirius.UserError, FileNotFoundError), match=r"nowhere|reviews\.csv"):
            call()
    with pytest.raises(tsirius.UserError, match="instead of a list of overrides"):
        tsirius.load("shop.toml", "seed=3")

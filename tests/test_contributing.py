"""CONTRIBUTING.md: its rooms are those of the package, and its recipes for a stage and a setting work.

Those for a labeller and an augmenter are in tests/labellers/test_toy.py and its like.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import letters as stage
import pytest

import tsirius
from tsirius import config, pipeline
from tsirius.commands.new import SAMPLE
from tsirius.errors import UserError

PROJECT = Path(__file__).parents[1]
TEXT = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_every_room_is_shown_and_no_other() -> None:
    root = Path(tsirius.__file__).parent
    rooms = {path.name for path in root.iterdir() if path.is_dir() and path.name != "__pycache__"}
    (shown,) = re.findall(r"```text\n(src/tsirius/\n.*?)```", TEXT, re.DOTALL)
    assert set(re.findall(r"^  (\w+)/ ", shown, re.MULTILINE)) == rooms
    files = re.findall(r"\b\w+\.py\b", shown)
    assert files and [name for name in files if not list(root.rglob(name))] == []


class Extended(config.Config):
    """The field in ``config.py``."""

    letters: stage.Config = stage.Config()


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., config.Config]:
    """Reads a configuration with the section of one more stage, and runs it."""
    monkeypatch.setattr(config, "Config", Extended)
    road = pipeline.road

    def longer(loaded: Extended) -> list[pipeline.Step]:  # the line in pipeline.py
        step = pipeline._step(stage, loaded.letters, loaded.seed, reads=("ingest",))
        return [road(loaded)[0], step]

    monkeypatch.setattr(pipeline, "road", longer)
    path = tmp_path / "shop.toml"
    path.write_text(
        f'[ingest]\ntrain = "{SAMPLE}/reviews.csv"\ncategories = "{SAMPLE}/categories.toml"\n', encoding="utf-8"
    )
    return lambda *overrides: config.load(path, [f'runs="{tmp_path}/runs"', *overrides])


def test_a_stage_is_a_module_a_field_and_a_line(load: Callable[..., config.Config]) -> None:
    def decisions(*overrides: str) -> dict[str, bool]:
        return {name: decision.run for name, decision in pipeline.plan(load(*overrides))}

    loaded = load("letters.letter=о")
    root = loaded.runs / loaded.name
    assert decisions("letters.letter=о") == {"ingest": True, "letters": True}
    pipeline.branch(loaded, root, of=root, first="ingest", last="letters")
    record = json.loads((root / "letters" / "record.json").read_text(encoding="utf-8"))
    assert record["notes"]["rows"] == 740 and record["notes"]["count"] > 740
    assert record["key"]["settings"] == {"letter": "о"}
    assert decisions("letters.letter=о") == {"ingest": False, "letters": False}
    assert decisions("letters.letter=о", "letters.rows=5") == {"ingest": False, "letters": False}, "changes no result"
    assert decisions("letters.letter=е") == {"ingest": False, "letters": True}


def test_a_setting_is_a_field_with_a_docstring(load: Callable[..., config.Config]) -> None:
    assert dict(config.reference())["letters"] == [
        ("letter", '"а"', "The letter that is counted."),
        ("rows", "100", "Rows at a time; changes no result."),
    ]
    assert "# The letter that is counted.\n# letter" in config.starter(
        "shop", train=[Path("a")], test=None, categories=Path("b"), found={}
    )
    with pytest.raises(UserError, match=r"letters\.leter: unknown key; did you mean 'letter'"):
        load("letters.leter=о")
    with pytest.raises(UserError, match=r"letters\.letter: string should have at most 1 character"):
        load("letters.letter=оо")

"""The generated pages are what the code says, and the README names the commands that exist."""

import importlib.util
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]

spec = importlib.util.spec_from_file_location("generate", PROJECT / "docs" / "generate.py")
assert spec and spec.loader
generate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate)


@pytest.mark.parametrize("name", generate.PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (PROJECT / "docs" / name).read_text(encoding="utf-8") == generate.PAGES[name](), "run: make docs"


@pytest.mark.parametrize("name", ["README.md", "README.ru.md"])
def test_the_readme_names_the_two_commands_and_shows_a_picture(name: str) -> None:
    text = (PROJECT / name).read_text(encoding="utf-8")
    assert "make demo" in text and "make test" in text
    for link in ("docs/settings.md", "docs/commands.md"):
        assert link in text
    pictures = [part.split(")")[0] for part in text.split("](")[1:] if part.split(")")[0].endswith((".png", ".svg"))]
    assert pictures and all((PROJECT / picture).is_file() for picture in pictures)

"""The pages: generated ones are what the code says, links lead somewhere, recipes load, messages exist."""

import importlib.util
import re
import tomllib
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


PAGES = sorted((PROJECT / "docs").glob("*.md"))
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")


def anchors(path: Path) -> set[str]:
    """What the page's headings are called in links."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        path = page.parent / target if target else page
        assert path.is_file(), f"{page.name} → {target}"
        assert not anchor or anchor in anchors(path), f"{page.name} → {target}#{anchor}"


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"^  - .+: (\S+\.md)$", (PROJECT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == [page.name for page in PAGES]


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("material")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(PROJECT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True))
    page = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "Quick start" in page and not re.search(r'(src|href)="https?://(?!squidfunk|www\.mkdocs)', page)


RECIPES = re.findall(r"```toml\n(.*?)```", (PROJECT / "docs" / "recipes.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("recipe", RECIPES, ids=range(len(RECIPES)))
def test_every_recipe_loads(recipe: str, tmp_path: Path) -> None:
    from tsirius import categories, config

    path = tmp_path / "recipe.toml"
    path.write_text(recipe, encoding="utf-8")
    if "category" in tomllib.loads(recipe):
        assert len(categories.load(path).names) == 2
    else:
        assert config.load(path).ingest.categories


def test_the_messages_that_are_explained_are_said_somewhere() -> None:
    said = "\n".join(path.read_text(encoding="utf-8") for path in (PROJECT / "src").rglob("*.py"))
    explained = re.findall(r"^### `(.+)`$", (PROJECT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(explained) > 10
    assert [message for message in explained if message not in said] == []

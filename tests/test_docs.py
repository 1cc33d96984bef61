"""The pages: generated ones are what the code says, examples run, links lead somewhere, messages exist."""

import doctest
import gzip
import importlib
import importlib.util
import io
import json
import re
import shlex
import shutil
import sys
import tomllib
from contextlib import ExitStack
from pathlib import Path

import polars as pl
import pytest
import shop as sample

import tsirius
from tsirius import cli

PROJECT = Path(__file__).parents[1]

spec = importlib.util.spec_from_file_location("generate", PROJECT / "docs" / "generate.py")
assert spec and spec.loader
generate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate)

spec = importlib.util.spec_from_file_location("transcript", PROJECT / "docs" / "transcript.py")
assert spec and spec.loader
transcript = importlib.util.module_from_spec(spec)
spec.loader.exec_module(transcript)


@pytest.mark.parametrize("name", ["README.md", "README.ru.md"])
def test_the_transcript_is_of_the_commands_of_the_readme(name: str) -> None:
    shown = re.findall(r"^\$ (.+)$", (PROJECT / "docs" / "spreadsheet.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert shown == transcript.COMMANDS
    assert "\n".join(transcript.COMMANDS) in (PROJECT / name).read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_transcript_is_what_the_commands_print() -> None:
    for name, page in transcript.pages().items():
        assert (PROJECT / "docs" / name).read_text(encoding="utf-8") == page, f"{name}: run docs/transcript.py"


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
RUSSIAN = sorted((PROJECT / "docs" / "ru").glob("*.md"))
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")


def anchors(path: Path) -> set[str]:
    """What the page's headings are called in links."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


@pytest.mark.parametrize("page", [*PAGES, *RUSSIAN], ids=lambda page: f"{page.parent.name}/{page.name}")
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        path = page.parent / target if target else page
        assert path.is_file(), f"{page.name} → {target}"
        assert not anchor or anchor in anchors(path), f"{page.name} → {target}#{anchor}"


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"^ +- .+: (\S+\.md)$", (PROJECT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted([*(page.name for page in PAGES), *(f"ru/{page.name}" for page in RUSSIAN)])


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("material")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(PROJECT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True))
    page = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert f"tsirius {tsirius.__version__}" in page, "the version is shown"
    assert page.count('data-md-color-media="(prefers-color-scheme') == 3, "the dark scheme has a switch"
    index = (tmp_path / "site" / "search" / "search_index.js").read_text(encoding="utf-8")
    assert "weighted F1" in index, "the search works from a folder: a script is loaded where a JSON file is not"
    for name, language, other in (
        ("index", "en", "ru/index"),
        ("ru/desk", "ru", "../desk"),
        ("settings", "en", "ru/index"),
    ):
        shown = (tmp_path / "site" / f"{name}.html").read_text(encoding="utf-8")
        assert f'<html lang="{language}"' in shown and f'<a href="{other}.html" hreflang=' in shown, name
    assert json.dumps("взвешенн")[1:-1] in index and '"ru"' in index, "Russian pages are searched as Russian"
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


BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = {"sh", "python", "pycon"}
NOT_RUN = {
    "make": "sets up an environment of its own; CI runs it",
    "python3 -m venv": "as make",
    ".": "as make",
    "pip": "as make",
    "torchrun": "needs several GPUs",
    "accelerate": "needs several GPUs",
}
"""Lines of shell blocks that are not run, by how they begin, and why."""
DOCUMENTS = [*(PROJECT / name for name in ("README.md", "README.ru.md", "CONTRIBUTING.md")), *PAGES]


def blocks(path: Path) -> list[tuple[str, str]]:
    """The language and the text of every fenced block of a page."""
    return [(language, text) for language, text in BLOCK.findall(path.read_text(encoding="utf-8"))]


TRANSLATIONS = {"README.ru.md": "README.md"}
WITH_EXAMPLES = [
    path for path in DOCUMENTS if path.name not in TRANSLATIONS and any(language in RUN for language, _ in blocks(path))
]


@pytest.fixture
def beside_a_run(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the examples name, and a finished run."""
    folder = Path(shutil.copytree(shop, tmp_path / "shop"))
    pl.read_csv(folder / "test.csv").head(120).write_csv(folder / "more.csv")
    shutil.copy(PROJECT / "configs" / "demo.toml", folder)
    transcript.lay_out(folder, every=12)  # a quarter of what the page shows
    monkeypatch.chdir(folder)
    return folder


def command_line(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a line of a shell block that begins with tsirius, here; ``<`` and ``>`` name files as in a shell."""
    words = shlex.split(line, comments=True)
    with ExitStack() as opened, monkeypatch.context() as patch:
        for sign, stream, mode in (("<", "stdin", "r"), (">", "stdout", "w")):
            if sign in words:
                place = words.index(sign)
                patch.setattr(sys, stream, opened.enter_context(Path(words[place + 1]).open(mode, encoding="utf-8")))
                del words[place : place + 2]
        patch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            cli.main()
    assert end.value.code == 0, line


def run_shell(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in text.splitlines():
        for part in line.split(" && "):
            if not part or part.startswith("#"):
                continue
            if part.startswith("tsirius "):
                command_line(part, monkeypatch)
            else:
                assert any(part.startswith(f"{word} ") for word in NOT_RUN), f"neither run nor excused: {part}"


def run_examples(test: doctest.DocTest, names: dict[str, object] | None = None) -> None:
    """Run ``>>>`` examples; what they print must be what they say, and what they define is added to ``names``."""
    out = io.StringIO()
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=out.write, clear_globs=False)
    if names is not None:
        names.update(test.globs)
    assert result.attempted and not result.failed, out.getvalue()


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.name)
def test_every_example_of_a_page_runs(
    page: Path,
    beside_a_run: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (beside_a_run / "shop.toml").unlink()  # a page begins where its reader does
    if page.name == "predict.md":
        prepare_export(beside_a_run, tiny_model, monkeypatch)
    names: dict[str, object] = {}  # what one block defines the next one uses
    for language, text in blocks(page):
        if language == "sh":
            run_shell(text, monkeypatch)
        elif language == "pycon":
            run_examples(doctest.DocTestParser().get_doctest(text, names, page.name, str(page), None), names)
        elif language == "python":
            exec(compile(text, page.name, "exec"), names)


@pytest.mark.parametrize(("translation", "original"), TRANSLATIONS.items())
def test_a_translation_has_the_same_examples(translation: str, original: str) -> None:
    def code(name: str) -> list[tuple[str, list[str]]]:
        return [
            (language, [line.partition("  # ")[0].rstrip() for line in text.splitlines() if not line.startswith("#")])
            for language, text in blocks(PROJECT / name)
        ]

    assert code(translation) == code(original)


def prepare_export(folder: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with a fine-tuned encoder, as the page about exports has it."""
    pytest.importorskip("onnxscript")
    (folder / "shop.toml").write_text(sample.CONFIG, encoding="utf-8")
    command_line(f"tsirius run shop.toml train.use=lora train.model={tiny_model} train.epochs=1", monkeypatch)
    with (folder / "test.csv").open("rb") as reviews, gzip.open(folder / "reviews.jsonl.gz", "wb") as out:
        out.writelines(
            (json.dumps({"text": text}, ensure_ascii=False) + "\n").encode()
            for text in pl.read_csv(reviews)["text"][:50]
        )


def test_a_line_that_cannot_be_run_is_excused_by_name() -> None:
    lines = [part for page in WITH_EXAMPLES for language, text in blocks(page) if language == "sh"
             for line in text.splitlines() for part in line.split(" && ")]  # fmt: skip
    assert [word for word in NOT_RUN if not any(line.startswith(f"{word} ") for line in lines)] == []


SOURCE = Path(tsirius.__file__).parent
EXAMPLES = [
    path.relative_to(SOURCE).as_posix()
    for path in sorted(SOURCE.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_of_a_docstring_runs(name: str, beside_a_run: Path) -> None:
    dotted = ".".join(["tsirius", *Path(name).with_suffix("").parts]).removesuffix(".__init__")
    module = importlib.import_module(dotted)
    tests = [test for test in doctest.DocTestFinder().find(module, dotted) if test.examples]
    assert tests
    for test in tests:
        run_examples(test)

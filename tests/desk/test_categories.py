"""The page of the categories: what they hold, what others would change, and answers as files."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tsirius.commands.categories.preview import categories_of
from tsirius.desk.app import application
from tsirius.desk.board import Board

TOKEN = "the-token"
ORIGIN = "http://127.0.0.1:8090"


@pytest.fixture
def client(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    shutil.copytree(shop, tmp_path / "shop")
    monkeypatch.chdir(tmp_path / "shop")
    app = application(Board(tmp_path / "shop" / "runs" / "shop"), token=TOKEN, lang="ru")
    made = TestClient(app, base_url=ORIGIN, headers={"Origin": ORIGIN})
    made.get(f"/?token={TOKEN}")
    made.cookies.set("desk_who", "Anna")
    return made


def test_the_page_lists_categories_and_groups_and_is_linked(client: TestClient) -> None:
    page = client.get("/categories")
    assert page.status_code == 200 and "Каких категорий не хватает" in page.text
    assert "<td>" in page.text and "посуда" in page.text and "<h3>" in page.text
    assert 'href="/categories"' in client.get("/").text


def test_the_difference_is_shown_and_changes_nothing(client: TestClient, tmp_path: Path) -> None:
    run = tmp_path / "shop" / "runs" / "shop"
    old = categories_of(run)
    text = old.to_toml() + '\n[[category]]\nname = "<b>часы</b>"\ndescription = "наручные часы, ремешок"\n'
    page = client.post("/categories", data={"text": text})
    assert page.status_code == 200 and "изменилось отзывов" in page.text
    assert "&lt;b&gt;часы&lt;/b&gt;" in page.text and "<b>часы" not in page.text
    assert categories_of(run) == old


def test_categories_that_cannot_be_are_refused_without_a_path(client: TestClient) -> None:
    page = client.post("/categories", data={"text": "[[category]]\nname = 'одна'\n"})
    assert page.status_code == 409 and "Name at least two" in page.text and "/tmp" not in page.text


def test_answers_are_downloaded_in_each_format(client: TestClient) -> None:
    table = client.get("/export?format=csv")
    assert table.headers["content-disposition"] == 'attachment; filename="answers-csv.csv"'
    assert next(csv.reader(io.StringIO(table.content.decode("utf-8-sig")), delimiter=";"))[0] == "id"
    for form in ("label-studio", "argilla"):
        assert json.loads(client.get(f"/export?format={form}").content) == []
    assert client.get("/export?format=exel").status_code == 409

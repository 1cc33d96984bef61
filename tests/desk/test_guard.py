"""Who is let in at the desk, and what a request may bring."""

from pathlib import Path
from typing import Any

import pytest
from desking import HOST, ORIGIN, SCRIPT, TOKEN, Person, make_run, sit
from starlette.testclient import TestClient

from tsirius.answers.log import Log
from tsirius.desk.guard import HEADERS, MOST_BYTES

FORM = {"content-type": "application/x-www-form-urlencoded"}
GOOD = {"host": HOST, "origin": ORIGIN, "cookie": f"desk_8090={TOKEN}; desk_who=Anna", **FORM}
ANSWER = "queue=unsure&view=one&review=r1&category_is=%D0%BE%D0%B1%D1%83%D0%B2%D1%8C"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return sit(make_run(tmp_path_factory.mktemp("desk") / "run"))[1]


@pytest.fixture
def client(app: Any) -> TestClient:
    return TestClient(app, base_url=ORIGIN, follow_redirects=False)


def test_the_token_in_the_address_becomes_a_cookie_that_scripts_do_not_see(client: TestClient) -> None:
    entered = client.get(f"/?token={TOKEN}")
    assert entered.status_code == 303 and entered.headers["location"] == "/", "the token leaves the address"
    cookie = entered.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite" in cookie
    assert client.get("/").headers["location"] == "/hello", "let in, and asked for a name"


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"cookie": ""}, 401),
        ({"cookie": "desk_8090=the-token2"}, 401),
        ({"cookie": "desk_8090="}, 401),
        ({"cookie": "desk_9999=the-token"}, 401),
        ({"cookie": "desk_8090=\xff\xfe"}, 401),
        ({"host": "example.org:8090"}, 421),
        ({"host": "127.0.0.1.example.org:8090"}, 421),
        ({"host": "127.0.0.1:8090@example.org"}, 421),
        ({"host": ""}, 421),
        ({"origin": "http://example.org"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://127.0.0.1:8090"}, 403),
        ({"origin": "http://127.0.0.1:3000"}, 403),
        ({"origin": "none"}, 403),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_others_are_refused(app: Any, client: TestClient, method: str, changed: dict[str, str], status: int) -> None:
    headers = {name: value.encode("latin-1") for name, value in {**GOOD, **changed}.items()}
    path = "/work?queue=unsure" if method == "GET" else "/answer"
    refused = client.request(method, path, headers=headers, content=ANSWER if method == "POST" else None)
    assert refused.status_code == status
    assert "отзыв" not in refused.text and refused.headers["content-security-policy"]
    person = Person(app, "Anna")
    assert person.get("/").words.count("Anna"), "who has the token is let in all the same"


def test_a_wrong_token_in_the_address_is_refused(client: TestClient) -> None:
    assert client.get("/?token=the-toke").status_code == 401
    assert client.get(f"/work?token={TOKEN}").status_code == 401, "only the first page takes it"


def test_a_change_without_an_origin_is_refused_and_one_with_it_is_kept(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", model=False)
    client = TestClient(sit(run)[1], base_url=ORIGIN, follow_redirects=False)
    without = {name: value for name, value in GOOD.items() if name != "origin"}
    assert client.post("/answer", content=ANSWER, headers=without).status_code == 403
    assert Log(run).standing() == []
    assert client.post("/answer", content=ANSWER, headers=GOOD).status_code == 303
    assert [one.category for one in Log(run).standing()] == ["обувь"]
    assert client.get("/answer", headers=GOOD).status_code == 405, "a link changes nothing"


def test_a_forwarded_port_is_let_in(client: TestClient) -> None:
    headers = {
        "host": "localhost:9000",
        "cookie": f"desk_9000={TOKEN}; desk_who=Anna",
        "origin": "http://localhost:9000",
    }
    assert client.get("/", headers=headers).status_code == 200


def test_a_body_of_ten_megabytes_is_refused(client: TestClient) -> None:
    big = b'{"review": "' + b"x" * 10_000_000 + b'"}'
    assert client.post("/answer", content=big, headers=GOOD).status_code == 413
    chunks = (b"x" * 65536 for _ in range(160))
    assert client.post("/answer", content=chunks, headers=GOOD).status_code == 413, "of unknown length"
    lying = {**GOOD, "content-length": "x"}
    assert client.post("/answer", content=b"a=b", headers=lying).status_code == 413
    many = "&".join(f"review=r{n}" for n in range(5000))
    assert len(many) < MOST_BYTES
    assert client.post("/answer", content=many, headers=GOOD).status_code == 400, "too many fields"
    assert client.post("/answer", content=b"note=\xff\xfe", headers=GOOD).status_code == 400


def test_every_answer_says_what_the_page_may_load(client: TestClient) -> None:
    for path in ("/", "/work?queue=search", "/static/desk.js", "/nothing", "/static/../guard.py"):
        answer = client.get(path, headers=GOOD)
        assert {name: answer.headers.get(name) for name in HEADERS if name != "Cache-Control"} == {
            name: value for name, value in HEADERS.items() if name != "Cache-Control"
        }, path
    assert "unsafe" not in HEADERS["Content-Security-Policy"]
    assert client.get("/static/desk.js", headers={"host": HOST}).status_code == 401
    assert client.get("/static/base.html.j2", headers=GOOD).status_code == 404


def test_a_script_in_a_review_or_in_a_query_is_text(app: Any) -> None:
    person = Person(app, "<script>Анна</script>")
    for seen in (
        person.work("search", words="тапки"),
        person.work("search", words='"><script>x</script>', state='"><img>'),
        person.get("/"),
    ):
        assert [at.get("src") for at in seen.all("script")] == ["/static/desk.js"], "the page's own one alone"
        assert not seen.all("b") and not seen.all("img")
        assert "<script>Анна</script>" in seen.words
        assert not [name for _, at in seen.tags for name in at if name.startswith("on") or name == "style"]
    assert SCRIPT in person.work("search", words="тапки").words

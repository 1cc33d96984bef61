"""The application: which path is answered by what."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, fields
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode

from jinja2 import Environment
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from tsirius.answers.log import VERDICTS, Verdict
from tsirius.commands.answers import exchange
from tsirius.commands.answers import files as files_of_answers
from tsirius.desk import pages
from tsirius.desk.board import LATELY, ORDER, PAGE, Board, Query, advice
from tsirius.desk.guard import COOKIE_SECONDS, SAFE, Guard, cookies
from tsirius.desk.proposal import Row
from tsirius.desk.strings import LANGUAGES
from tsirius.errors import UserError

NAME_CHARACTERS = 60
NOTE_CHARACTERS = 2000
WORDS_CHARACTERS = 200
MOST_FIELDS = 1100
MORE = 20
"""Exam reviews that are drawn at a time, after the first ones."""
EMPTY_ROWS = 2
"""For new categories, each time the page is shown."""
STATIC = {"desk.css": "text/css", "desk.js": "text/javascript", "icon.svg": "image/svg+xml"}
LISTS = ("category", "search")
"""Queues that are shown as a list unless one asks otherwise."""


@dataclass(frozen=True)
class Settings:
    """What a person chose, kept in cookies.

    Attributes:
        who: the name; empty: not said yet.
        lang: of the page.
        order: of the buttons, ``fixed`` or ``score``.
        hide: label and confidence until answered.
    """

    who: str
    lang: str
    order: str
    hide: bool


@dataclass(frozen=True)
class Site:
    """What the handlers share."""

    board: Board
    templates: Environment
    lang: str

    def page(self, template: str, settings: Settings, *, status: int = 200, **parts: Any) -> Response:
        """A page as an answer."""
        text = pages.render(
            self.templates, template, lang=settings.lang, settings=settings, run=self.board.run.name, **parts
        )
        return HTMLResponse(text, status)


Form = Mapping[str, list[str]]
Handler = Callable[[Site, Request, Settings, Form], Response]


# --- what is shown ----------------------------------------------------------------------------------------------------


def home(site: Site, _request: Request, settings: Settings, _form: Form) -> Response:
    board = site.board
    board.look()
    waiting = {"contradicts"} - ({"contradicts"} if board.model_ready else set())
    counts = {
        name: len(board.rows(Query(name), who=settings.who))
        for name in ORDER
        if name not in ("unsure", "category", "search") and name not in waiting
    }
    return site.page(
        "home.html.j2",
        settings,
        queues=ORDER,
        counts=counts,
        waiting=waiting,
        has_model=board.has_model,
        total=len(board.desk.row_of),
        at_work=board.at_work(),
        task=board.training.task,
        **_figures(site),
    )


def _figures(site: Site) -> dict[str, Any]:
    board = site.board
    scores = {of: board.score(of) for of in ("labels", "model")}
    return {"people": board.people(), "scores": scores, "advice": advice(scores["labels"]), "exam": board.exam()}


def work(site: Site, request: Request, settings: Settings, _form: Form) -> Response:
    given = parse_qs(request.url.query, max_num_fields=MOST_FIELDS)
    query = _query(given)
    view = _one(given, "view") or ("list" if query.queue in LISTS else "one")
    parts: dict[str, Any] = {
        "query": query,
        "view": view,
        "back": _address(query, view),
        "other_view": _address(query, "one" if view == "list" else "list"),
        "names": site.board.desk.categories.names,
        "columns": site.board.columns() if query.queue == "search" else [],
        "exam": site.board.exam() if query.queue == "exam" else None,
        "last": site.board.last(settings.who),
        "lately": site.board.lately(settings.who, query.queue),
        "lately_rows": LATELY,
        "waiting": query.queue == "contradicts" and not site.board.model_ready,
        "has_model": site.board.has_model,
    }
    if query.queue == "exam":
        parts |= {"scores": {"labels": site.board.score("labels")}, "advice": advice(site.board.score("labels"))}
    return (_list if view == "list" else _single)(site, given, settings, query, parts)


def _single(site: Site, _given: Form, settings: Settings, query: Query, parts: dict[str, Any]) -> Response:
    row, left = site.board.next(query, who=settings.who)
    exam = query.queue == "exam"
    cards = site.board.cards([] if row is None else [row], highlight=not exam)
    names = parts["names"]
    by_score = settings.order == "score" and not exam and row is not None
    order = site.board.likeliest(row) if by_score and row is not None else list(range(len(names)))
    return site.page(
        "one.html.j2", settings, card=cards[0] if cards else None, left=left, buttons=pages.buttons(names, order),
        hidden=settings.hide or exam, **parts,
    )  # fmt: skip


def _list(site: Site, given: Form, settings: Settings, query: Query, parts: dict[str, Any]) -> Response:
    rows = site.board.rows(query, who=settings.who, least=PAGE)
    number = max(0, min(int(number) if (number := _one(given, "page")).isdigit() else 0, (len(rows) - 1) // PAGE))
    shown = rows[number * PAGE : (number + 1) * PAGE].tolist()
    exam = query.queue == "exam"
    names = parts["names"]
    return site.page(
        "list.html.j2", settings, cards=site.board.cards(shown, highlight=not exam), left=len(rows),
        number=number, previous=_address(query, "list", number - 1) if number else "",
        following=_address(query, "list", number + 1) if (number + 1) * PAGE < len(rows) else "",
        buttons=pages.buttons(names, list(range(len(names)))),
        hidden=(settings.hide and query.queue not in LISTS) or exam, **parts,
    )  # fmt: skip


def model(site: Site, request: Request, settings: Settings, _form: Form) -> Response:
    board = site.board
    board.look()
    kept = board.versions()
    wanted = _one(parse_qs(request.url.query, max_num_fields=MOST_FIELDS), "against")
    others = [version for version in kept if version.outputs != board.outputs]
    against = next((version for version in others if version.name == wanted), others[0] if others else None)
    at_work = board.at_work()
    return site.page(
        "model.html.j2",
        settings,
        at_work=at_work,
        task=board.training.task,
        lines=board.training.lines() if at_work or board.trouble else [],
        trouble=board.trouble,
        knows_all=board.knows_all(),
        lessons=sum(person["lesson"] for person in board.people()),
        compared=board.compared(),
        versions=kept,
        current=board.outputs,
        against=against,
        changes=board.changes(against) if against is not None and not at_work else {},
        has_model=board.has_model,
    )


def categories(site: Site, _request: Request, settings: Settings, _form: Form) -> Response:
    board = site.board
    board.look()
    at_work = board.at_work()
    counts = dict(board.desk.labels["label"].drop_nulls().value_counts().iter_rows())
    trouble = "" if at_work else board.failed()
    return site.page(
        "categories.html.j2", settings, counts=[(name, counts.get(name, 0)) for name in board.desk.categories.names],
        at_work=at_work, lines=board.training.lines() if at_work else [], trouble=trouble,
        rows=[*board.rows_of_categories(), *[Row("", "", "")] * EMPTY_ROWS], without=board.desk.categories.none,
        preview=None if at_work else board.proposed(), obstacle=board.obstacle(), clusters=board.clusters(),
        forms=exchange.FORMATS,
    )  # fmt: skip


def export(site: Site, request: Request, _settings: Settings, _form: Form) -> Response:
    form = _one(parse_qs(request.url.query, max_num_fields=MOST_FIELDS), "format") or "csv"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"answers-{form}.{'csv' if form == 'csv' else 'json'}"
        files_of_answers.export(site.board.run, path, form=form)
        content = path.read_bytes()
    return Response(content, media_type="application/octet-stream",
                    headers={"Content-Disposition": f'attachment; filename="{path.name}"'})  # fmt: skip


def hello(site: Site, _request: Request, settings: Settings, _form: Form) -> Response:
    return site.page("hello.html.j2", settings)


# --- what is done -----------------------------------------------------------------------------------------------------


def answer(site: Site, _request: Request, settings: Settings, form: Form) -> Response:
    query, view = _query(form), _one(form, "view")
    category = _one(form, "category_is") or None
    verdict: Verdict = next((one for one in VERDICTS if one == _one(form, "verdict")), "category")
    blind = _one(form, "blind") == "1"
    shown = {"queue": query.queue, "view": view, "hidden": blind, "order": settings.order}
    site.board.answer(
        settings.who,
        form.get("review", []),
        category,
        verdict="category" if category else verdict,
        kind="exam" if query.queue == "exam" else "lesson",
        note=_one(form, "note")[:NOTE_CHARACTERS],
        shown=shown,
    )
    return _to(_address(query, view))


def undo(site: Site, _request: Request, settings: Settings, form: Form) -> Response:
    site.board.undo(settings.who)
    return _to(_address(_query(form), _one(form, "view")) if _one(form, "queue") else "/")


def draw(site: Site, _request: Request, _settings: Settings, form: Form) -> Response:
    site.board.draw_exam(MORE if _one(form, "more") else None)
    return _to(_address(Query("exam"), "one"))


def retrain(site: Site, _request: Request, _settings: Settings, _form: Form) -> Response:
    site.board.retrain()
    return _to("/model")


def put_back(site: Site, _request: Request, _settings: Settings, form: Form) -> Response:
    site.board.put_back(_one(form, "version"))
    return _to("/model")


def propose(site: Site, _request: Request, _settings: Settings, form: Form) -> Response:
    columns = [form.get(name, []) for name in ("was", "name", "description")]
    if len({len(column) for column in columns}) != 1:
        raise UserError("a line lacks a field", where="categories", remedy="Open the page again.")
    tidy = [[" ".join(cell.split()) for cell in column] for column in columns[1:]]
    site.board.propose([Row(*cells) for cells in zip(columns[0], *tidy, strict=True)])
    return _to("/categories")


def accept(site: Site, _request: Request, _settings: Settings, _form: Form) -> Response:
    site.board.accept()
    return _to("/model")


def drop(site: Site, _request: Request, _settings: Settings, _form: Form) -> Response:
    site.board.drop()
    return _to("/categories")


def choose(site: Site, _request: Request, settings: Settings, form: Form) -> Response:
    response = _to(f"/work?{_one(form, 'back')}" if _one(form, "back").startswith("queue=") else "/")
    chosen = {
        "who": " ".join("".join(letter for letter in _one(form, "who") if letter.isprintable()).split())[
            :NAME_CHARACTERS
        ],
        "lang": _one(form, "lang"),
        "order": _one(form, "order"),
        "hide": _one(form, "hide"),
    }
    for name, value in chosen.items():
        if name in form and value:
            response.set_cookie(f"desk_{name}", quote(value), max_age=COOKIE_SECONDS, samesite="lax", httponly=True)
    return response


# --- how -------------------------------------------------------------------------------------------------------------


def _one(form: Form, name: str) -> str:
    return form.get(name, [""])[0]


def _query(form: Form) -> Query:
    """The query of an address or a form.

    Raises:
        UserError: a number is none.
    """
    at_most = _one(form, "at_most").replace(",", ".")
    try:
        share = float(at_most) / 100 if at_most else 1.0
    except ValueError:
        raise UserError(f"{at_most!r} is no number", remedy="Write a percentage, 60 for example.") from None
    return Query(
        queue=_one(form, "queue") or ORDER[0],
        category=_one(form, "category") or None,
        words=_one(form, "words")[:WORDS_CHARACTERS],
        column=_one(form, "column"),
        having=_one(form, "having")[:WORDS_CHARACTERS],
        state=_one(form, "state"),
        at_most=share,
    )


def _address(query: Query, view: str, number: int = 0) -> str:
    """The address of a page of work."""
    defaults = {field.name: field.default for field in fields(Query)}
    parts = {name: value for name, value in asdict(query).items() if value != defaults[name]}
    if "at_most" in parts:
        parts["at_most"] = f"{100 * query.at_most:g}"
    return "/work?" + urlencode(parts | ({"view": view} if view else {}) | ({"page": number} if number else {}))


def _to(address: str) -> Response:
    return RedirectResponse(address, HTTPStatus.SEE_OTHER)


def _settings(request: Request, lang: str) -> Settings:
    given = cookies(request.headers.get("cookie", "").encode("latin-1"))
    chosen = unquote(given.get("desk_lang", ""))
    return Settings(
        who=unquote(given.get("desk_who", ""))[:NAME_CHARACTERS],
        lang=chosen if chosen in LANGUAGES else lang,
        order="score" if given.get("desk_order") == "score" else "fixed",
        hide=given.get("desk_hide") != "0",
    )


def _static(name: str) -> Response:
    if name not in STATIC:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    content = files("tsirius").joinpath("assets", "desk", name).read_bytes()
    return Response(content, media_type=STATIC[name], headers={"Cache-Control": "no-cache"})


ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/", home),
    ("GET", "/work", work),
    ("GET", "/model", model),
    ("GET", "/categories", categories),
    ("POST", "/categories", propose),
    ("POST", "/categories/accept", accept),
    ("POST", "/categories/drop", drop),
    ("GET", "/export", export),
    ("GET", "/hello", hello),
    ("POST", "/answer", answer),
    ("POST", "/undo", undo),
    ("POST", "/exam", draw),
    ("POST", "/retrain", retrain),
    ("POST", "/back", put_back),
    ("POST", "/settings", choose),
)
NAMELESS = ("/hello", "/settings")
"""Paths that ask for no name."""


def application(board: Board, *, token: str, lang: str) -> Guard:
    """The application of a run.

    Args:
        board: the run.
        token: what lets in.
        lang: of who has not chosen another.
    """
    site = Site(board, pages.environment(), lang)

    async def static(request: Request) -> Response:
        return _static(request.path_params["name"])

    async def icon(_request: Request) -> Response:
        return _static("icon.svg")

    async def failed(request: Request, problem: Exception) -> Response:
        status, message = HTTPStatus.CONFLICT, str(problem)
        if isinstance(problem, HTTPException):
            status, message = HTTPStatus(problem.status_code), HTTPStatus(problem.status_code).phrase
        return site.page("failed.html.j2", _settings(request, lang), status=status, message=message)

    app = Starlette(
        routes=[
            *(Route(path, _endpoint(site, path, handler), methods=[method]) for method, path, handler in ROUTES),
            Route("/static/{name}", static),
            Route("/favicon.ico", icon),
        ],
        exception_handlers={UserError: failed, HTTPException: failed},
    )
    app.router.redirect_slashes = False
    return Guard(app, token=token)


def _endpoint(site: Site, path: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        settings = _settings(request, site.lang)
        if not settings.who and path not in NAMELESS:
            return _to("/hello")
        body = b"" if request.method in SAFE else await request.body()
        try:
            form = parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
        except ValueError:
            raise HTTPException(HTTPStatus.BAD_REQUEST) from None
        return await run_in_threadpool(handler, site, request, settings, form)

    return endpoint

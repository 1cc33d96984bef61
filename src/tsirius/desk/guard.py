"""Who is let in, and how much a request may bring.

The server listens on loopback, which keeps other machines out but not the pages that a browser shows. So a request
needs the token, which its address brings once and a cookie afterwards; its ``Host`` is a name of loopback, whatever the
name servers say of others; where it changes something, its ``Origin`` is this page. A body is read as a whole and no
more of it than is allowed. What the page may load and who may frame it is said in each answer's headers.
"""

from __future__ import annotations

import hmac
import re
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.responses import PlainTextResponse, RedirectResponse, Response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 256 * 1024
"""Of a body: the ids of a thousand selected reviews."""
HOST = re.compile(rb"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?")
"""The port may be another where it is forwarded."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
COOKIE_SECONDS = 30 * 24 * 3600
SAFE = ("GET", "HEAD")


class Guard:
    """The application around ``app``.

    Args:
        app: what answers those who are let in.
        token: what lets in.
    """

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *own]
            await send(message)

        refused = self._refusal(scope)
        if refused is None:
            body = await _body(scope, receive)
            if body is None:
                refused = _refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MOST_BYTES:,} bytes")
            else:
                messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

                async def given() -> Message:
                    return messages.pop() if messages else await receive()

                await self._app(scope, given, sent)
                return
        await refused(scope, receive, sent)

    def _refusal(self, scope: Scope) -> Response | None:
        """What is answered to who is not let in; None: let in."""
        headers = dict(reversed(scope["headers"]))
        host = headers.get(b"host", b"")
        if not HOST.fullmatch(host):
            return _refuse(HTTPStatus.MISDIRECTED_REQUEST, "not a name of this machine")
        origin = headers.get(b"origin", b"" if scope["method"] in SAFE else b"none")
        if origin not in (b"", b"http://" + host):
            return _refuse(HTTPStatus.FORBIDDEN, "asked by another page")
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and scope["method"] == "GET" and given and self._right(given):
            entered = RedirectResponse("/", HTTPStatus.SEE_OTHER)
            entered.set_cookie(cookie_name(host), self._token, max_age=COOKIE_SECONDS, httponly=True, samesite="lax")
            return entered
        if not self._right(cookies(headers.get(b"cookie", b"")).get(cookie_name(host), "")):
            return _refuse(HTTPStatus.UNAUTHORIZED, "open the address that 'tsirius desk' printed")
        return None

    def _right(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode())


def cookie_name(host: bytes) -> str:
    """The name of the token's cookie: cookies know no port, and several desks may be open."""
    return f"desk_{host.rpartition(b':')[2].decode('latin-1') if host[-1:].isdigit() else 80}"


def cookies(header: bytes) -> dict[str, str]:
    """The cookies of a request."""
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(header.decode("latin-1")).items()}
    except CookieError:
        return {}


async def _body(scope: Scope, receive: Receive) -> bytes | None:
    """The body of a request; None where it is too large."""
    length = dict(scope["headers"]).get(b"content-length", b"0")
    if not length.isdigit() or int(length) > MOST_BYTES:
        return None
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _refuse(status: HTTPStatus, message: str) -> Response:
    return PlainTextResponse(f"{message}\n", status, {"Connection": "close"})

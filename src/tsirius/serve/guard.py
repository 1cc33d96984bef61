"""What surrounds the application: keys, the limits of a request in size and time, its id, and its line in the log.

A body is read as a whole before the application is asked, and no more of it than is allowed: of one request, and of all
that are in memory. From then on the connection is watched: where the caller leaves, the work for it is cancelled.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
import secrets
import time
import traceback
from collections.abc import Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json
from starlette.responses import Response

from tsirius.errors import UserError
from tsirius.serve.service import Call, Refusal, Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEYS = "TSIRIUS_API_KEYS"
OPEN = {"/health", "/ready", "/v2/health/live", "/v2/health/ready"}
"""What needs no key, and is not written to the log."""
REQUEST_ID = re.compile(r"[\w.:-]{1,100}", re.ASCII)
LEFT = 499
"""The status in the log of a request whose caller left."""
CLOSE = {"Connection": "close"}


def error(refusal: Refusal, request_id: str) -> Response:
    """The answer to a request that is refused."""
    content: dict[str, Any] = {"error": refusal.message, "error_type": refusal.reason, "request_id": request_id}
    if refusal.item is not None:
        content["item"] = refusal.item
    return Response(to_json(content), refusal.status, refusal.headers, "application/json")


def read_keys(path: Path | None) -> list[bytes]:
    """The digests of the keys in a file, one a line, and in the environment, separated by commas or spaces.

    Raises:
        UserError: the file cannot be read or holds none.
    """
    keys = re.split(r"[\s,]+", os.environ.get(KEYS, ""))
    if path is not None:
        try:
            found = path.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as problem:
            raise UserError(
                f"cannot be read ({problem})", where=path, remedy="Set api_keys to a file of keys."
            ) from None
        if not found:
            raise UserError("holds no key", where=path, remedy="Write one a line.")
        keys += found
    return [_digest(key.encode()) for key in keys if key]


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


class Guard:
    """The application around ``app``; see the module."""

    def __init__(self, app: ASGIApp, service: Service, keys: Sequence[bytes]) -> None:
        self._app, self._service, self._keys = app, service, list(keys)
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(reversed(scope["headers"]))
        call = Call(_request_id(headers), self._service.settings.deadline_seconds)
        scope["call"] = call
        begun, sent = time.monotonic(), _Sent(send, call.request_id)
        try:
            self._authorise(scope["path"], headers)
            call.seconds = _seconds(headers, call.seconds)
            with self._holding() as hold:
                body = await self._read(headers, receive, hold)
                await self._watched(scope, body, receive, sent)
        except Refusal as refusal:
            self._service.metrics.rejected.labels(refusal.reason).inc()
            await sent.error(scope, receive, refusal)
        except _Left:
            self._service.metrics.left.inc()
            sent.status = LEFT
        except Exception:
            self._service.tell("error", request_id=call.request_id, trace=traceback.format_exc(limit=-8))
            await sent.error(scope, receive, Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "failed", reason="failed"))
        finally:
            self._note(scope, call, sent.status, time.monotonic() - begun)

    def _authorise(self, path: str, headers: dict[bytes, bytes]) -> None:
        if not self._keys or path in OPEN:
            return
        kind, _, token = headers.get(b"authorization", b"").partition(b" ")
        given = token.strip() if kind.lower() == b"bearer" else headers.get(b"x-api-key", b"")
        digest, right = _digest(given), False
        for key in self._keys:  # each is compared, whichever it is
            right |= hmac.compare_digest(key, digest)
        if not right:
            raise Refusal(HTTPStatus.UNAUTHORIZED, "no valid API key", headers={"WWW-Authenticate": "Bearer", **CLOSE})

    @contextmanager
    def _holding(self) -> Iterator[_Hold]:
        hold = _Hold()
        try:
            yield hold
        finally:
            self._keep(-hold.size)

    def _keep(self, size: int) -> None:
        self._held += size
        self._service.metrics.bodies.set(self._held)

    async def _read(self, headers: dict[bytes, bytes], receive: Receive, hold: _Hold) -> bytes:
        """The body of a request.

        Raises:
            Refusal: it is too large or too slow, or too many are in memory.
        """
        settings = self._service.settings
        too_large = Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the request is larger than {settings.max_body_bytes:,} bytes", headers=CLOSE, reason="too_large",
        )  # fmt: skip
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > settings.max_body_bytes:
            raise too_large
        chunks = list[bytes]()
        try:
            async with asyncio.timeout(settings.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Left
                    chunk = message.get("body", b"")
                    hold.size += len(chunk)
                    self._keep(len(chunk))
                    if hold.size > settings.max_body_bytes:
                        raise too_large
                    if self._held > settings.max_bodies_bytes:
                        raise Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too many requests are in memory", reason="memory",
                                      headers={"Retry-After": "1", **CLOSE})  # fmt: skip
                    chunks.append(chunk)
                    if not message.get("more_body", False):
                        return b"".join(chunks)
        except TimeoutError:
            raise Refusal(HTTPStatus.REQUEST_TIMEOUT, f"no whole request within {settings.body_seconds:g} seconds",
                          headers=CLOSE, reason="slow") from None  # fmt: skip

    async def _watched(self, scope: Scope, body: bytes, receive: Receive, sent: _Sent) -> None:
        """Have the application answer; it is cancelled where the caller leaves first.

        Raises:
            _Left: the caller did.
        """
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        task, left = asyncio.current_task(), False
        assert task is not None

        async def given() -> Message:
            return messages.pop() if messages else await asyncio.shield(watcher)

        def leave(_: Any) -> None:
            nonlocal left
            if not sent.complete and not watcher.cancelled():
                left = True
                task.cancel()

        async def watch() -> Message:
            while (message := await receive())["type"] != "http.disconnect":
                pass
            return message

        watcher = asyncio.get_running_loop().create_task(watch())
        watcher.add_done_callback(leave)
        try:
            await self._app(scope, given, sent)
        except asyncio.CancelledError:
            if not left:
                raise
            task.uncancel()
            raise _Left from None
        finally:
            sent.complete = True
            watcher.cancel()

    def _note(self, scope: Scope, call: Call, status: int, seconds: float) -> None:
        metrics = self._service.metrics
        metrics.requests.labels(call.dialect, str(status)).inc()
        metrics.seconds.labels(call.dialect).observe(seconds)
        if scope["path"] in OPEN and status < HTTPStatus.BAD_REQUEST:
            return
        self._service.tell(
            "request", request_id=call.request_id, method=scope["method"], path=scope["path"][:200], status=status,
            seconds=round(seconds, 6), dialect=call.dialect, **call.notes,
        )  # fmt: skip


class _Left(Exception):
    """The caller left."""


class _Hold:
    """Bytes of a request that are in memory."""

    def __init__(self) -> None:
        self.size = 0


class _Sent:
    """What is sent of an answer: each has its request's id."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self._request_id = send, request_id
        self.status, self.complete, self._started = 0, False, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started, self.status = True, message["status"]
            message["headers"] = [*message.get("headers", []), (b"x-request-id", self._request_id.encode())]
        elif not message.get("more_body", False):
            self.complete = True
        await self._send(message)

    async def error(self, scope: Scope, receive: Receive, refusal: Refusal) -> None:
        """Answer with an error, where nothing was sent yet."""
        if not self._started:
            await error(refusal, self._request_id)(scope, receive, self)


def _request_id(headers: dict[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def _seconds(headers: dict[bytes, bytes], most: float) -> float:
    """The time for the answer that the request asks for, at most that of the settings."""
    given = headers.get(b"x-timeout-seconds")
    if given is None:
        return most
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise Refusal(HTTPStatus.BAD_REQUEST, "X-Timeout-Seconds is not a number of seconds", reason="invalid")
    return min(seconds, most)

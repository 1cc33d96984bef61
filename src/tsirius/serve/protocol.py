"""uvicorn's connection, with limits on time that it does not have: for a request's head, and for taking an answer."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


def limited(*, header_seconds: float, send_seconds: float) -> type[asyncio.Protocol]:
    """The class of connections that end where the head of a request is not whole, or an answer not taken, in time."""

    class Limited(HttpToolsProtocol):
        _head: asyncio.TimerHandle | None = None
        _sending: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._await_head()

        def _await_head(self) -> None:
            if self._head is None:
                self._head = self.loop.call_later(header_seconds, self.transport.abort)

        def data_received(self, data: bytes) -> None:
            if self.cycle is None or self.cycle.response_complete:
                self._await_head()
            super().data_received(data)

        def on_headers_complete(self) -> None:
            self._head = _cancel(self._head)
            super().on_headers_complete()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._sending = self._sending or self.loop.call_later(send_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            self._sending = _cancel(self._sending)
            super().resume_writing()

        def connection_lost(self, exc: Exception | None) -> None:
            self._head, self._sending = _cancel(self._head), _cancel(self._sending)
            super().connection_lost(exc)

    return Limited


def _cancel(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """Cancel a timer where there is one; what is left is none."""
    if timer is not None:
        timer.cancel()
    return None

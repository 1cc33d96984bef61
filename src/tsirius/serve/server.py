"""The process: loads the models, listens, and ends well.

SIGTERM and SIGINT: nothing more is taken, what was taken is finished, exit code 0. SIGHUP: a new model is looked for.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tsirius.errors import UserError
from tsirius.i18n import translate
from tsirius.serve.settings import Settings

INSTALL = "Install it with: pip install 'tsirius[serve]'."
HEADER_BYTES = 64 * 1024
BACKLOG = 2048


def serve(model: Path, settings: Settings) -> None:
    """Serve the model of a run's or a model's folder until the process is told to stop.

    Raises:
        UserError: a model cannot be loaded, the address is taken, or the server's packages are not installed.
    """
    try:
        import prometheus_client  # noqa: F401 (asked for here, used elsewhere)
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UserError(f"{error.name} is not installed", remedy=INSTALL) from None
    from tsirius.serve import guard

    keys = guard.read_keys(settings.api_keys)
    listening = _listen(settings.host, settings.port)
    with listening:
        asyncio.run(_serve(model, settings, listening, keys))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named: asyncio sends small answers at once (TCP_NODELAY) only where it sees that it is TCP.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot listen there ({reason.lower()})", where=f"{host}:{port}",
                        remedy="Choose another address with --host and --port.") from None  # fmt: skip
    return listening


async def _serve(
    model: Path,
    settings: Settings,
    listening: socket.socket,
    keys: list[bytes],
    started: Callable[[Any, Callable[[], None]], None] | None = None,
) -> None:
    """Answer at ``listening`` until stopped; ``started`` is told when it does, with the service and what stops it."""
    import uvicorn

    from tsirius.serve.app import application
    from tsirius.serve.protocol import limited

    async with running(model, settings) as service:
        app = application(service, keys)
        config = uvicorn.Config(
            app,
            http=limited(header_seconds=settings.body_seconds, send_seconds=settings.body_seconds),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            limit_concurrency=settings.max_connections,
            timeout_keep_alive=settings.idle_seconds,
            timeout_graceful_shutdown=settings.stop_seconds,
        )
        server = uvicorn.Server(config)

        def stop() -> None:
            service.stopping = True
            server.should_exit = True

        def renew() -> None:
            reloads.add(asyncio.ensure_future(_reload(service)))

        reloads = set[asyncio.Future[None]]()
        host, port = listening.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        running_server = asyncio.ensure_future(server.serve(sockets=[listening]))
        await asyncio.sleep(0)  # it sets handlers of its own first
        _on_signals(stop, renew)
        line = translate(f"{model}: answering at {address} (Ctrl-C stops)") + "\n"
        with suppress(OSError, ValueError):  # a full disk; whole, before the log's thread writes there as well
            service.stream.write(line.encode())
        service.tell("listening", address=address, model=service.deployment.first.version)
        if started is not None:
            started(service, stop)
        await running_server


def _on_signals(stop: Any, renew: Any) -> None:
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError, RuntimeError, ValueError):  # not on Windows, nor beside the main thread
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        loop.add_signal_handler(signal.SIGHUP, renew)


async def _reload(service: Any) -> None:
    _count(service, await service.deployment.reload(force=True))


def _count(service: Any, outcomes: list[str]) -> None:
    for outcome in outcomes:
        if outcome != "same":
            service.metrics.reloads.labels(outcome).inc()
    service.metrics.models(service.deployment.models)


@asynccontextmanager
async def running(model: Path, settings: Settings) -> AsyncIterator[Any]:
    """The parts of a server with their models loaded and the engine at work; what was taken is finished at the end."""
    from tsirius.serve import logs
    from tsirius.serve.deployment import Deployment
    from tsirius.serve.engine import Engine
    from tsirius.serve.metrics import Metrics
    from tsirius.serve.service import Service

    metrics = Metrics()
    service: Service

    def lost(sink: logs.Sink) -> None:
        if isinstance(sink, logs.Bounded):
            metrics.unsure_lost.inc()
        else:
            metrics.log_lost.inc()

    def tell(event: str, **notes: Any) -> None:
        service.tell(event, **notes)

    writer = logs.Writer(lost)
    deployment = Deployment(model, settings.second, share=settings.share, tell=tell)
    engine = Engine(queue_texts=settings.queue_texts, batch_tokens=settings.batch_tokens, observe=metrics.step)
    service = Service(settings, deployment, engine, metrics, log=writer)
    deployment.load()
    metrics.models(deployment.models)
    unknown = sorted(settings.thresholds.keys() - set(deployment.first.names))
    if unknown:
        raise UserError(f"unknown category {unknown[0]!r}", where="thresholds",
                        remedy=f"Its categories: {', '.join(deployment.first.names)}.")  # fmt: skip
    engine.start()
    watcher = None
    if settings.watch_seconds:
        watching = deployment.watch(settings.watch_seconds, lambda outcomes: _count(service, outcomes))
        watcher = asyncio.ensure_future(watching)
    try:
        yield service
    finally:
        service.stopping = True
        if watcher is not None:
            watcher.cancel()
        await engine.stop()
        deployment.close()
        service.tell("stopped")
        writer.close(seconds=2.0)

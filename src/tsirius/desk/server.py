"""The process: reads the run, listens on loopback, opens the browser."""

from __future__ import annotations

import secrets
import socket
import webbrowser
from pathlib import Path

from tsirius.errors import UserError
from tsirius.progress import say

HOST = "127.0.0.1"
INSTALL = "Install it with: pip install 'tsirius[serve]'."


def serve(run: Path, *, port: int, lang: str | None, browser: bool) -> None:
    """Show the page of a run until the process is told to stop.

    Args:
        run: a finished run's folder.
        port: of loopback; 0 takes a free one.
        lang: ``en`` or ``ru``; None: the locale's.
        browser: open the page in it.

    Raises:
        UserError: the run is not finished, the port is taken, or the server's packages are not installed.
    """
    try:
        import starlette  # noqa: F401 (asked for here, used elsewhere)
        import uvicorn
    except ImportError as error:
        raise UserError(f"{error.name} is not installed", remedy=INSTALL) from None
    from tsirius.desk.app import application
    from tsirius.desk.board import Board
    from tsirius.desk.strings import language

    chosen = language(lang)
    with _listen(port) as listening:
        board = Board(run)
        board.read_model()
        token = secrets.token_urlsafe(24)
        address = f"http://{HOST}:{listening.getsockname()[1]}/?token={token}"
        config = uvicorn.Config(
            application(board, token=token, lang=chosen),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,  # the first address holds the token
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=5,
        )
        print(address, flush=True)
        say(f"{run}: {len(board.desk.row_of):,} reviews (Ctrl-C stops; answers are kept at once)")
        if browser:
            webbrowser.open(address)
        try:
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            board.desk.log.close()


def _listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()  # so that the browser, which is opened before the first answer, waits for it
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot listen there ({reason.lower()})", where=f"{HOST}:{port}",
                        remedy="Choose another with --port, or 0 for a free one.") from None  # fmt: skip
    return listening

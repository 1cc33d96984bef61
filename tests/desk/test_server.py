"""The process of the desk: where it listens, what it prints, and what it refuses."""

import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from desking import make_run
from typer.testing import CliRunner

from tsirius.cli import app
from tsirius.desk import server
from tsirius.errors import UserError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", rows=12, model=False)


def test_it_listens_on_loopback_alone_and_prints_where(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served, opened = dict[str, Any](), list[str]()

    def serve(self: uvicorn.Server, sockets: list[socket.socket]) -> None:
        served["address"] = sockets[0].getsockname()
        with socket.create_connection(served["address"]):
            served["waits"] = True
        served["access_log"] = self.config.access_log

    monkeypatch.setattr(uvicorn.Server, "run", serve)
    monkeypatch.setattr(server.webbrowser, "open", opened.append)
    server.serve(run, port=0, lang="en", browser=True)
    host, port = served["address"]
    printed = capsys.readouterr().out.strip()
    assert host == "127.0.0.1" and served["waits"] and not served["access_log"], "the log would hold the token"
    assert printed.startswith(f"http://127.0.0.1:{port}/?token=") and len(printed.partition("=")[2]) >= 32
    assert opened == [printed]
    server.serve(run, port=0, lang="en", browser=False)
    assert len(opened) == 1 and capsys.readouterr().out.strip().partition("=")[2] != printed.partition("=")[2]


def test_a_taken_port_an_unknown_language_and_no_run_are_refused(run: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="cannot listen there"):
            server.serve(run, port=taken.getsockname()[1], lang="en", browser=False)
    with pytest.raises(UserError, match="--lang fr"):
        server.serve(run, port=0, lang="fr", browser=False)
    with pytest.raises(UserError, match="the run is not finished"):
        server.serve(tmp_path / "none", port=0, lang="en", browser=False)
    assert CliRunner().invoke(app, ["desk", str(run), "--port", "70000"]).exit_code == 2


def test_missing_packages_are_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "starlette", None)
    with pytest.raises(UserError, match=r"starlette is not installed. Install it with: pip install 'tsirius\[serve\]'"):
        server.serve(run, port=0, lang="en", browser=False)

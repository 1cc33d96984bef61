"""Against a server that speaks S3, where moto and s3fs are installed: a bucket read, written, denied."""

import csv
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

pytest.importorskip("s3fs")
pytest.importorskip("moto.server")
sys.path.append(str(Path(__file__).parent))
from stores import write_parts

from tsirius.commands.predict_parts import Options, predict_parts
from tsirius.errors import UserError
from tsirius.io import addresses

pytestmark = pytest.mark.slow

SECRET, KEY = "PLANTEDSECRETPLANTEDSECRET", "AKIAPLANTEDPLANTED"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket on a server of this machine; credentials are in the environment."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", f"TOKEN{SECRET}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    import fsspec

    fsspec.get_filesystem_class("s3").clear_instance_cache()  # another test's server
    fsspec.filesystem("s3", use_listings_cache=False).makedirs("shop", exist_ok=True)
    yield "s3://shop"
    server.stop()


class Flaky(BaseHTTPRequestHandler):
    """Between a client and the server: passes requests on, but for the first GETs of an object, as :attr:`faults` say.

    Attributes:
        server_at: host and port of the server.
        faults: "busy" (503 SlowDown) or "cut" (half of the body), one a request.
        met: those that came about.
    """

    server_at: ClassVar[str] = ""
    faults: ClassVar[list[str]] = []
    met: ClassVar[list[str]] = []

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = ""
        if self.command == "GET" and "list-type" not in self.path and self.path.count("/") > 1 and self.faults:
            fault = self.faults.pop(0)
            self.met.append(fault)
        if fault == "busy":
            said = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
            return self._answer(503, {"Content-Type": "application/xml"}, said, len(said))
        server = HTTPConnection(self.server_at)
        server.request(self.command, self.path, body, dict(self.headers))
        answer = server.getresponse()
        said = answer.read()
        length = int(answer.headers.get("Content-Length") or len(said))
        headers = {k: v for k, v in answer.headers.items() if k.lower() not in ("content-length", "connection", "date")}
        self._answer(answer.status, headers, said[: len(said) // 2] if fault == "cut" else said, length)

    def _answer(self, status: int, headers: Mapping[str, str], said: bytes, length: int) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length), "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(said)
        self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def flaky(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The bucket behind :class:`Flaky`; waits take no time."""
    import fsspec

    Flaky.server_at = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    Flaky.met.clear()
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Flaky)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_address[1]}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(addresses, "wait", lambda seconds: None)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    yield bucket
    proxy.shutdown()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.mark.parametrize("fault", ["busy", "cut"])
def test_a_bucket_that_throttles_or_truncates_is_read_all_the_same(flaky: str, tmp_path: Path, fault: str) -> None:
    text = "text\n" + "Чайник гудит\n" * 2000
    addresses.put_text(text, f"{flaky}/x.csv")
    Flaky.faults[:] = [fault, fault]
    assert addresses.fetch(f"{flaky}/x.csv", tmp_path).read_text(encoding="utf-8") == text
    assert Flaky.met == [fault, fault]


def test_a_run_from_a_bucket_keeps_no_credential(
    shop: Path, tmp_path: Path, bucket: str, call: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    write_parts(tmp_path / "in", texts(shop))
    for file in (tmp_path / "in").rglob("*.*"):
        addresses.put(file, f"{bucket}/in/{file.relative_to(tmp_path / 'in').as_posix()}")
    (tmp_path / "categories.toml").write_bytes((shop / "categories.toml").read_bytes())
    (tmp_path / "shop.toml").write_text(
        f'[ingest]\ntrain = "{bucket}/in"\ncategories = "categories.toml"\n', encoding="utf-8"
    )
    done = call("run", "shop.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    kept = b"".join(file.read_bytes() for file in (tmp_path / "runs").rglob("*") if file.is_file())
    for secret in (SECRET, KEY):
        assert secret not in done.stdout + done.stderr and secret.encode() not in kept
    again = call("run", "shop.toml", cwd=tmp_path)
    assert "ingest: skipped" in again.stderr, "the same objects are the same input"


def texts(shop: Path) -> list[str]:
    with (shop / "reviews.csv").open(encoding="utf-8", newline="") as handle:
        return [row["text"] for row in csv.DictReader(handle)]


def test_a_bucket_of_parts_gives_what_a_folder_gives(
    shop: Path, tmp_path: Path, bucket: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    write_parts(tmp_path / "in", texts(shop))
    for file in (tmp_path / "in").rglob("*.*"):
        addresses.put(file, f"{bucket}/in/{file.relative_to(tmp_path / 'in').as_posix()}")
    model, options = str(shop / "runs" / "shop"), Options(rows_per_part=25)
    line = predict_parts(model, str(tmp_path / "in"), str(tmp_path / "out"), options=options)
    with caplog.at_level(logging.DEBUG):
        stored = predict_parts(model, f"{bucket}/in", f"{bucket}/out", options=options)
        for number in (1, 2):
            share = Options(share=f"{number}/2", rows_per_part=25)
            predict_parts(model, f"{bucket}/in", f"{bucket}/out", options=share)
    assert stored.partition(": ")[2] == line.partition(": ")[2] and "130 reviews in 6 parts" in line
    here, there = (
        json.loads(addresses.get_text(f"{base}/out/_manifest.json") or "") for base in (str(tmp_path), bucket)
    )
    assert here == there
    said = capsys.readouterr()
    everything = said.out + said.err + caplog.text
    for name in addresses.names_in(f"{bucket}/out"):
        everything += addresses.fetch(f"{bucket}/out/{name}", tmp_path).read_bytes().decode("latin-1")
    assert SECRET not in everything and KEY not in everything


def test_no_such_bucket_is_one_line(
    shop: Path, tmp_path: Path, bucket: str, call: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = call("predict", str(shop / "runs" / "shop"), "s3://nosuch/in", "-o", f"{bucket}/out", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and SECRET not in done.stderr


def test_without_credentials_access_is_denied(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_") and name != "AWS_ENDPOINT_URL"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    import fsspec

    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(UserError, match="access is denied"):
        addresses.put_text("x", f"{bucket}/x.csv")

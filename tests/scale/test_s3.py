"""Against a server that speaks S3, where moto and s3fs are installed: a bucket read, written, denied."""

import csv
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

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

"""Ray, where it is installed: the same bytes as without an engine, whichever processes are killed meanwhile."""

import csv
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytest.importorskip("ray")
sys.path.append(str(Path(__file__).parent))
from stores import write_parts

from tsirius.commands.predict_parts import Options, predict_parts

pytestmark = pytest.mark.slow


def test_killed_workers_and_drivers_lose_nothing(shop: Path, tmp_path: Path) -> None:
    with (shop / "reviews.csv").open(encoding="utf-8", newline="") as handle:
        write_parts(tmp_path / "in", [row["text"] for row in csv.DictReader(handle)])
    model, out = str(shop / "runs" / "shop"), tmp_path / "out"
    predict_parts(model, str(tmp_path / "in"), str(tmp_path / "alone"), options=Options(rows_per_part=10))
    command = [sys.executable, "-m", "tsirius", "predict", model, str(tmp_path / "in"), "-o", str(out)]
    command += ["--rows-per-part", "10", "--engine", "ray", "--workers", "2"]
    choose, parts = random.Random(0), len(list((tmp_path / "alone").rglob("*.parquet")))
    for kill in ("driver", "worker", "nothing"):
        done = len(list(out.rglob("[!.]*.parquet")))
        driver = psutil.Popen(command, env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}, stdout=subprocess.PIPE)
        while kill != "nothing" and driver.poll() is None and len(list(out.rglob("[!.]*.parquet"))) <= done:
            workers = [one for one in driver.children(recursive=True) if "Worker" in " ".join(one.cmdline()[:1])]
        if kill == "worker" and driver.poll() is None and workers:
            choose.choice(workers).send_signal(signal.SIGKILL)
        if kill == "driver" and driver.poll() is None:
            driver.kill()
        said = driver.communicate()[0].decode()
        assert driver.returncode in ((0,) if kill != "driver" else (0, -signal.SIGKILL))
        assert "raylet" not in said and said.count("\n") <= 1, "Ray's own messages are not data"
    assert parts == 9 and (out / "_SUCCESS").exists()
    for file in (tmp_path / "alone").rglob("*.parquet"):
        assert (out / file.relative_to(tmp_path / "alone")).read_bytes() == file.read_bytes()

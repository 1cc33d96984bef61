"""Reviews to learn from in folders and stores: read as files are, and no credential is kept or told."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

sys.path.append(str(Path(__file__).parents[1] / "scale"))
from stores import Faulty, register, write_parts

from tsirius import config, pipeline
from tsirius.errors import UserError
from tsirius.io import addresses, copies
from tsirius.stages import ingest
from tsirius.store import Store

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> None:
    register()
    monkeypatch.setattr(addresses, "wait", lambda seconds: None)


@pytest.fixture
def parts(shop: Path, tmp_path: Path) -> Path:
    """A folder of parts, which is in the store too; beside it categories."""
    write_parts(tmp_path / "in", pl.read_csv(shop / "reviews.csv")["text"].to_list())
    (tmp_path / "categories.toml").write_bytes((shop / "categories.toml").read_bytes())
    for file in (tmp_path / "in").rglob("*.*"):
        addresses.put(file, f"faulty://shop/in/{file.relative_to(tmp_path / 'in').as_posix()}")
    return tmp_path / "in"


def read(folder: Path, *train: str | Path) -> tuple[dict[str, object], pl.DataFrame]:
    out = folder / "out"
    out.mkdir(exist_ok=True)
    settings = ingest.Config(train=list(train), categories=folder / "categories.toml")
    notes = ingest.run(settings, {}, out, seed=0, scratch=folder)
    return notes, pl.read_parquet(out / "reviews.parquet")


def test_a_folder_a_pattern_and_a_store_give_the_same_reviews(parts: Path, tmp_path: Path) -> None:
    notes, here = read(tmp_path, parts)
    assert here.height == 130 and set(here["source"]) == {"day=1/p.parquet", "day=2/p.csv", "day=2/q.jsonl"}
    named = [str(parts / name) for name in ("day=1/p.parquet", "day=2/p.csv", "day=2/q.jsonl")]
    assert list(notes["columns"]) == named  # type: ignore[call-overload]
    for other in ([str(parts / "*" / "[pq].*")], ["faulty://shop/in"], ["faulty://shop/in/*/[pq].*"]):
        again, there = read(tmp_path, *other)
        assert there.equals(here)
        columns = again["columns"]
        assert isinstance(columns, dict) and all(
            name.endswith(own[len(str(parts)) :]) for name, own in zip(columns, named, strict=True)
        )


def test_a_folder_without_reviews_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "_notes.csv").write_text("text\n", encoding="utf-8")
    with pytest.raises(UserError, match="holds no file of reviews"):
        copies.files([tmp_path / "empty"])


@pytest.mark.parametrize("fault", ["busy", "cut"])
def test_a_throttled_or_truncated_copy_is_made_again(parts: Path, tmp_path: Path, fault: str) -> None:
    address = "faulty://shop/in/day=2/p.csv"
    addresses.put_text((parts / "day=2" / "p.csv").read_text(encoding="utf-8") + f"z,1,ещё {fault}\n", address)
    Faulty.faults[:] = [fault, fault]
    (copy,) = copies.files([address])
    assert copy.read_text(encoding="utf-8").endswith(f"ещё {fault}\n")
    asked = Faulty.asked
    assert copies.files([address]) == [copy] and Faulty.asked == asked, "it is copied once"


def test_what_a_store_denies_is_one_line(parts: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "shop.toml").write_text(
        '[ingest]\ntrain = "faulty://shop/in/day=2/q.jsonl"\ncategories = "categories.toml"\n', encoding="utf-8"
    )
    addresses.put_text('{"id": "1", "text": "PLANTED"}\n', "faulty://shop/in/day=2/q.jsonl")
    Faulty.faults[:] = ["denied"]
    done = call("run", "shop.toml", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "access is denied" in done.stderr
    assert "PLANTED" not in done.stderr


def test_a_fault_in_a_copy_names_its_address(tmp_path: Path, shop: Path) -> None:
    addresses.put_text("id,text\n1,Чайник\n1,Куртка\n", "faulty://shop/twice.csv")
    (tmp_path / "categories.toml").write_bytes((shop / "categories.toml").read_bytes())
    with pytest.raises(UserError, match=r"^faulty:///?shop/twice.csv, row 2: repeats the id '1'"):
        read(tmp_path, "faulty://shop/twice.csv")


def test_credentials_in_an_address_are_refused_before_anything_is_kept(parts: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "shop.toml").write_text(
        '[ingest]\ntrain = "s3://AKIAPLANTED:PLANTEDSECRET@shop/in"\ncategories = "categories.toml"\n', encoding="utf-8"
    )
    for verb in ("check", "plan", "run"):
        done = call(verb, "shop.toml", cwd=tmp_path)
        assert done.returncode == 2 and "holds credentials" in done.stderr
        assert "PLANTED" not in done.stderr + done.stdout
    assert not (tmp_path / "runs").exists()


def test_a_run_is_planned_from_a_store_and_a_report_needs_no_store(parts: Path, tmp_path: Path) -> None:
    settings = {"ingest": {"train": "faulty://shop/in", "categories": str(tmp_path / "categories.toml")}}
    loaded = config.parse({"name": "x", "runs": str(tmp_path / "runs"), **settings}, where="here")
    assert loaded.ingest.train == "faulty://shop/in"
    assert config.Config.model_validate_json(loaded.model_dump_json()).ingest == loaded.ingest
    several = config.parse({"name": "x", "ingest": {"train": ["a.csv", "s3://b/x"], "categories": "c"}}, where="here")
    assert several.ingest.train == [Path("a.csv"), "s3://b/x"]
    assert config.Config.model_validate_json(several.model_dump_json()).ingest == several.ingest
    asked = Faulty.asked
    steps = pipeline.road(loaded)
    assert Faulty.asked == asked, "no file is copied before it is read"
    names = steps[0].files()
    assert [name for name in names if "train" in name] == [
        "ingest.train 1 p.parquet", "ingest.train 2 p.csv", "ingest.train 3 q.jsonl"
    ]  # fmt: skip
    assert Store(tmp_path / "runs" / "x").record("ingest") is None

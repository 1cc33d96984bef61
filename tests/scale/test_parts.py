"""Parts: whichever way they are run the union is the same, nothing is done twice, and what changed is not missed."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
import serving

sys.path.append(str(Path(__file__).parent))
from stores import Faulty, register, write_parts

from tsirius import extras
from tsirius.commands import predict_parts as command
from tsirius.commands.predict_parts import Columns, Options, predict_parts
from tsirius.errors import UserError
from tsirius.io import addresses
from tsirius.scale import engines, finish, on_ray, part, plan

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> None:
    register()
    monkeypatch.setattr(addresses, "wait", lambda seconds: None)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of words alone, where how it reads a text is not the question."""
    return str(serving.save(tmp_path_factory.mktemp("models") / "model"))


@pytest.fixture
def run(shop: Path) -> str:
    return str(shop / "runs" / "shop")


@pytest.fixture
def reviews(shop: Path, tmp_path: Path) -> Path:
    with (shop / "reviews.csv").open(encoding="utf-8", newline="") as handle:
        write_parts(tmp_path / "in", [row["text"] for row in csv.DictReader(handle)])
    return tmp_path / "in"


CUT = Options(rows_per_part=25)
OUTPUTS = ["day=1/p.groups-0-1.parquet", "day=1/p.groups-2-3.parquet", "day=1/p.groups-4-5.parquet",
           "day=1/p.groups-6-6.parquet", "day=2/p.csv.parquet", "day=2/q.jsonl.parquet"]  # fmt: skip


def written(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*.parquet"))}


def test_without_its_library_the_command_that_installs_it_is_named(
    model: str, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "FOLDERS", ("no_such_library",))
    with pytest.raises(UserError, match=r"no_such_library, which is not installed.*\[folders\]'\.$") as caught:
        predict_parts(model, str(reviews), str(tmp_path / "out"), options=CUT)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_each_file_is_a_part_long_parquet_is_cut_and_partitions_stay(model: str, reviews: Path, tmp_path: Path) -> None:
    line = predict_parts(model, str(reviews), str(tmp_path / "out"), options=CUT)
    assert "130 reviews in 6 parts" in line
    assert sorted(written(tmp_path / "out")) == OUTPUTS
    assert (tmp_path / "out" / "_SUCCESS").read_bytes() == b""
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text(encoding="utf-8"))
    assert manifest["rows"] == 130 and [entry["rows"] for entry in manifest["parts"]] == [20, 20, 20, 10, 30, 30]
    assert sum(manifest["categories"].values()) == 130
    table = pl.concat(pl.read_parquet(tmp_path / "out" / name) for name in OUTPUTS[:4])
    assert table["id"].to_list() == [f"a{row}" for row in range(70)]


def test_a_part_has_the_answers_of_the_whole_file(run: str, reviews: Path, tmp_path: Path, call: Call) -> None:
    predict_parts(run, str(reviews), str(tmp_path / "out"), options=CUT)
    done = call("predict", run, str(reviews / "day=1" / "p.parquet"), "-o", "alone.parquet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = pl.concat(pl.read_parquet(tmp_path / "out" / name) for name in OUTPUTS[:4])
    assert table.equals(pl.read_parquet(tmp_path / "alone.parquet"))


@pytest.mark.parametrize("count", [1, 3, 40])
def test_shares_have_the_same_union(run: str, reviews: Path, tmp_path: Path, count: int) -> None:
    predict_parts(run, str(reviews), str(tmp_path / "whole"), options=CUT)
    for number in range(1, count + 1):
        options = Options(share=f"{number}/{count}", rows_per_part=25)
        predict_parts(run, str(reviews), str(tmp_path / "shares"), options=options)
        assert not (tmp_path / "shares" / "_SUCCESS").exists()
    assert written(tmp_path / "shares") == written(tmp_path / "whole")
    predict_parts(run, str(reviews), str(tmp_path / "shares"), options=CUT)
    assert (tmp_path / "shares" / "_manifest.json").read_bytes() == (tmp_path / "whole" / "_manifest.json").read_bytes()


@pytest.mark.slow
def test_a_store_gets_the_same_bytes_as_a_folder(model: str, reviews: Path, tmp_path: Path) -> None:
    predict_parts(model, str(reviews), str(tmp_path / "out"), options=CUT)
    for file in reviews.rglob("*.*"):
        addresses.put(file, f"faulty://shop/in/{file.relative_to(reviews).as_posix()}")
    Faulty.faults[:] = ["busy", "", "busy", "cut", "", "busy"] * 5
    predict_parts(model, "faulty://shop/in", "faulty://shop/out", options=CUT)
    for name, content in written(tmp_path / "out").items():
        local = addresses.fetch(f"faulty://shop/out/{name}", tmp_path)
        assert pl.read_parquet(local).equals(pl.read_parquet(tmp_path / "out" / name))
        assert abs(local.stat().st_size - len(content)) < 400  # the marks of the inputs differ
    assert addresses.get_text("faulty://shop/out/_SUCCESS") == ""


def test_of_a_store_the_needed_columns_alone_are_read(model: str, reviews: Path, tmp_path: Path) -> None:
    addresses.put(reviews / "day=1" / "p.parquet", "faulty://shop/in/p.parquet")
    [first, *_] = plan.make("faulty://shop/in", rows_per_part=25)
    job = plan.Job(model, "", str(tmp_path / "out"), ("text",), "id", "auto", (), False)
    part._copy(job, first, tmp_path / "copy.parquet")
    assert pq.read_schema(tmp_path / "copy.parquet").names == ["id", "text"]
    assert pq.read_metadata(tmp_path / "copy.parquet").num_rows == 20


def test_a_killed_run_repeats_only_what_was_unfinished(
    model: str, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, begun = tmp_path / "out", list[str]()
    whole = part.run

    def dies(job: plan.Job, one: plan.Part, classifier: object) -> part.Done:
        begun.append(one.output)
        if len(begun) == 4:
            raise KeyboardInterrupt
        return whole(job, one, classifier)  # type: ignore[arg-type]  # a classifier

    monkeypatch.setattr(part, "run", dies)
    with pytest.raises(KeyboardInterrupt):
        predict_parts(model, str(reviews), str(out), options=CUT)
    before = {name: (out / name).stat().st_mtime_ns for name in written(out)}
    assert len(before) == 3 and not (out / "_SUCCESS").exists()
    predict_parts(model, str(reviews), str(out), options=CUT)
    assert begun[4:] == OUTPUTS[3:]
    assert {name: (out / name).stat().st_mtime_ns for name in before} == before


def test_a_damaged_or_foreign_output_is_done_again(model: str, reviews: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict_parts(model, str(reviews), str(out), options=CUT)
    good = written(out)
    (out / OUTPUTS[0]).write_bytes(good[OUTPUTS[0]][:-20])
    (out / OUTPUTS[1]).write_bytes(good[OUTPUTS[2]])
    (out / OUTPUTS[4]).unlink()
    predict_parts(model, str(reviews), str(out), options=CUT)
    assert written(out) == good


def test_a_flipped_byte_within_a_part_does_not_pass_the_last_check(model: str, reviews: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict_parts(model, str(reviews), str(out), options=CUT)
    content = bytearray((out / OUTPUTS[4]).read_bytes())
    content[60] ^= 0xFF
    (out / OUTPUTS[4]).write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        predict_parts(model, str(reviews), str(out), options=CUT)


def test_another_model_or_a_changed_file_is_refused_or_redone_by_name(
    model: str, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    predict_parts(model, str(reviews), str(out), options=CUT)
    before = written(out)
    with pytest.raises(UserError, match=r"with other settings.*--redo"):
        predict_parts(model, str(reviews), str(out), columns=Columns(runner_up=True), options=CUT)
    (reviews / "day=2" / "p.csv").write_text("id,text\nb1,Чайник гудит\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"day=2/p\.csv has changed since.*--redo"):
        predict_parts(model, str(reviews), str(out), options=CUT)
    assert written(out) == before and (out / "_SUCCESS").exists()
    capsys.readouterr()
    predict_parts(model, str(reviews), str(out), options=Options(rows_per_part=25, redo=True))
    said = capsys.readouterr().err
    assert "predicted again: day=2/p.csv has changed since" in said and "5 parts are done already" in said
    assert [name for name, content in written(out).items() if content != before[name]] == ["day=2/p.csv.parquet"]
    (reviews / "day=2" / "q.jsonl").unlink()
    with pytest.raises(UserError, match=r"day=2/q\.jsonl is gone"):
        predict_parts(model, str(reviews), str(out), options=CUT)
    predict_parts(model, str(reviews), str(out), options=Options(rows_per_part=25, redo=True))
    assert sorted(written(out)) == OUTPUTS[:5]


def test_another_model_is_refused(model: str, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predict_parts(model, str(reviews), str(tmp_path / "out"), options=CUT)
    monkeypatch.setattr(command, "fingerprint_once", lambda folder: "0" * 32)
    with pytest.raises(UserError, match=r"with another model \(.*now 00000000"):
        predict_parts(model, str(reviews), str(tmp_path / "out"), options=CUT)
    with pytest.raises(UserError, match="is another model than the work was planned with"):
        predict_parts(model, str(reviews), str(tmp_path / "other"), options=CUT)


def test_added_files_are_more_parts(model: str, reviews: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict_parts(model, str(reviews), str(out), options=CUT)
    (reviews / "day=3").mkdir()
    (reviews / "day=3" / "r.csv").write_text("id,text\nd1,Чайник гудит\n", encoding="utf-8")
    assert "131 reviews in 7 parts" in predict_parts(model, str(reviews), str(out), options=CUT)


def test_a_file_that_changes_after_the_plan_is_not_predicted(model: str, reviews: Path, tmp_path: Path) -> None:
    parts = plan.make(str(reviews), rows_per_part=25)
    job = plan.Job(model, command.fingerprint_once(command.find(Path(model))), str(tmp_path / "out"), ("text",), "id",
                   "auto", (), False)  # fmt: skip
    (reviews / "day=2" / "p.csv").write_text("id,text\nb1,Чайник гудит\n", encoding="utf-8")
    outcomes = list(engines.here(job, parts, engines.Resources()))
    assert [type(one) for one in outcomes] == [part.Done] * 4 + [engines.Failed, part.Done]
    assert "p.csv: changed since the work was planned" in outcomes[4].why  # type: ignore[union-attr]


def test_an_id_that_comes_twice_in_different_parts_is_found(model: str, reviews: Path, tmp_path: Path) -> None:
    text = (reviews / "day=2" / "q.jsonl").read_text(encoding="utf-8")
    (reviews / "day=2" / "q.jsonl").write_text(text.replace('"cb7"', '"a33"'), encoding="utf-8")
    with pytest.raises(UserError, match=r"q\.jsonl: repeats the id 'a33' of day=1/p\.parquet"):
        predict_parts(model, str(reviews), str(tmp_path / "out"), options=CUT)
    assert not (tmp_path / "out" / "_SUCCESS").exists()


@pytest.mark.parametrize("count", [1, 2, 8, 64])
def test_ids_are_compared_in_files_of_a_bounded_size(count: int) -> None:
    ids = pl.Series([f"r{row}" for row in range(5000)])
    for more, expected in ((["x1", "r4999", "x2"], 1), (["x1", "x2"], 0)):
        with finish._Buckets(count) as buckets:
            buckets.add(finish._hashes(ids))
            buckets.add(finish._hashes(pl.Series(more)))
            sizes = [file.tell() // 8 for file in buckets._files]
            assert sum(sizes) == 5000 + len(more) and max(sizes) < 2 * 5000 / count + 200
            assert len(buckets.repeated()) == expected


def test_the_error_budget_lets_some_parts_fail(model: str, reviews: Path, tmp_path: Path) -> None:
    (reviews / "day=2" / "p.csv").write_text("id,text\n1,Чайник\n1,Куртка\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"p\.csv, row 2: repeats the id '1'"):
        predict_parts(model, str(reviews), str(tmp_path / "out"), options=CUT)
    with pytest.raises(UserError, match="1 of 6 parts failed, the others are done"):
        predict_parts(model, str(reviews), str(tmp_path / "out"), options=Options(rows_per_part=25, max_failed=1))
    assert sorted(written(tmp_path / "out")) == [name for name in OUTPUTS if name != "day=2/p.csv.parquet"]


def test_columns_of_the_reviews_go_along(model: str, reviews: Path, tmp_path: Path) -> None:
    columns = Columns(written=["id", "stars", "category"], runner_up=True)
    predict_parts(model, str(reviews), str(tmp_path / "out"), columns=columns, options=CUT)
    table = pl.read_parquet(tmp_path / "out" / OUTPUTS[3])
    assert table.columns == ["id", "stars", "category", "runner_up", "runner_up_confidence"]
    assert table["stars"].to_list() == [str(row) for row in range(60, 70)]


BAD = [
    (["in"], "in: holds many files"),
    (["in", "-o", "in/out"], "lies in the folder of reviews"),
    (["in", "-o", "model.txt"], "model.txt: is a file"),
    (["in", "-o", "out", "--part", "4/3"], "--part: '4/3' is no share"),
    (["in", "-o", "out", "--engine", "dask"], "--engine: no engine 'dask'"),
    (["in/day=2/p.csv", "-o", "x.csv", "--part", "1/2"], "in/day=2/p.csv: is one file"),
    (["in/*.nothing", "-o", "out"], "holds no file of reviews"),
    (["in", "-o", "out", "--text-column", "nosuch"], "no column 'nosuch'"),
]


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=[words for _, words in BAD])
def test_bad_use_is_one_line(
    model: str, reviews: Path, tmp_path: Path, call: Call, arguments: list[str], words: str
) -> None:
    (tmp_path / "model.txt").write_text("x", encoding="utf-8")
    done = call("predict", model, *arguments, cwd=tmp_path)
    assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_denied_store_is_one_line_and_no_credential_is_told(
    model: str, reviews: Path, tmp_path: Path, call: Call
) -> None:
    addresses.put(reviews / "day=2" / "p.csv", "faulty://shop/in/p.csv")
    for position in range(3):
        Faulty.faults[:] = [""] * position + ["denied"]
        done = call("predict", model, "faulty://shop/in", "-o", "faulty://shop/out", cwd=tmp_path)
        assert done.returncode == 2 and "access is denied" in done.stderr and "PLANTED" not in done.stderr
        assert "Traceback" not in done.stderr
    done = call("predict", model, "faulty://shop/in", "-o", "faulty://shop/out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in addresses.names_in("faulty://shop"):
        assert b"PLANTED" not in addresses.fetch(f"faulty://shop/{name}", tmp_path).read_bytes()


def test_without_ray_its_engine_says_how_to_get_it(
    model: str, reviews: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = call("predict", model, "in", "-o", "out", "--engine", "ray", cwd=tmp_path)
    assert done.returncode == 2 and "needs ray, which is not installed" in done.stderr and "[scale]" in done.stderr


def test_a_node_that_does_not_see_the_model_is_given_it(run: str, tmp_path: Path) -> None:
    folder = command.find(Path(run))
    job = plan.Job(str(tmp_path / "nowhere"), command.fingerprint_once(folder), "", ("text",), "id", "auto", (), False)
    there = on_ray._at_hand(job, on_ray._packed(folder))
    assert command.fingerprint_once(Path(there.model)) == job.fingerprint

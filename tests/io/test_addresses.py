"""Addresses: what is listed, what is tried again, what is refused, and that no credential is ever told."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "scale"))
from stores import Faulty, register

from tsirius.errors import UserError
from tsirius.io import addresses


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between tries, which do not take their time."""
    register()
    waited = list[float]()
    monkeypatch.setattr(addresses, "wait", waited.append)
    return waited


def put(name: str, content: str = "text\nодин\n") -> str:
    addresses.put_text(content, f"faulty://shop/{name}")
    return f"faulty://shop/{name}"


def test_a_folder_a_pattern_and_a_file_are_listed_alike_here_and_in_a_store(tmp_path: Path) -> None:
    for name in ("a=1/x.csv", "a=2/y.jsonl.gz", "a=2/_hidden.csv", ".z/x.csv", "a=2/notes.txt", "a=2/book.xlsx"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text\nодин\n", encoding="utf-8")
        put(name)
    for base in (str(tmp_path), "faulty://shop"):
        assert [file.name for file in addresses.listed(base)] == ["a=1/x.csv", "a=2/y.jsonl.gz"]
        assert [file.name for file in addresses.listed(f"{base}/*/*.csv")] == ["a=1/x.csv"]
        assert [file.name for file in addresses.listed(f"{base}/a=1/x.csv")] == ["x.csv"]
        assert all(file.size == 14 and file.mark for file in addresses.listed(base))
        with pytest.raises(UserError, match="holds no file of reviews"):
            addresses.listed(f"{base}/*.parquet")


def test_a_throttled_request_is_tried_again_after_ever_longer_waits(tmp_path: Path, waits: list[float]) -> None:
    address = put("x.csv")
    Faulty.faults[:] = ["busy"] * (addresses.TRIES - 1)
    assert addresses.fetch(address, tmp_path).read_text(encoding="utf-8") == "text\nодин\n"
    assert len(waits) == addresses.TRIES - 1
    assert all(0.5 <= wait / (addresses.FIRST_SECONDS * 2**number) <= 1.5 for number, wait in enumerate(waits))


@pytest.mark.parametrize("fault", ["busy", "cut"])
def test_what_fails_each_time_is_one_line_without_the_stores_words(tmp_path: Path, fault: str) -> None:
    address = put("x.csv")
    Faulty.faults[:] = [fault] * addresses.TRIES
    with pytest.raises(UserError) as failure:
        addresses.fetch(address, tmp_path)
    assert str(failure.value).startswith(f"faulty://shop/x.csv: failed {addresses.TRIES} times: OSError")
    assert "PLANTED" not in str(failure.value) and failure.value.__suppress_context__


def test_what_was_cut_off_is_fetched_and_put_again(tmp_path: Path) -> None:
    address = put("x.csv")
    Faulty.faults[:] = ["cut"]
    assert addresses.fetch(address, tmp_path).read_text(encoding="utf-8") == "text\nодин\n"
    Faulty.faults[:] = ["cut", "busy"]
    assert addresses.get_text(put("y.csv", "text\n" + "два\n" * 20)) == "text\n" + "два\n" * 20
    assert not [name for name in addresses.names_in("faulty://shop") if "partial" in name]


def test_a_denial_is_told_at_once(tmp_path: Path, waits: list[float]) -> None:
    address = put("x.csv")
    for action in (lambda: addresses.fetch(address, tmp_path), lambda: put("y.csv")):
        Faulty.faults[:] = ["denied"]
        with pytest.raises(UserError, match="access is denied") as failure:
            action()
        assert "PLANTED" not in str(failure.value)
    assert waits == []


@pytest.mark.parametrize(
    "address",
    [
        "s3://AKIAPLANTED:PLANTEDSECRET@shop/x.csv",
        "https://PLANTEDSECRET@host/x.csv",
        "https://host/x.csv?X-Amz-Signature=PLANTEDSECRET",
        "https://host/x.csv?a=1&sig=PLANTEDSECRET",
        "https://host/x.csv?access_token=PLANTEDSECRET",
    ],
)
def test_an_address_with_credentials_is_refused_and_they_are_not_shown(address: str) -> None:
    with pytest.raises(UserError, match=r"(?s)holds credentials.*environment") as failure:
        addresses.connect(address)
    assert "PLANTED" not in str(failure.value) and "PLANTED" not in addresses.shown(address)


def test_a_store_whose_package_is_missing_or_unknown_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adlfs", None)
    with pytest.raises(UserError, match="adlfs"):
        addresses.connect("abfs://shop/x.csv")
    with pytest.raises(UserError, match="nothing is known of nosuch://"):
        addresses.connect("nosuch://shop/x.csv")


def test_the_stores_packages_do_not_log_headers(caplog: pytest.LogCaptureFixture) -> None:
    addresses.connect("faulty://shop")
    with caplog.at_level(logging.DEBUG):
        for name in addresses.TALKATIVE:
            logging.getLogger(f"{name}.part").debug("x-amz-security-token: PLANTEDSECRET")
    assert "PLANTED" not in caplog.text


@pytest.mark.parametrize("base", ["", "faulty://shop/"])
def test_a_small_text_is_there_or_not_and_can_be_removed(tmp_path: Path, base: str) -> None:
    address = addresses.join(base or str(tmp_path), "a/x.txt")
    assert addresses.get_text(address) is None
    addresses.put_text("один", address)
    assert addresses.get_text(address) == "один"
    assert addresses.names_in(base or str(tmp_path)) == {"a/x.txt"}
    addresses.remove(address)
    addresses.remove(address)
    assert addresses.get_text(address) is None


def test_one_file_is_predicted_from_a_store_into_a_store(
    shop: Path, tmp_path: Path, call: Callable[..., object]
) -> None:
    reviews = put("new.csv", "id,text\n1,Чайник гудит\n2,Куртка тёплая\n")
    done = call("predict", str(shop / "runs" / "shop"), reviews, "-o", "faulty://shop/out/answers.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr  # type: ignore[attr-defined]
    written = addresses.get_text("faulty://shop/out/answers.csv")
    assert written is not None and written.startswith("id,category,confidence\n1,")
    put("bad.csv", "id,text\n1,Чайник\n1,Куртка\n")
    done = call("predict", str(shop / "runs" / "shop"), "faulty://shop/bad.csv", cwd=tmp_path)
    assert done.returncode == 2  # type: ignore[attr-defined]
    assert "faulty://shop/bad.csv, row 2: repeats the id '1'" in done.stderr  # type: ignore[attr-defined]

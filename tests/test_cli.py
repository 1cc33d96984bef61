"""The command line: help, version, the former name of a verb."""

import sys

import pytest

import tsirius
from tsirius import cli


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    monkeypatch.setattr(sys, "argv", ["tsirius", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == code
    out = capsys.readouterr()
    return out.out + out.err


def test_the_version_is_the_packages(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(monkeypatch, capsys, "--version") == f"tsirius {tsirius.__version__}\n"


@pytest.mark.parametrize("verb", [(), ("run",), ("bench",), ("bench", "latency")])
def test_help_has_a_short_form(
    verb: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = said(monkeypatch, capsys, *verb, "-h")
    assert short == said(monkeypatch, capsys, *verb, "--help")
    assert "Usage:" in short and "-h, --help" in short


def test_guard_is_compare_and_not_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    listed = said(monkeypatch, capsys, "-h")
    assert "  compare " in listed and "guard" not in listed
    assert "holds no run" in said(monkeypatch, capsys, "guard", "nowhere", code=2)
    assert "holds no run" in said(monkeypatch, capsys, "compare", "nowhere", code=2)

"""Progress: a bar where a person looks on, lines elsewhere."""

import sys
import types

import pytest

from tsirius.progress import progress


def count() -> None:
    with progress("label", total=3, before=1) as advance:
        advance()
        advance()


def test_a_notebook_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shell = types.SimpleNamespace(kernel=None)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "tqdm.auto", types.SimpleNamespace(tqdm=__import__("tqdm").std.tqdm))
    count()
    said = capsys.readouterr().err
    assert "label" in said and "\r" in said and "1/3" in said


def test_elsewhere_there_is_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    count()
    assert "\r" not in capsys.readouterr().err

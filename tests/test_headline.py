"""What a run says first: a score by people's answers, or that it is not known and how to come by one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tsirius import headline
from tsirius.store import RECORD, seal, with_checksum

AGREED = {"weighted_f1": 0.946, "interval": [0.9, 0.97], "rows": 100}
SCORES = {"pseudo_label": AGREED, "gold": None}


def finish(run: Path, stage: str, rows: int = 500) -> str:
    """A published stage; returns the fingerprint of its output."""
    (run / stage).mkdir(parents=True)
    (run / stage / "table").write_text(stage, encoding="utf-8")
    seal(run / stage, {"rows": rows})
    output: str = json.loads((run / stage / RECORD).read_text(encoding="utf-8"))["output"]
    return output


def audited(run: Path, of: str, output: str, value: float = 0.67) -> Path:
    path = run / headline.AUDITS[of][0]
    path.parent.mkdir(parents=True, exist_ok=True)
    estimate = {"value": value, "low": value - 0.1, "high": value + 0.1, "rows": 100}
    figures = {"output": output, "weighted_f1_with_gold": {"all": estimate}}
    path.write_text(json.dumps(with_checksum(figures)), encoding="utf-8")
    return path


def test_without_answers_it_is_not_known_and_agreement_is_not_said(tmp_path: Path) -> None:
    finish(tmp_path / "my run", "label")
    found = headline.read(tmp_path / "my run", SCORES)
    command = f'tsirius audit "{tmp_path}/my run" --count 100'
    assert found.f1 is None and found.command == command
    assert found.line() == f"weighted F1: not known yet; answer 100 reviews with `{command}`, about 15 minutes"
    assert "0.946" not in found.line()
    finish(tmp_path / "магазин", "label")
    assert f"{tmp_path}/магазин --count" in headline.read(tmp_path / "магазин", SCORES).command


def test_predictions_are_audited_where_there_are_some_and_no_more_than_there_are(tmp_path: Path) -> None:
    finish(tmp_path, "label")
    finish(tmp_path, "predict", rows=20)
    found = headline.read(tmp_path, SCORES)
    assert found.command == f"tsirius audit {tmp_path} --of predictions --count 20" and found.minutes == 3


def test_gold_goes_before_an_audit_and_one_of_predictions_before_one_of_labels(tmp_path: Path) -> None:
    labels, predictions = finish(tmp_path, "label"), finish(tmp_path, "predict")
    audited(tmp_path, "labels", labels, 0.6)
    found = headline.read(tmp_path, SCORES)
    assert found.line().startswith("weighted F1 0.600 of the labels, not of the model, by an audit (95 % interval 0.5")
    audited(tmp_path, "predictions", predictions, 0.7)
    assert headline.read(tmp_path, SCORES).f1 == 0.7
    gold = {"weighted_f1": 0.8, "interval": [0.75, 0.85], "rows": 740}
    assert headline.read(tmp_path, {**SCORES, "gold": gold}).f1 == 0.8


def test_an_audit_of_what_an_earlier_run_made_does_not_count(tmp_path: Path) -> None:
    finish(tmp_path, "label")
    audited(tmp_path, "labels", "another")
    assert headline.read(tmp_path, SCORES).f1 is None


@pytest.mark.parametrize("damaged", ["[]", '{"weighted_f1_with_gold"', None])
def test_an_altered_audit_is_left_out_and_told(
    damaged: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = audited(tmp_path, "labels", finish(tmp_path, "label"))
    path.write_text(damaged or path.read_text(encoding="utf-8").replace("0.67", "0.97"), encoding="utf-8")
    assert headline.read(tmp_path, SCORES).f1 is None
    assert "audit.json: was altered or damaged, and is left out" in capsys.readouterr().err


def test_agreement_says_what_it_is() -> None:
    assert headline.agreement(AGREED) == (
        "agreement with pseudo-labels, which may be wrong themselves: 0.946 (95 % interval 0.900-0.970, 100 rows)"
    )

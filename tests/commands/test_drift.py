"""Drift: chance is told from change, measure by measure, and what is found is kept."""

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import finished
import numpy as np
import polars as pl
import pytest

from tsirius import i18n
from tsirius.commands import drift
from tsirius.commands.drift import measures
from tsirius.errors import UserError

random = np.random.default_rng


def test_a_word_is_known_where_another_text_has_it() -> None:
    texts = ["чашка разбита", "чашки целы", "обувь"]
    counts = measures.document_counts(texts)
    assert measures.see(texts, counts, set(texts)).unknown.tolist() == [0.5, 0.5, 1.0]
    assert measures.see(["чашка и обувь", "!"], counts, set(texts)).unknown.tolist() == [pytest.approx(1 / 3), 0.0]


def test_scripts_and_new_words() -> None:
    assert [measures.language(text) for text in ("Чашка ok", "good чай nice", "5 👍", "Größe")] == [0, 1, 2, 1]
    texts = ["корм для кошки", "кошка ест корм", "корм"]
    assert measures.new_words(texts, Counter({"для": 3})) == [("корм", 3), ("кошка", 2)]


def test_shares_are_compared_as_scipy_does() -> None:
    from scipy.stats import chi2_contingency

    known, new = np.array([300, 200, 100]), np.array([60, 70, 20])
    found = measures.mix(known, new, ["а", "б", "в"], "mix")
    assert found.p == pytest.approx(chi2_contingency([known, new], correction=False).pvalue)
    assert found.detail == "share of «б»"
    assert (found.known, found.new) == (pytest.approx(1 / 3), pytest.approx(7 / 15))
    assert found.interval[0] < found.new - found.known < found.interval[1]


def test_rare_categories_are_put_together_and_absent_ones_left_out() -> None:
    found = measures.mix(np.array([500, 3, 1, 0]), np.array([50, 0, 0, 0]), ["а", "б", "в", "г"], "mix")
    assert 0.2 < found.p <= 1
    assert measures.mix(np.array([5, 0]), np.array([9, 0]), ["а", "б"], "mix").p == 1.0


def measure(p: float) -> measures.Measure:
    return measures.Measure("", 0, 0, (0, 0), p, False, "")


def test_verdicts_are_corrected_for_the_number_of_measures() -> None:
    def verdicts(*values: float) -> list[bool]:
        return [one.drifted for one in measures.judged([measure(p) for p in values], alpha=0.05)]

    assert verdicts(0.012, 0.5, 0.9, 0.9) == [True, False, False, False]
    assert verdicts(0.013, 0.013, 0.9, 0.9) == [False] * 4
    assert verdicts(0.001, 0.016, 0.02, 0.049) == [True] * 4


WORDS = [f"слово{number}" for number in range(400)]


def week(seed: int, rows: int, *, shift: float = 0.0) -> tuple[list[str], drift.Predictions]:
    """Drawn reviews with what a model says of them; of a share everything is different."""
    draw = random(seed)
    other = draw.random(rows) < shift
    texts = [
        " ".join(draw.choice(WORDS, size=draw.integers(4, 12))) + (f" новость{draw.integers(20)}" if odd else "")
        for odd in other
    ]
    categories = np.where(other, 2, draw.choice(3, size=rows, p=[0.5, 0.4, 0.1]))
    confidence = np.where(other, draw.beta(3, 3, rows), draw.beta(8, 2, rows)).astype(np.float32)
    return texts, (categories, confidence)


def compare(seed: int, shift: float, alpha: float = 0.05) -> drift.Drift:
    known, before = week(0, 1500)
    new, after = week(seed, 600, shift=shift)
    return drift.compare(known, new, before, after, names=["а", "б", "в"], file="new.csv", alpha=alpha)


def test_chance_raises_few_alarms_and_a_change_is_found() -> None:
    alarms = sum(compare(seed, 0.0).drifted for seed in range(1, 21))
    assert alarms <= 3  # of 20 at 5 %: more is seen once in sixty times
    found = compare(1, 0.1, alpha=0.01)
    assert found.drifted and {one.name for one in found.measures if one.drifted} >= {"mix", "unknown words"}
    assert found.new_words and found.new_words[0][0].startswith("новость")
    assert "DRIFT" in found.table() and "the reviews have changed" in found.table()
    with i18n.speaking("ru"):
        header, *rows = found.table().splitlines()
    assert all(row.find("СДВИГ") in (-1, rows[0].find("СДВИГ")) for row in rows), "the columns are aligned"
    assert "СДВИГ" in rows[0] and not re.search(r"\d\.\d|[A-Za-z]{2}", header)


def test_the_command_keeps_a_history_and_tells_by_its_exit_code(
    shop: Path, tmp_path: Path, call: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    run = Path(shutil.copytree(shop, tmp_path / "shop")) / "runs" / "shop"
    usual, english, few = (tmp_path / name for name in ("usual.csv", "english.csv", "few.csv"))
    pl.read_csv(shop / "test.csv").gather_every(3).write_csv(usual)
    english.write_text("text\n" + "This charger <b>stopped</b> working & I want a refund\n" * 80, encoding="utf-8")
    few.write_text("text\nчашка\n", encoding="utf-8")
    drift = partial(call, "drift", str(run), cwd=tmp_path)
    done = drift(str(usual))
    assert done.returncode == 0 and "no more than chance" in done.stdout
    done = drift(str(english))
    assert done.returncode == 1 and "another script" in done.stdout and "charger (80)" in done.stdout
    history = json.loads((run / "drift" / "history.json").read_text(encoding="utf-8"))
    assert [entry["drifted"] for entry in history] == [False, True]
    page = finished.check_harmless((run / "drift" / "drift.html").read_text(encoding="utf-8"))
    assert page.tags["tr"] == 3 and "charger" in page.visible
    done = drift(str(few))
    assert done.returncode == 2 and "too few to compare" in done.stderr
    (run / "drift" / "history.json").write_text("{", encoding="utf-8")
    done = drift(str(english))
    assert done.returncode == 2 and "history.json: was altered or damaged" in done.stderr


@pytest.mark.slow
def test_a_run_without_a_test_file_wants_a_reference(shop: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(shop, tmp_path / "shop"))
    run = folder / "runs" / "shop"
    shutil.rmtree(run / "predict")
    columns = drift.Columns()
    alone = drift.check_file(run, folder / "test.csv", reference=None, alpha=0.01, columns=columns)
    assert [one.name for one in alone.measures] == ["unknown words", "length", "script"]
    beside = drift.check_file(run, folder / "test.csv", reference=folder / "test.csv", alpha=0.01, columns=columns)
    assert [one.name for one in beside.measures][:2] == ["mix", "confidence"] and not beside.drifted
    with pytest.raises(UserError, match="no such file"):
        drift.check_file(run, folder / "none.csv", reference=None, alpha=0.01, columns=columns)

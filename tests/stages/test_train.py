"""Train: what it reads, what it leaves behind, and the settings that it refuses."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from tsirius import tables
from tsirius.categories import Categories, Category
from tsirius.errors import UserError
from tsirius.models import load
from tsirius.models.classifier import Classifier
from tsirius.stages.train import Config, check, files, recipe, run

NAMES = ["посуда", "обувь", "одежда", "нет товара"]
ROWS = [
    ("Кружка и тарелки целые", "посуда"),
    ("Сковорода не пригорает", "посуда"),
    ("Кастрюля с крышкой", "посуда"),
    ("Тапочки мягкие", "обувь"),
    ("Ботинки с тёплой стелькой", "обувь"),
    ("Спасибо, доставка быстрая", "нет товара"),
]


def examples(rows: list[tuple[str, str]]) -> pl.DataFrame:
    return pl.DataFrame(
        [(str(n), text, n, label, 0.9, str(n), "written") for n, (text, label) in enumerate(rows)],
        schema=dict(tables.EXAMPLES),
        orient="row",
    )


def given(
    folder: Path,
    *,
    train: list[tuple[str, str]] = ROWS,
    valid: list[tuple[str, str]] = ROWS[:2],
    natural: Mapping[str, float] | None = None,
) -> dict[str, Path]:
    """The folders of the stages before; ``natural`` is the share of each category that labelling estimated."""
    stages = {name: folder / name for name in ("ingest", "label", "split", "augment")}
    for path in stages.values():
        path.mkdir(parents=True)
    categories = Categories([Category(name, none=name == "нет товара") for name in NAMES])
    (stages["ingest"] / "categories.json").write_text(categories.to_json(), encoding="utf-8")
    mix = natural or {"посуда": 0.5, "обувь": 0.3, "нет товара": 0.2}
    (stages["label"] / "mix.json").write_text(
        json.dumps({name: mix.get(name, 0.0) for name in NAMES}), encoding="utf-8"
    )
    tables.write(examples(valid), tables.EXAMPLES, stages["split"] / "valid.parquet")
    tables.write(examples(train), tables.EXAMPLES, stages["augment"] / "train.parquet")
    return stages


def train(folder: Path, config: Config, **settings: Any) -> tuple[dict[str, Any], Classifier]:
    out, scratch = folder / "out", folder / "scratch"
    out.mkdir(parents=True)
    scratch.mkdir()
    counts = run(config, given(folder, **settings), out, seed=0, scratch=scratch)
    json.dumps(counts)
    return counts, Classifier.load(out / "model")


def test_linear(tmp_path: Path) -> None:
    counts, classifier = train(tmp_path, Config(linear_encoder=""))
    assert classifier.predict(["две тарелки", "мягкие тапки", "быстрая доставка"]) == ["посуда", "обувь", "нет товара"]
    assert counts["categories"] == {"посуда": 3, "обувь": 2, "одежда": 0, "нет товара": 1}
    assert classifier.predict_proba(["платье"])[0, 2] < 1e-6  # одежда has no rows
    train(tmp_path / "again", Config(linear_encoder=""))
    for path in sorted((tmp_path / "out" / "model").iterdir()):
        assert path.read_bytes() == (tmp_path / "again" / "out" / "model" / path.name).read_bytes()


def test_linear_with_embeddings_knows_words_that_it_never_saw(tmp_path: Path) -> None:
    rows = [(text, label) for text, label in ROWS if label != "нет товара"] + [("Туфли натирают", "обувь")]
    asked, truth = ["половник погнулся", "дуршлаг", "кеды", "шлёпанцы велики"], ["посуда"] * 2 + ["обувь"] * 2
    natural = {"посуда": 0.5, "обувь": 0.5}
    _, classifier = train(tmp_path, Config(), train=rows, natural=natural)
    assert classifier.predict(asked) == truth
    _, plain = train(tmp_path / "plain", Config(linear_encoder=""), train=rows, natural=natural)
    assert plain.predict(asked) != truth
    described = json.loads((tmp_path / "out" / "model" / "model.json").read_text(encoding="utf-8"))
    assert described["base_model"] == "tsirius-mini" and described["max_length"] == 256


def test_the_natural_mix_is_restored(tmp_path: Path) -> None:
    """Two reviews that the model cannot tell apart: the commoner category, as it was before the quotas, wins."""
    rows = [("вещь хорошая", "посуда"), ("вещь хорошая", "обувь")]
    natural = {"посуда": 0.1, "обувь": 0.9}
    _, corrected = train(tmp_path / "one", Config(), train=rows, natural=natural)
    _, plain = train(tmp_path / "other", Config(prior_correction=False), train=rows, natural=natural)
    assert corrected.predict_proba(["вещь хорошая"])[0, :2] == pytest.approx([0.3, 0.7], abs=1e-2)
    assert plain.predict_proba(["вещь хорошая"])[0, :2] == pytest.approx([0.5, 0.5], abs=1e-3)


def test_lora(tmp_path: Path, tiny_model: Path) -> None:
    config = Config(use="lora", model=str(tiny_model), epochs=1, batch_size=4)
    check(config)
    counts, classifier = train(tmp_path, config)
    assert counts["steps"] == 2 and len(counts["evaluations"]) == 2
    assert set(classifier.predict([text for text, _ in ROWS])) <= set(NAMES)
    described = json.loads((tmp_path / "out" / "model" / "model.json").read_text(encoding="utf-8"))
    assert described["base_model"] == str(tiny_model) and described["max_length"] == 128


def test_lora_without_validation_rows_says_so(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config(use="lora", model=str(tiny_model), epochs=1)
    counts, _ = train(tmp_path, config, train=ROWS[:1], valid=[])
    assert counts["evaluations"] == []
    assert "without early stopping" in capsys.readouterr().err


def test_no_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no rows to learn from"):
        train(tmp_path, Config(), train=[])


def test_a_missing_encoder_is_refused_before_any_work_and_only_where_one_is_used() -> None:
    check(Config(model="./nowhere"))
    check(Config(use="lora", model=load.EMBEDDED, linear_encoder="./nowhere"))
    with pytest.raises(UserError, match="nowhere"):
        check(Config(linear_encoder="./nowhere"))
    with pytest.raises(UserError, match="nowhere"):
        check(Config(use="lora", model="./nowhere"))


@pytest.mark.parametrize(
    "setting",
    [{"learning_rate": 0}, {"linear_c": -1}, {"lora_r": 0}, {"epochs": 0}, {"label_smoothing": 1.0}, {"use": "full"},
     {"batch_size": 0}, {"warmup": 1.5}, {"max_length": 2}, {"model": ""}],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Config(**setting)


def test_every_lora_setting_reaches_the_recipe() -> None:
    config = Config(lora_r=3, lora_alpha=7, lora_dropout=0.3, epochs=9, warmup=0.2, evaluations_per_epoch=5)
    found = dataclasses.asdict(recipe(config))
    for name, value in found.items():
        setting = f"lora_{name}" if name in ("r", "alpha", "dropout") else name
        assert getattr(config, setting) == value


def test_the_weights_of_a_folder_count_as_input(tiny_model: Path) -> None:
    assert files(Config(linear_encoder="")) == files(Config(use="lora")) == {}
    assert files(Config()) == {"train.encoder": load.EMBEDDED_FOLDER}
    assert files(Config(use="lora", model=str(tiny_model))) == {"train.encoder": tiny_model}

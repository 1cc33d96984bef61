"""Train: what it reads, what it leaves behind, and the settings that it refuses."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from huggingface_hub import ModelCard
from pydantic import ValidationError

from tsirius import tables
from tsirius.categories import Categories, Category
from tsirius.errors import UserError
from tsirius.models.classifier import Classifier
from tsirius.stages.train import Config, check, files, natural_labels, recipe, run

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
    natural: Mapping[str, int] | None = None,
) -> dict[str, Path]:
    """The folders of the stages before, with as many sure rows of each category as ``natural`` says."""
    stages = {name: folder / name for name in ("ingest", "select", "split", "augment")}
    for path in stages.values():
        path.mkdir(parents=True)
    categories = Categories([Category(name, none=name == "нет товара") for name in NAMES])
    (stages["ingest"] / "categories.json").write_text(categories.to_json(), encoding="utf-8")
    labels = [
        name for name, rows in (natural or {"посуда": 3, "обувь": 2, "нет товара": 1}).items() for _ in range(rows)
    ]
    labelled = pl.DataFrame(
        [(str(n), "отзыв", n, label, 0.9, True, "sure") for n, label in enumerate(labels)],
        schema=dict(tables.LABELLED),
        orient="row",
    )
    tables.write(labelled, tables.LABELLED, stages["select"] / "labelled.parquet")
    tables.write(examples(valid), tables.EXAMPLES, stages["split"] / "valid.parquet")
    tables.write(examples(train), tables.EXAMPLES, stages["split"] / "train.parquet")
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
    counts, classifier = train(tmp_path, Config())
    assert classifier.predict(["две тарелки", "мягкие тапки", "быстрая доставка"]) == ["посуда", "обувь", "нет товара"]
    assert counts["categories"] == {"посуда": 3, "обувь": 2, "одежда": 0, "нет товара": 1}
    assert classifier.predict_proba(["платье"])[0, 2] < 1e-6  # одежда has no rows
    train(tmp_path / "again", Config())
    for path in sorted((tmp_path / "out" / "model").iterdir()):
        assert path.read_bytes() == (tmp_path / "again" / "out" / "model" / path.name).read_bytes()


def test_the_natural_mix_is_restored(tmp_path: Path) -> None:
    """Two reviews that the model cannot tell apart: the commoner category, as it was before the quotas, wins."""
    rows = [("вещь хорошая", "посуда"), ("вещь хорошая", "обувь")]
    natural = {"посуда": 10, "обувь": 90}
    _, corrected = train(tmp_path / "one", Config(), train=rows, natural=natural)
    _, plain = train(tmp_path / "other", Config(prior_correction=False), train=rows, natural=natural)
    assert corrected.predict_proba(["вещь хорошая"])[0, :2] == pytest.approx([11 / 102, 91 / 102], abs=1e-3)
    assert plain.predict_proba(["вещь хорошая"])[0, :2] == pytest.approx([0.5, 0.5], abs=1e-3)


def test_labels_topped_up_from_the_grey_zone_do_not_show_the_natural_mix() -> None:
    rows = [("a", "обувь", "sure"), ("b", "посуда", "grey, tops up"), ("c", None, "no label")]
    labelled = pl.DataFrame(rows, schema=["id", "label", "reason"], orient="row")
    assert natural_labels(labelled).to_list() == ["обувь"]
    assert natural_labels(labelled[1:]).to_list() == ["посуда"]


@pytest.mark.parametrize("use", ["lora", "full"])
def test_fine_tuning(tmp_path: Path, tiny_model: Path, use: Any) -> None:
    config = Config(use=use, model=str(tiny_model), epochs=1, batch_size=4, row_weights=True, imbalance="logits")
    check(config)
    counts, classifier = train(tmp_path, config)
    assert counts["steps"] == 2 and len(counts["evaluations"]) == 2
    texts = [text for text, _ in ROWS]
    expected = classifier.predict_proba(texts)
    model = tmp_path / "out" / "model"
    described = json.loads((model / "model.json").read_text(encoding="utf-8"))
    assert described["base_model"] == str(tiny_model) and described["max_length"] == 128
    assert described["prior"] == pytest.approx([3 / 6, 2 / 6, 0, 1 / 6])
    assert described["parts"] == (["adapter", "merged"] if use == "lora" else ["merged"])
    for part in described["parts"]:
        assert np.allclose(Classifier.load(model / part).predict_proba(texts), expected, atol=1e-4)


def test_the_card_is_the_hubs(tmp_path: Path, tiny_model: Path) -> None:
    train(tmp_path, Config(use="lora", model=str(tiny_model), epochs=1))
    for part, library in (("adapter", "peft"), ("merged", "transformers"), (".", "transformers")):
        text = (tmp_path / "out" / "model" / part / "README.md").read_text(encoding="utf-8")
        card = ModelCard(text)
        assert card.data.library_name == library and card.data.pipeline_tag == "text-classification"
        assert card.data.eval_results[0].metric_name == "weighted F1"
        assert 0 <= card.data.eval_results[0].metric_value <= 1
        assert card.data.base_model is None, "a folder of this machine is no one else's"
        for word in ("95 % interval", "| 3 | нет товара | 1 |", '"lora_r": 16', "6 training rows"):
            assert word in text


def test_a_merged_checkpoint_is_left_out_on_request(tmp_path: Path, tiny_model: Path) -> None:
    _, classifier = train(tmp_path, Config(use="lora", model=str(tiny_model), epochs=1, merged=False))
    assert not (tmp_path / "out" / "model" / "merged").exists()
    assert len(classifier.predict(["кружка"])) == 1


def test_the_embedded_encoder_goes_by_its_name(tmp_path: Path) -> None:
    train(tmp_path, Config(use="lora", model="tsirius-mini", epochs=1))
    described = json.loads((tmp_path / "out" / "model" / "model.json").read_text(encoding="utf-8"))
    assert described["base_model"] == "tsirius-mini"
    assert len(Classifier.load(tmp_path / "out" / "model" / "adapter").predict(["кружка"])) == 1


def test_in_training_that_evens_out_categories_the_shift_starts_from_even_ones(tmp_path: Path) -> None:
    from tsirius.stages import train as stage

    shifts = {}
    for imbalance in ("none", "weights", "logits"):
        config = Config(use="lora", model="tsirius-mini", imbalance=imbalance)
        folder = tmp_path / imbalance
        rows = [("вещь", "посуда")] * 90 + [("вещь", "обувь")] * 10
        stages = given(folder, train=rows, natural={"посуда": 90, "обувь": 10}, valid=[])
        (folder / "out").mkdir()
        found: dict[str, Any] = {}

        def keep(task: Any, *rest: Any, found: dict[str, Any] = found, **more: Any) -> Any:
            found["shift"] = task.shift
            return None, {}

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stage, "_train", keep)
            run(config, stages, folder / "out", seed=0, scratch=folder)
        shifts[imbalance] = found["shift"]
    assert shifts["none"] == pytest.approx([0, 0, 0, 0])
    for imbalance in ("weights", "logits"):
        shift = shifts[imbalance]
        assert shift[0] - shift[1] == pytest.approx(np.log(91 / 11), abs=1e-6)


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
    with pytest.raises(UserError, match="nowhere"):
        check(Config(use="lora", model="./nowhere"))


@pytest.mark.parametrize(
    "setting",
    [{"learning_rate": 0}, {"linear_c": -1}, {"lora_r": 0}, {"epochs": 0}, {"label_smoothing": 1.0}, {"use": "half"},
     {"early_stopping_metric": "accuracy"}, {"imbalance": "smote"}, {"folds": 0}, {"seeds": [1, 1]}, {"seeds": [-1]},
     {"layer_decay": 0}, {"batch_tokens": 0},
     {"batch_size": 0}, {"warmup": 1.5}, {"max_length": 2}, {"model": ""}],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Config(**setting)


def test_every_setting_reaches_the_recipe() -> None:
    config = Config(use="full", lora_r=3, lora_alpha=7, lora_dropout=0.3, epochs=9, warmup=0.2, evaluations_per_epoch=5)
    found = dataclasses.asdict(recipe(config))
    for name, value in found.items():
        setting = f"lora_{name}" if name in ("r", "alpha", "dropout") else {"method": "use"}.get(name, name)
        assert getattr(config, setting) == value


def test_the_weights_of_a_folder_count_as_input(tiny_model: Path) -> None:
    assert files(Config()) == files(Config(use="lora")) == {}
    assert files(Config(use="lora", model=str(tiny_model))) == {"train.model": tiny_model}
    assert files(Config(use="full", model="tsirius-mini"))["train.model"].name == "tsirius-mini"

"""Train: what it reads, what it leaves behind, and the settings that it refuses."""

import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from huggingface_hub import ModelCard
from pydantic import ValidationError

from tsirius import calibration, tables
from tsirius.categories import Categories, Category
from tsirius.errors import UserError
from tsirius.models import finetune, hub, linear, onnx, trackers, train_ensemble, train_one
from tsirius.models.classifier import Classifier
from tsirius.stages.train import OUT_OF_FOLD, Config, check, draw, files, recipe, run
from tsirius.store import fingerprint

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
        [(str(n), text, n, label, 0.9, str(n), "written", 1.0) for n, (text, label) in enumerate(rows)],
        schema=dict(tables.EXAMPLES),
        orient="row",
    )


def given(
    folder: Path,
    *,
    train: list[tuple[str, str]] = ROWS,
    valid: list[tuple[str, str]] = ROWS[:2],
    natural: Mapping[str, float] | None = None,
    sure: float = 0.9,
) -> dict[str, Path]:
    """The folders of the stages before; ``natural`` is the share of each category that labelling estimated, ``sure``
    the confidence of the labels."""
    stages = {name: folder / name for name in ("ingest", "label", "answers", "split", "augment")}
    for path in stages.values():
        path.mkdir(parents=True)
    categories = Categories([Category(name, none=name == "нет товара") for name in NAMES])
    (stages["ingest"] / "categories.json").write_text(categories.to_json(), encoding="utf-8")
    mix = natural or {"посуда": 0.5, "обувь": 0.3, "нет товара": 0.2}
    (stages["answers"] / "mix.json").write_text(
        json.dumps({name: mix.get(name, 0.0) for name in NAMES}), encoding="utf-8"
    )
    tables.write(examples(valid), tables.EXAMPLES, stages["split"] / "valid.parquet")
    tables.write(examples(train), tables.EXAMPLES, stages["split"] / "train.parquet")
    tables.write(examples(train), tables.EXAMPLES, stages["augment"] / "train.parquet")
    reviews = [(str(n), "reviews.csv", n, text, text, n) for n, (text, _) in enumerate(train)]
    labels = [(str(n), label, sure, 0.5, ["matcher"], False, None, 1.0) for n, (_, label) in enumerate(train)]
    for name, rows, stage, schema in (
        ("reviews", reviews, "ingest", tables.REVIEWS),
        ("labels", labels, "answers", tables.TAUGHT),
    ):
        tables.write(pl.DataFrame(rows, schema=dict(schema), orient="row"), schema, stages[stage] / f"{name}.parquet")
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


def test_a_linear_model_is_not_read_onto_other_embeddings(tmp_path: Path, tiny_model: Path) -> None:
    encoder = tmp_path / "encoder"
    shutil.copytree(tiny_model, encoder)
    _, classifier = train(tmp_path, Config(linear_encoder=str(encoder)))
    before = classifier.predict_proba(["Кружка"])
    settings = json.loads((encoder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (encoder / "tokenizer_config.json").write_text(json.dumps({**settings, "do_lower_case": True}), encoding="utf-8")
    with pytest.raises(UserError, match="tokenizer are not those that the model was trained on"):
        Classifier.load(tmp_path / "out" / "model")
    shutil.copytree(tiny_model, encoder, dirs_exist_ok=True)
    np.testing.assert_array_equal(Classifier.load(tmp_path / "out" / "model").predict_proba(["Кружка"]), before)


def test_the_natural_mix_is_restored(tmp_path: Path) -> None:
    """Two reviews that the model cannot tell apart: the commoner category, as it was before the quotas, wins."""
    rows = [("вещь хорошая", "посуда"), ("вещь хорошая", "обувь")]
    natural = {"посуда": 0.1, "обувь": 0.9}
    _, corrected = train(tmp_path / "one", Config(calibrate=False), train=rows, natural=natural)
    _, plain = train(tmp_path / "other", Config(calibrate=False, prior_correction=False), train=rows, natural=natural)
    assert corrected.predict_proba(["вещь хорошая"])[0, :2] == pytest.approx([0.3, 0.7], abs=1e-2)
    assert plain.predict_proba(["вещь хорошая"])[0, :2] == pytest.approx([0.5, 0.5], abs=1e-3)


ODD = ["посуда «с кавычками» \"и\" 'ими'", "👟 обувь|a\\b", "{одежда}, [и]: - #", "нет товара"]


@pytest.mark.parametrize("use", ["linear", "lora", "full"])
def test_categories_of_any_name_and_a_folder_of_any_name(
    tmp_path: Path, tiny_model: Path, use: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has a single row, one none."""
    encoder = tmp_path / "мой encoder, №1"
    shutil.copytree(tiny_model, encoder)
    monkeypatch.setitem(globals(), "NAMES", ODD)
    rows = [("Кружка", ODD[0]), ("Тарелки", ODD[0]), ("Тапочки", ODD[1]), ("Спасибо", ODD[3])]
    config = Config(use=use, model=str(encoder), epochs=1)
    counts, classifier = train(tmp_path / "прогон 1", config, train=rows, valid=rows[:1], natural={ODD[0]: 1.0})
    model = tmp_path / "прогон 1" / "out" / "model"
    assert classifier.names == ODD and counts["categories"] == dict(zip(ODD, [2, 1, 0, 1], strict=True))
    for folder in (model, *(model / part for part in json.loads((model / "model.json").read_text())["parts"])):
        assert Classifier.load(folder).predict(["Кружка"])[0] in ODD
        ModelCard((folder / "README.md").read_text(encoding="utf-8"))
    if use != "linear":
        told = json.loads((model / "merged" / "config.json").read_text(encoding="utf-8"))
        assert told["id2label"] == {str(place): name for place, name in enumerate(ODD)}
        assert told["label2id"] == {name: place for place, name in enumerate(ODD)}


@pytest.mark.parametrize(("weighted", "expected"), [(False, 2 / 3), (True, 20 / 29)])
def test_a_variant_counts_as_little_as_it_says(tmp_path: Path, weighted: bool, expected: float) -> None:
    stages = given(tmp_path, train=[("вещь", "посуда"), ("вещь", "обувь")])
    rows = examples([("вещь", "посуда"), ("вещь", "обувь")]).with_columns(
        weight=pl.Series([1.0, 0.5], dtype=pl.Float32), confidence=pl.Series([1.0, 0.9], dtype=pl.Float32)
    )
    tables.write(rows, tables.EXAMPLES, stages["augment"] / "train.parquet")
    (tmp_path / "out").mkdir()
    config = Config(calibrate=False, linear_encoder="", prior_correction=False, linear_weights=weighted)
    run(config, stages, tmp_path / "out", seed=0, scratch=tmp_path)
    found = Classifier.load(tmp_path / "out" / "model").predict_proba(["вещь"])[0]
    assert found[0] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("weighted", "expected"), [(False, [1.0, 0.5]), (True, [0.9, 0.45])])
def test_a_variant_counts_less_in_fine_tuning_too(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, weighted: bool, expected: list[float]
) -> None:
    seen = list[finetune.Rows]()

    def fit(job: finetune.Job) -> Any:
        seen.append(job.train)
        raise InterruptedError

    monkeypatch.setattr(finetune, "fit", fit)
    stages = given(tmp_path, train=ROWS[:2])
    rows = examples(ROWS[:2]).with_columns(weight=pl.Series([1.0, 0.5], dtype=pl.Float32))
    tables.write(rows, tables.EXAMPLES, stages["augment"] / "train.parquet")
    (tmp_path / "out").mkdir()
    with pytest.raises(InterruptedError):
        run(Config(use="lora", model=str(tiny_model), row_weights=weighted), stages, tmp_path / "out", seed=0,
            scratch=tmp_path)  # fmt: skip
    assert seen[0].weights == pytest.approx(expected)


@pytest.mark.parametrize("use", ["lora", "full"])
def test_fine_tuning(tmp_path: Path, tiny_model: Path, use: Any) -> None:
    config = Config(use=use, model=str(tiny_model), epochs=1, batch_size=4, row_weights=True, imbalance="logits",
                    long_texts="windows")  # fmt: skip
    check(config)
    counts, classifier = train(tmp_path, config)
    assert counts["steps"] == 2 and len(counts["evaluations"]) == 2
    texts = [text for text, _ in ROWS]
    expected = classifier.predict_proba(texts)
    model = tmp_path / "out" / "model"
    described = json.loads((model / "model.json").read_text(encoding="utf-8"))
    assert described["base_model"] == str(tiny_model) and described["max_length"] == 128
    assert described["prior"] == pytest.approx([0.5, 0.3, 0, 0.2])
    assert described["parts"] == (["adapter", "merged"] if use == "lora" else ["merged"])
    for part in described["parts"]:
        assert np.allclose(Classifier.load(model / part).predict_proba(texts), expected, atol=1e-4)
        assert Classifier.load(model / part).scorer.windows  # type: ignore[attr-defined]  # an Encoder


@pytest.mark.parametrize("use", ["linear", "lora", "full"])
def test_equal_trainings_write_equal_files(tmp_path: Path, tiny_model: Path, use: Any) -> None:
    made = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        (folder / "out").mkdir(parents=True)
        settings = {"use": use, "model": str(tiny_model), "epochs": 2, "linear_encoder": ""}
        run(Config(**settings), given(folder), folder / "out", seed=0, scratch=folder)
        made.append(fingerprint(folder / "out"))
        assert (folder / "out" / "model" / "checksums.json").is_file()
    assert made[0] == made[1]


def test_the_card_is_the_hubs(tmp_path: Path, tiny_model: Path) -> None:
    train(tmp_path, Config(use="lora", model=str(tiny_model), epochs=1))
    for part, library in (("adapter", "peft"), ("merged", "transformers"), (".", "transformers")):
        text = (tmp_path / "out" / "model" / part / "README.md").read_text(encoding="utf-8")
        card = ModelCard(text)
        assert card.data.library_name == library and card.data.pipeline_tag == "text-classification"
        assert card.data.eval_results is None and "not known yet" in text
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
    shifts = {}
    for imbalance in ("none", "weights", "logits"):
        config = Config(calibrate=False, use="lora", model="tsirius-mini", imbalance=imbalance)
        folder = tmp_path / imbalance
        rows = [("вещь", "посуда")] * 90 + [("вещь", "обувь")] * 10
        stages = given(folder, train=rows, natural={"посуда": 0.9, "обувь": 0.1}, valid=[])
        (folder / "out").mkdir()
        found: dict[str, Any] = {}

        def keep(task: Any, *rest: Any, found: dict[str, Any] = found, **more: Any) -> Any:
            found["shift"] = task.shift
            return None, {}

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(train_one, "train", keep)
            run(config, stages, folder / "out", seed=0, scratch=folder)
        shifts[imbalance] = found["shift"]
    assert shifts["none"] == pytest.approx([0, 0, linear.ABSENT, linear.ABSENT], abs=1e-9)
    for imbalance in ("weights", "logits"):
        shift = shifts[imbalance]
        assert shift[0] - shift[1] == pytest.approx(np.log(91 / 11), abs=1e-6)


MANY = [
    (f"{noun} {more}", label)
    for label, nouns in {
        "посуда": ["кружка", "тарелка", "сковорода", "кастрюля", "чашка", "ложка"],
        "обувь": ["тапочки", "ботинки", "туфли", "кроссовки", "сапоги", "кеды"],
        "нет товара": ["доставка", "продавец", "спасибо", "магазин", "возврат", "подарок"],
    }.items()
    for noun in nouns
    for more in ("хорошо", "быстро", "плохо")
]


@pytest.mark.slow
def test_an_ensemble_predicts_as_one_model(tmp_path: Path) -> None:
    counts, classifier = train(tmp_path, Config(folds=3, seeds=[4, 5]), train=MANY)
    model = tmp_path / "out" / "model"
    described = json.loads((model / "model.json").read_text(encoding="utf-8"))
    assert described["kind"] == "ensemble" and len(described["parts"]) == len(counts["members"]) == 6
    members = [Classifier.load(model / part) for part in described["parts"]]
    texts = [text for text, _ in MANY]
    mean = np.mean([member.scorer.logits(texts) for member in members], axis=0)
    assert np.allclose(classifier.scorer.logits(texts), mean, atol=1e-5)
    assert not np.allclose(members[0].scorer.logits(texts), members[1].scorer.logits(texts), atol=1e-3)
    found = counts["out_of_fold"]
    assert found["rows"] == len(MANY) and found["interval"][0] <= found["weighted_f1"] <= found["interval"][1]
    table = tables.read(tmp_path / "out" / "out_of_fold.parquet", OUT_OF_FOLD)
    assert sorted(table["clean"]) == sorted(texts)
    assert (model / "README.md").read_text(encoding="utf-8").count("out of fold") == 1


def test_the_members_of_a_linear_ensemble_embed_each_text_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = onnx.embedder, list[str]()

    def embedder(folder: Path, **more: Any) -> Any:
        embed = real(folder, **more)

        def ask(texts: Any) -> Any:
            asked.extend(texts)
            return embed(texts)

        return ask

    monkeypatch.setattr(onnx, "embedder", embedder)
    counts, classifier = train(tmp_path, Config(calibrate=False, folds=3, distil=True), train=MANY)
    texts = [text for text, _ in MANY]
    assert sorted(text for text in asked if text in texts) == sorted(texts)  # beside probes, and "." for the width
    teacher = Classifier.load(tmp_path / "out" / "model" / "ensemble")
    asked.clear()
    teacher.predict(texts)
    assert sorted(text for text in asked if text in texts) == sorted(texts)
    assert len(counts["members"]) == 3 and len(classifier.predict(texts)) == len(texts)


def test_a_row_is_scored_by_members_that_did_not_learn_from_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each word is one group's; a member that scores a word has not learned from it, nor from a variant of it."""
    real, seen = train_ensemble._member, []

    def member(task: Any, rows: pl.DataFrame, texts: Any, **more: Any) -> Any:
        seen.append((set(rows["group"]), set(texts), set(rows["label"])))
        return real(task, rows, texts, **more)

    monkeypatch.setattr(train_ensemble, "_member", member)
    stages = given(tmp_path, train=MANY)
    groups = {text: number // 3 for number, (text, _) in enumerate(MANY)}
    grouped = examples(MANY).with_columns(group=pl.col("clean").replace_strict(groups))
    tables.write(grouped, tables.EXAMPLES, stages["split"] / "train.parquet")
    variants = grouped.with_columns(clean=pl.col("clean") + " да", id=pl.col("id") + "~eda1", method=pl.lit("eda"))
    learned = pl.concat([grouped.filter(pl.col("group") != 2), variants.filter(pl.col("group") != 2)])
    tables.write(learned, tables.EXAMPLES, stages["augment"] / "train.parquet")
    (tmp_path / "out").mkdir()
    counts = run(Config(folds=4), stages, tmp_path / "out", seed=0, scratch=tmp_path)
    assert len(seen) == 4 and counts["out_of_fold"]["rows"] == len(MANY)
    asked = [text.removesuffix(" да") for _, texts, _ in seen for text in texts if not text.endswith("да")]
    assert sorted(asked) == sorted(groups), "every review is scored once, those that a quota left out too"
    for learned_groups, texts, labels in seen:
        assert not learned_groups & {groups[text.removesuffix(" да")] for text in texts}
        assert labels == {"посуда", "обувь", "нет товара"}


@pytest.mark.slow
def test_a_killed_ensemble_does_not_train_its_finished_members_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, trained = train_one.train, []

    def one(*rest: Any, **more: Any) -> Any:
        trained.append(more["seed"])
        if len(trained) == 3:
            raise KeyboardInterrupt
        return real(*rest, **more)

    config = Config(seeds=[7, 8, 9])
    _, whole = train(tmp_path / "whole", config, train=MANY)
    monkeypatch.setattr(train_one, "train", one)
    stages = given(tmp_path / "killed", train=MANY)
    for again in (False, True):
        out = tmp_path / "killed" / f"out{again}"
        out.mkdir()
        (tmp_path / "killed" / "scratch").mkdir(exist_ok=True)
        if again:
            run(config, stages, out, seed=0, scratch=tmp_path / "killed" / "scratch")
        else:
            with pytest.raises(KeyboardInterrupt):
                run(config, stages, out, seed=0, scratch=tmp_path / "killed" / "scratch")
    assert trained == [7, 8, 9, 9]
    texts = [text for text, _ in MANY]
    assert np.array_equal(Classifier.load(out / "model").predict_proba(texts), whole.predict_proba(texts))


@pytest.mark.parametrize("use", ["linear", "lora"])
def test_an_ensemble_is_distilled_into_one(tmp_path: Path, tiny_model: Path, use: Any) -> None:
    config = Config(use=use, model=str(tiny_model), epochs=1, folds=2, distil=True)
    check(config)
    _, classifier = train(tmp_path, config, train=MANY, valid=MANY[:3])
    model = tmp_path / "out" / "model"
    described = json.loads((model / "model.json").read_text(encoding="utf-8"))
    assert described["kind"] == use
    teacher = Classifier.load(model / "ensemble")
    assert len(json.loads((model / "ensemble" / "model.json").read_text(encoding="utf-8"))["parts"]) == 2
    assert not list((model / "ensemble").rglob("merged")), "members leave adapters alone"
    texts = [text for text, _ in MANY]
    if use == "linear":
        same = sum(one == other for one, other in zip(classifier.predict(texts), teacher.predict(texts), strict=True))
        assert same > 0.7 * len(texts)


def test_lora_without_validation_rows_says_so(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config(use="lora", model=str(tiny_model), epochs=1)
    counts, _ = train(tmp_path, config, train=ROWS[:1], valid=[])
    assert counts["evaluations"] == []
    assert "without early stopping" in capsys.readouterr().err


@pytest.mark.parametrize("use", ["linear", "lora", "full"])
@pytest.mark.parametrize("prior_correction", [True, False])
def test_a_category_without_rows_is_never_predicted(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str], use: Any, prior_correction: bool
) -> None:
    config = Config(calibrate=False, use=use, model=str(tiny_model), epochs=1, prior_correction=prior_correction)
    _, classifier = train(tmp_path, config, train=ROWS[:3], valid=[], natural={"обувь": 0.9, "посуда": 0.1})
    assert "never predicted: обувь, одежда, нет товара" in capsys.readouterr().err
    probabilities = classifier.predict_proba([text for text, _ in ROWS])
    assert probabilities[:, 0].min() > 0.999


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
    assert files(Config(linear_encoder="")) == files(Config(use="lora")) == {}
    assert files(Config()) == files(Config(use="full", model="tsirius-mini")) == {"train.encoder": hub.EMBEDDED_FOLDER}
    assert files(Config(use="lora", model=str(tiny_model))) == {"train.encoder": tiny_model}


@pytest.mark.slow
@pytest.mark.parametrize("sure", [0.6, 0.9])
@pytest.mark.parametrize("settings", [{}, {"folds": 2}, {"use": "full"}])
def test_all_reviews_are_as_sure_as_their_labels(
    tmp_path: Path, tiny_model: Path, sure: float, settings: dict[str, Any]
) -> None:
    own = {"epochs": 1, "model": str(tiny_model), **settings}
    texts = [text for text, _ in ROWS]
    counts, classifier = train(tmp_path / "on", Config(**own), sure=sure)
    _, plain = train(tmp_path / "off", Config(**own, calibrate=False), sure=sure)
    assert counts["temperature"] != 1
    assert classifier.predict(texts) == plain.predict(texts)
    scores = plain.scores(texts) / counts["temperature"]
    expected = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(classifier.predict_proba(texts), expected, atol=1e-5)
    if calibration.COLDEST < counts["temperature"] < calibration.HOTTEST:
        assert classifier.predict_proba(texts).max(axis=1).mean() == pytest.approx(sure, abs=1e-3)
    for form in ("merged",) if (tmp_path / "on/out/model/merged").is_dir() else ():
        other = Classifier.load(tmp_path / "on/out/model" / form)
        np.testing.assert_allclose(other.predict_proba(texts), expected, atol=1e-5)


@pytest.mark.slow
def test_the_encoders_that_come_along_are_named_not_found(tmp_path: Path) -> None:
    for encoder in hub.OWN:
        config = Config(linear_encoder=encoder)
        check(config)
        assert sorted(path.name for path in files(config).values()) == sorted(hub.parts(encoder))
    _, classifier = train(tmp_path, Config(linear_encoder=hub.PAIR))
    assert json.loads((tmp_path / "out/model/model.json").read_text(encoding="utf-8"))["base_model"] == hub.PAIR
    assert classifier.predict(["Тарелки и кружка"]) == ["посуда"]


def test_every_evaluation_is_told_where_the_settings_say_so(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, set[str]]] = []
    folders: list[Path] = []

    @contextmanager
    def opened(folder: Path, run: str) -> Iterator[trackers.Track]:
        folders.append(folder)
        yield lambda step, values: told.append((step, set(values)))

    monkeypatch.setitem(trackers.OPENERS, "wandb", opened)  # type: ignore[arg-type]  # a dict
    counts, _ = train(tmp_path, Config(use="lora", model=str(tiny_model), epochs=2, report_to=["wandb"]))
    assert told == [(one["step"], {"weighted_f1", "eval_loss"}) for one in counts["evaluations"]] and told
    assert [folder.relative_to(tmp_path) for folder in folders] == [Path("tracking/wandb")]
    assert "report_to" not in (tmp_path / "out" / "model" / "README.md").read_text(encoding="utf-8")


def test_a_sample_of_the_rows_is_learned_from_and_answered_reviews_stay(tmp_path: Path) -> None:
    rows = [(f"{text} {n}", label) for n in range(20) for text, label in ROWS]
    stages = given(tmp_path, train=rows)
    labels = tables.read(stages["answers"] / "labels.parquet", tables.TAUGHT)
    answered = pl.col("id").is_in(["3", "50"])
    tables.write(
        labels.with_columns(role=pl.when(answered).then(pl.lit("lesson"))),
        tables.TAUGHT, stages["answers"] / "labels.parquet",
    )  # fmt: skip
    variant = examples(rows).head(80).with_columns(id=pl.format("{}-v", "id"), method=pl.lit("eda"))
    grown = pl.concat([examples(rows), variant])
    answers = stages["answers"] / "labels.parquet"
    some, written = draw(grown, examples(rows), answers, sample=30)
    assert set(written["id"]) == set(some["origin"]) >= {"3", "50"} and written.height == 32
    assert some.filter(pl.col("method") == "eda")["origin"].to_list() == [
        name for name in variant["origin"] if name in set(written["id"])
    ], "variants follow their reviews"
    more, _ = draw(grown, examples(rows), answers, sample=60)
    assert set(some["id"]) < set(more["id"]), "a larger sample holds a smaller one"
    everything, _ = draw(grown, examples(rows), answers, sample=10_000)
    assert everything.equals(grown)

    tables.write(grown, tables.EXAMPLES, stages["augment"] / "train.parquet")
    for name in ("out", "scratch"):
        (tmp_path / name).mkdir()
    counts = run(Config(linear_encoder="", sample=30), stages, tmp_path / "out", seed=0, scratch=tmp_path / "scratch")
    assert counts["rows"] == some.height and counts["sampled_from"] == grown.height
    assert sum(counts["categories"].values()) == some.height

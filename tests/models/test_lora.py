"""LoRA on a tiny random XLM-R: the head is trained and saved, plain peft loads it, and a killed run goes on."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tsirius.errors import UserError
from tsirius.models import encode, load, lora
from tsirius.models.classifier import Classifier, Description

NAMES = ["посуда", "обувь", "одежда", "нет товара"]
TRAIN = lora.Rows(
    ["кружка", "тарелки", "кастрюля суп", "тапочки", "ботинки пятка", "туфли", "платье", "заказ не пришёл", "спасибо"],
    [0, 0, 0, 1, 1, 1, 2, 3, 3],
)
VALID = lora.Rows(["кружка", "ботинки", "спасибо"], [0, 1, 3])
NOBODY = lora.Rows([], [])
SHIFT = [0.0, 0.5, 0.0, -0.5]
RECIPE = lora.Recipe(
    r=4,
    alpha=8,
    dropout=0.05,
    classifier_dropout=0.1,
    epochs=3,
    learning_rate=1e-2,
    batch_size=2,
    gradient_accumulation=1,
    max_length=32,
    label_smoothing=0.05,
    weight_decay=0.05,
    warmup=0.1,
    evaluations_per_epoch=2,
    early_stopping_patience=9,
)
TEXTS = ["кружка с ручкой", "ботинки", "доставка быстрая " * 20, "!"]

Trained = tuple[lora.Lora, dict[str, Any], Path]

PLAIN_PEFT = """
import sys, json, torch
from peft import AutoPeftModelForSequenceClassification, PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer
folder, base, texts, count = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4])
given = AutoTokenizer.from_pretrained(f"{folder}/tokenizer")(
    texts, padding=True, truncation=True, max_length=32, return_tensors="pt"
)
auto = AutoPeftModelForSequenceClassification.from_pretrained(f"{folder}/adapter", num_labels=count)
plain = PeftModel.from_pretrained(
    AutoModelForSequenceClassification.from_pretrained(base, num_labels=count), f"{folder}/adapter"
)
with torch.inference_mode():
    print(json.dumps([model.eval()(**given).logits.tolist() for model in (auto, plain)]))
"""


def fit(
    model: Path, scratch: Path, *, valid: lora.Rows = VALID, recipe: lora.Recipe = RECIPE
) -> tuple[lora.Lora, dict[str, Any]]:
    scratch.mkdir(exist_ok=True)
    return lora.fit(TRAIN, valid, model=str(model), names=NAMES, shift=SHIFT, recipe=recipe, seed=1, scratch=scratch)


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    scratch = tmp_path_factory.mktemp("scratch")
    return *fit(tiny_model, scratch), scratch


@pytest.fixture(scope="module")
def saved(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    folder.mkdir()
    trained[0].save(folder)
    return folder


def test_it_learns(tiny_model: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, learning_rate=3e-3, epochs=40, evaluations_per_epoch=1)
    model, notes = fit(tiny_model, tmp_path / "scratch", valid=NOBODY, recipe=recipe)
    assert np.mean(model.logits(TRAIN.texts).argmax(axis=1) == TRAIN.labels) > 0.6  # 0.33 are one category's
    assert notes["evaluations"] == []


def test_notes_and_layers(trained: Trained) -> None:
    model, notes, _ = trained
    assert notes["steps"] == 15
    assert [evaluation["step"] for evaluation in notes["evaluations"]] == [3, 6, 9, 12, 15]
    assert model.model.peft_config["default"].target_modules == {"query", "key", "value", "dense"}


def test_the_head_is_trained_and_saved_and_the_encoder_is_not(saved: Path) -> None:
    arrays = load_file(saved / "adapter" / "adapter_model.safetensors")
    head = {name for name in arrays if "lora" not in name}
    assert {name.rpartition("classifier.")[2] for name in head} == {
        "dense.weight", "dense.bias", "out_proj.weight", "out_proj.bias",
    }  # fmt: skip
    assert np.abs(arrays[next(name for name in head if name.endswith("out_proj.bias"))]).max() > 1e-3


def test_plain_peft_gives_the_same_scores_in_a_fresh_process(trained: Trained, saved: Path, tiny_model: Path) -> None:
    expected = trained[0].logits(TEXTS)
    command = [sys.executable, "-c", PLAIN_PEFT, str(saved), str(tiny_model), json.dumps(TEXTS), str(len(NAMES))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert np.allclose(json.loads(done.stdout.splitlines()[-1]), expected, atol=1e-5)
    ours = lora.read(saved, base_model=str(tiny_model), names=NAMES, max_length=32)
    assert np.allclose(ours.logits(TEXTS), expected, atol=1e-6)


@pytest.mark.parametrize("valid", [NOBODY, VALID], ids=["without validation", "with validation"])
def test_a_killed_run_ends_with_the_same_weights(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, valid: lora.Rows
) -> None:
    """Killed in the middle of an epoch of 5 steps, after two checkpoints; the second is not whole."""

    def kill(self: object, args: object, state: Any, control: object, **rest: object) -> None:
        if state.global_step == 7:
            raise KeyboardInterrupt

    whole, notes = fit(tiny_model, tmp_path / "whole", valid=valid)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(lora._Report, "on_step_end", kill)
        fit(tiny_model, tmp_path / "killed", valid=valid)
    (tmp_path / "killed" / "checkpoint-6" / "trainer_state.json").unlink()
    resumed, notes_resumed = fit(tiny_model, tmp_path / "killed", valid=valid)
    assert notes == notes_resumed
    assert np.array_equal(resumed.logits(TEXTS), whole.logits(TEXTS))


def test_a_run_that_had_stopped_early_is_not_trained_on(tiny_model: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, learning_rate=1e-9, early_stopping_patience=1)
    first, notes = fit(tiny_model, tmp_path / "scratch", recipe=recipe)
    again, notes_again = fit(tiny_model, tmp_path / "scratch", recipe=recipe)
    assert notes["steps"] == notes_again["steps"] == 6
    assert np.array_equal(first.logits(TEXTS), again.logits(TEXTS))


def test_the_best_checkpoint_is_kept(trained: Trained, tiny_model: Path) -> None:
    model, _, scratch = trained
    states = [json.loads(path.read_text()) for path in scratch.glob("checkpoint-*/trainer_state.json")]
    best = scratch / Path(max(states, key=lambda state: state["global_step"])["best_model_checkpoint"]).name
    saved = load_file(best / "adapter_model.safetensors")
    kept = {name.replace(".default", ""): value for name, value in model.model.named_parameters()}
    name = next(name for name in saved if name.endswith("lora_B.weight"))
    assert np.array_equal(kept[name].detach().numpy(), saved[name])


@pytest.mark.parametrize("smoothing", [0.0, 0.05])
def test_accumulated_batches_have_the_gradient_of_one_large_batch(
    tiny_model: Path, tmp_path: Path, smoothing: float
) -> None:
    norms = []
    for batch_size, accumulation in ((8, 1), (2, 4)):
        recipe = dataclasses.replace(
            RECIPE, batch_size=batch_size, gradient_accumulation=accumulation, label_smoothing=smoothing
        )
        torch.manual_seed(0)
        adapted = lora._adapted(str(tiny_model), names=NAMES, recipe=recipe)
        for part in adapted.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        tokenizer = load.tokenizer(str(tiny_model))
        rows = lora._dataset(lora.Rows(["кружка"] * 8, [0, 1, 2, 3] * 2), tokenizer=tokenizer, max_length=32)
        scratch = tmp_path / str(batch_size)
        trainer = lora._trainer(adapted, tokenizer, rows, [], SHIFT, recipe, seed=1, scratch=scratch)
        adapted.train()
        trainer.current_gradient_accumulation_steps = accumulation
        batches, items = trainer.get_batch_samples(
            iter(trainer.get_train_dataloader()), accumulation, torch.device("cpu")
        )
        for batch in batches:
            trainer.training_step(adapted, batch, items)
        norms.append(sum(float(part.grad.norm() ** 2) for part in adapted.parameters() if part.grad is not None) ** 0.5)
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


def test_the_order_of_an_epoch_hangs_on_seed_and_epoch_alone() -> None:
    order = lora._Order([1, 9, 3, 4, 5, 2], 2, seed=3)
    first = list(order)
    torch.manual_seed(99)
    assert list(order) == first and sorted(first) == list(range(6))
    order.set_epoch(1)
    assert sorted(order) == list(range(6))


def test_scores_do_not_hang_on_the_batch(trained: Trained) -> None:
    model = trained[0]
    together = model.logits(TEXTS)
    alone = np.concatenate([model.logits([text]) for text in TEXTS])
    assert np.allclose(together, alone, atol=1e-5)
    assert model.logits([]).shape == (0, len(NAMES))
    assert len(encode.token_ids(model.tokenizer, ["слово " * 500], max_length=32)[0]) == 32


def test_a_classifier_loads_it_and_says_what_is_missing(
    trained: Trained, saved: Path, tiny_model: Path, tmp_path: Path
) -> None:
    folder, base = tmp_path / "model", tmp_path / "base"
    shutil.copytree(saved, folder)
    shutil.copytree(tiny_model, base)
    Description("lora", NAMES, "нет товара", SHIFT, str(base), load.weights_fingerprint(str(base)), 32).save(folder)
    predicted = Classifier.load(folder).predict(TEXTS)
    expected = trained[0].logits([text.strip() for text in TEXTS]) + np.array(SHIFT)
    assert predicted == [NAMES[place] for place in expected.argmax(axis=1)]

    weights = base / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(UserError, match="not those that the model was trained on"):
        Classifier.load(folder)
    weights.write_bytes(whole)

    config = folder / "adapter" / "adapter_config.json"
    assert json.loads(config.read_text())["target_modules"] == ["dense", "key", "query", "value"]
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"\x08")
    with pytest.raises(UserError, match="does not fit"):
        Classifier.load(folder)
    config.unlink()
    with pytest.raises(UserError, match=r"has no adapter/adapter_config\.json"):
        Classifier.load(folder)
    shutil.rmtree(base)
    with pytest.raises(UserError, match="no such model"):
        Classifier.load(folder)


def test_nothing_is_printed_to_stdout(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tiny_model, tmp_path / "scratch", recipe=dataclasses.replace(RECIPE, epochs=1))
    assert capsys.readouterr().out == ""


def test_a_long_text_is_cut_to_what_the_model_can_read(tiny_model: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, max_length=256, epochs=1)
    model, _ = lora.fit(
        lora.Rows(["суп " * 500, *TRAIN.texts], [0, *TRAIN.labels]), NOBODY, model=str(tiny_model), names=NAMES,
        shift=SHIFT, recipe=recipe, seed=0, scratch=tmp_path,
    )  # fmt: skip
    assert model.max_length == 128
    assert np.isfinite(model.logits(["кружка " * 500])).all()

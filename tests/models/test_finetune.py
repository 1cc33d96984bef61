"""Fine-tuning a tiny random XLM-R: what is learned, kept and loaded again, and that a killed run goes on."""

import dataclasses
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from safetensors.numpy import load_file, save_file

from tsirius.errors import UserError
from tsirius.models import adapters, checkpoint, encode, finetune, hub, load, saved_encoder
from tsirius.models.classifier import Classifier, Description

NAMES = ["посуда", "обувь", "одежда", "нет товара"]
TRAIN = finetune.Rows(
    ["кружка", "тарелки", "кастрюля суп", "тапочки", "ботинки пятка", "туфли", "платье", "заказ не пришёл", "спасибо"],
    [0, 0, 0, 1, 1, 1, 2, 3, 3],
    [0.9, 1.0, 0.5, 0.7, 0.8, 0.9, 0.6, 1.0, 0.4],
)
VALID = finetune.Rows(["кружка", "ботинки", "спасибо"], [0, 1, 3])
NOBODY = finetune.Rows([], [])
SHIFT = [0.0, 0.5, 0.0, -0.5]
RECIPE = finetune.Recipe(
    method="lora",
    r=4,
    alpha=8,
    dropout=0.05,
    classifier_dropout=0.1,
    epochs=3,
    learning_rate=1e-2,
    layer_decay=1.0,
    batch_size=2,
    batch_tokens=4096,
    max_length=32,
    label_smoothing=0.05,
    imbalance="none",
    weight_decay=0.05,
    warmup=0.1,
    max_grad_norm=1.0,
    gradient_checkpointing=False,
    evaluations_per_epoch=2,
    evaluation_steps=0,
    early_stopping_metric="weighted_f1",
    early_stopping_patience=9,
)
TEXTS = ["кружка с ручкой", "ботинки", "доставка быстрая " * 20, "!"]
QLORA = pytest.param(
    "qlora",
    marks=pytest.mark.skipif(
        importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes (the extra gpu) is not installed"
    ),
)
METHODS = ["lora", "full", QLORA]


@dataclasses.dataclass
class Trained:
    """A model that was trained, what it scores, and the folder that it was saved in."""

    method: Any
    made: Any
    notes: dict[str, Any]
    scores: np.ndarray
    folder: Path
    scratch: Path


def fit(
    model: Path, scratch: Path, *, valid: finetune.Rows = VALID, train: finetune.Rows = TRAIN, **changes: Any
) -> tuple[Any, dict[str, Any]]:
    scratch.mkdir(exist_ok=True)
    recipe = dataclasses.replace(RECIPE, **changes)
    return finetune.fit(
        finetune.Job(train, valid, model=str(model), names=NAMES, shift=SHIFT, recipe=recipe, seed=1, scratch=scratch)
    )


def scores(made: Any, model: Path, texts: list[str] = TEXTS) -> np.ndarray:
    return encode.logits(made, load.tokenizer(str(model)), texts, max_length=32, half=None)


def training(model: Path, rows: finetune.Rows = TRAIN, **changes: Any) -> finetune.Training:
    recipe = dataclasses.replace(RECIPE, **changes)
    torch.manual_seed(0)
    made = finetune.build(str(model), names=NAMES, recipe=recipe)
    for part in made.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    return finetune.Training(
        made, load.tokenizer(str(model)), rows, recipe=recipe, categories=len(NAMES), max_length=32, seed=1
    )


def describe(folder: Path, method: Any, base: Path, parts: list[str]) -> None:
    known = hub.missing({path.name for path in base.iterdir()}) == ""
    Description(
        kind=method, names=NAMES, none="нет товара", prior=None, prior_shift=SHIFT, base_model=str(base),
        base_fingerprint=hub.fingerprint(str(base)) if known else "", max_length=32, parts=parts,
    ).save(folder)  # fmt: skip


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder with larger weights, so that scores hang on the text."""
    path = tiny.build(tmp_path_factory.mktemp("models") / "tiny-xlm-roberta")
    arrays = load_file(path / "model.safetensors")
    for name in arrays:
        if ".layer." in name and name.endswith("weight") and "LayerNorm" not in name:
            arrays[name] = arrays[name] * 8
    save_file(arrays, path / "model.safetensors", metadata={"format": "pt"})
    return path


@pytest.fixture(scope="module", params=METHODS)
def trained(request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    scratch, folder = tmp_path_factory.mktemp("scratch"), tmp_path_factory.mktemp("saved")
    made, notes = fit(tiny_model, scratch, method=request.param)
    expected = scores(made, tiny_model)
    for part in saved_encoder.save(
        made, folder, method=request.param, base_model=str(tiny_model), names=NAMES, merged=True
    ):
        describe(part, request.param, tiny_model, [])
    return Trained(request.param, made, notes, expected, folder, scratch)


FRESH = """
import sys, json, warnings
from pathlib import Path
warnings.simplefilter("error", UserWarning)
import torch
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from tsirius.models.classifier import Classifier
texts, folder, count, found = json.loads(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), {}
for form in ("adapter", "merged"):
    if (folder / form).is_dir():
        classifier = Classifier.load(folder / form)
        found[form] = classifier.scorer.logits(texts).tolist()
        found[f"{form} names"] = classifier.names
def plain(model, form):
    given = AutoTokenizer.from_pretrained(folder / form)(
        texts, padding=True, truncation=True, max_length=32, return_tensors="pt"
    )
    with torch.inference_mode():
        return model.eval()(**given).logits.tolist()
if sys.argv[4] == "lora":
    model = AutoPeftModelForSequenceClassification.from_pretrained(folder / "adapter", num_labels=count)
    found["plain peft"] = plain(model, "adapter")
model, loading = AutoModelForSequenceClassification.from_pretrained(folder / "merged", output_loading_info=True)
found["plain transformers"] = plain(model, "merged")
found["id2label"] = model.config.id2label
found["not loaded"] = [
    sorted(map(str, loading[name])) for name in ("missing_keys", "mismatched_keys", "unexpected_keys")
]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_a_fresh_process_gives_the_same_scores_by_every_way_in(trained: Trained) -> None:
    """Ours, plain peft (after lora: qlora's adapter belongs to the rounded encoder) and plain transformers."""
    command = [sys.executable, "-c", FRESH, json.dumps(TEXTS), str(trained.folder), str(len(NAMES)), trained.method]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert trained.method == "lora" or "newly initialized" not in done.stderr  # plain peft's own way in draws a head
    found = json.loads(done.stdout.splitlines()[-1])
    assert np.abs(trained.scores - trained.scores.mean(axis=0)).max() > 0.01, "texts are told apart"
    ways = {"merged": 1e-4, "plain transformers": 1e-4}
    ways |= {"full": {"merged": 1e-5}, "lora": {"adapter": 1e-5, "plain peft": 1e-5}, "qlora": {"adapter": 1e-5}}[
        trained.method
    ]
    for way, tolerance in ways.items():
        assert np.allclose(found[way], trained.scores, rtol=0, atol=tolerance), way
    assert found["merged names"] == found.get("adapter names", NAMES) == NAMES
    assert found["id2label"] == {str(place): name for place, name in enumerate(NAMES)}
    assert found["not loaded"] == [[], [], []]


def test_the_head_is_trained_and_saved_and_the_encoder_is_not(trained: Trained, tiny_model: Path) -> None:
    if trained.method == "full":
        before = load_file(tiny_model / "model.safetensors")
        after = load_file(trained.folder / "merged" / "model.safetensors")
        shared = before.keys() & after.keys()
        assert len(shared) > 30 and sum(not np.array_equal(before[name], after[name]) for name in shared) > 30
        return
    arrays = load_file(trained.folder / "adapter" / "adapter_model.safetensors")
    head = {name for name in arrays if "lora" not in name}
    assert {name.rpartition("classifier.")[2] for name in head} == {
        "dense.weight", "dense.bias", "out_proj.weight", "out_proj.bias",
    }  # fmt: skip
    assert np.abs(arrays[next(name for name in head if name.endswith("out_proj.bias"))]).max() > 1e-3
    config = json.loads((trained.folder / "adapter" / "adapter_config.json").read_text())
    assert config["target_modules"] == ["dense", "key", "query", "value"]
    assert "classifier" in config["modules_to_save"]
    assert not any("classifier" in name and "lora" in name for name in arrays), "the head is not adapted inside"


def without(name: str) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        arrays = load_file(path)
        lost = next(key for key in arrays if key.endswith(name))
        save_file({key: value for key, value in arrays.items() if key != lost}, path, metadata={"format": "pt"})

    return harm


@pytest.mark.parametrize("name", ["classifier.dense.weight", "out_proj.bias", "query.lora_B.weight"])
def test_a_part_that_would_come_back_random_is_refused(trained: Trained, tmp_path: Path, name: str) -> None:
    form, file = (
        ("merged", "model.safetensors") if trained.method == "full" else ("adapter", "adapter_model.safetensors")
    )
    shutil.copytree(trained.folder / form, tmp_path / form)
    without(name.replace("lora_B.", "") if form == "merged" else name)(tmp_path / form / file)
    with pytest.raises(UserError, match=f"no trained weights for|does not fit .*{name}"):
        Classifier.load(tmp_path / form)


def test_notes(trained: Trained) -> None:
    assert trained.notes["steps"] == 15
    assert [evaluation["step"] for evaluation in trained.notes["evaluations"]] == [3, 6, 9, 12, 15]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_it_learns(tiny_model: Path, tmp_path: Path, method: str) -> None:
    made, notes = fit(tiny_model, tmp_path / "scratch", valid=NOBODY, method=method, learning_rate=3e-3, epochs=40)
    assert np.mean(scores(made, tiny_model, list(TRAIN.texts)).argmax(axis=1) == TRAIN.labels) > 0.6  # 0.33: always one
    assert notes["evaluations"] == []


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def unbroken(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[np.ndarray, Any]]:
    """The scores and the notes of a training that nothing interrupts, made once for each kind."""

    @cache
    def made(method: str, *, validated: bool) -> tuple[np.ndarray, Any]:
        folder = tmp_path_factory.mktemp("whole")
        whole, notes = fit(tiny_model, folder, valid=VALID if validated else NOBODY, method=method)
        notes.pop("tokens_per_second")
        return scores(whole, tiny_model), notes

    return made


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("valid", [NOBODY, VALID], ids=["without validation", "with validation"])
@pytest.mark.parametrize("at", [1, 7, 8])
def test_a_killed_run_ends_with_the_same_weights(
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    valid: finetune.Rows,
    method: str,
    at: int,
    unbroken: Callable[..., tuple[np.ndarray, Any]],
) -> None:
    """Killed before the first checkpoint, in the middle of an epoch of 5 steps, and while a checkpoint is written."""
    step, save = finetune.Training.step, checkpoint.save_file

    def kill(self: finetune.Training, number: int) -> None:
        if number == at and at != 8:
            raise Killed
        step(self, number)

    def tear(tensors: Any, path: Path) -> None:
        if at == 8 and path.name == checkpoint.OPTIMISER and (tmp_path / "killed" / "last").exists():
            path.write_bytes(b"torn")
            raise Killed
        save(tensors, path)

    whole, notes = unbroken(method, validated=valid is VALID)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(finetune.Training, "step", kill)
        patch.setattr(checkpoint, "save_file", tear)
        fit(tiny_model, tmp_path / "killed", valid=valid, method=method)
    torch.manual_seed(99)
    resumed, notes_resumed = fit(tiny_model, tmp_path / "killed", valid=valid, method=method)
    notes_resumed.pop("tokens_per_second")
    assert notes == notes_resumed
    assert np.array_equal(scores(resumed, tiny_model), whole)


def test_a_checkpoint_that_cannot_be_read_is_not_gone_on_from(tiny_model: Path, tmp_path: Path) -> None:
    whole, _ = fit(tiny_model, tmp_path / "scratch")
    for name in ("state.json", "optimiser.safetensors", "weights.safetensors"):
        (tmp_path / "scratch" / "last" / name).write_bytes(b"{")
        again, _ = fit(tiny_model, tmp_path / "scratch")
        assert np.array_equal(scores(again, tiny_model), scores(whole, tiny_model))


@pytest.mark.parametrize("torn", ["last", "best"])
def test_a_run_killed_between_two_renames_goes_on(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: str
) -> None:
    whole, _ = fit(tiny_model, tmp_path / "whole")
    step, taken = finetune.Training.step, []

    def kill(self: finetune.Training, number: int) -> None:
        if number == 8 and 8 not in taken:
            taken.append(8)
            raise Killed
        taken.append(number)
        step(self, number)

    monkeypatch.setattr(finetune.Training, "step", kill)
    with pytest.raises(Killed):
        fit(tiny_model, tmp_path / "killed")
    (tmp_path / "killed" / torn).rename(tmp_path / "killed" / f".{torn}.ab12.replaced")
    taken[:] = [8]
    resumed, _ = fit(tiny_model, tmp_path / "killed")
    assert taken == [8, *range(6, 15)], "steps before the last checkpoint are not taken again"
    assert np.array_equal(scores(resumed, tiny_model), scores(whole, tiny_model))


WORK = """
import sys
from pathlib import Path
from test_finetune import RECIPE, TRAIN, VALID, fit
fit(Path(sys.argv[1]), Path(sys.argv[2]), epochs=int(sys.argv[3]), early_stopping_patience=999)
"""


@pytest.mark.slow
def test_kill_9_and_resume_give_the_same_predictions(tiny_model: Path, tmp_path: Path) -> None:
    epochs, scratch = 60, tmp_path / "killed"
    whole, notes = fit(tiny_model, tmp_path / "whole", epochs=epochs, early_stopping_patience=999)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    for kills in range(3):
        command = [sys.executable, "-c", WORK, str(tiny_model), str(scratch), str(epochs)]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            for seen, _ in enumerate(line for line in process.stderr if line.startswith("  step ")):
                if seen == 10 + 3 * kills:
                    time.sleep(0.03 * kills)
                    os.kill(process.pid, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    state = json.loads((scratch / "last" / "state.json").read_text())
    assert 30 < state["step"] < 300 and not state["finished"]
    resumed, notes_resumed = fit(tiny_model, scratch, epochs=epochs, early_stopping_patience=999)
    assert notes["evaluations"] == notes_resumed["evaluations"] and notes["steps"] == notes_resumed["steps"]
    assert np.array_equal(scores(resumed, tiny_model), scores(whole, tiny_model))


TOGETHER = """
import dataclasses, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from test_finetune import NAMES, RECIPE, SHIFT, TRAIN, VALID
from tsirius.models import adapters, finetune
real = adapters.build
def build(model, **settings):
    made = real(model, **settings)
    for part in made.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0  # each process drops others
    return made
adapters.build = build
made, notes = finetune.fit(finetune.Job(
    TRAIN, VALID, model=sys.argv[1], names=NAMES, shift=SHIFT, recipe=dataclasses.replace(RECIPE, batch_size=4), seed=1,
    scratch=Path(sys.argv[2]),
))
save_file({name: part.detach() for name, part in made.named_parameters() if part.requires_grad}, sys.argv[3])
"""


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tiny_model: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path])
    found = []
    for size in (1, 2):
        scratch = tmp_path / str(size)
        scratch.mkdir()
        running = []
        for rank in range(size):
            environment = {
                **os.environ, "PYTHONPATH": path, "WORLD_SIZE": str(size), "RANK": str(rank), "LOCAL_RANK": str(rank),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            }  # fmt: skip
            out = tmp_path / f"{size}-{rank}.safetensors"
            command = [sys.executable, "-c", TOGETHER, str(tiny_model), str(scratch), str(out)]
            running.append((out, subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)))
        for out, process in running:
            _, said = process.communicate(timeout=300)
            assert process.returncode == 0, said
            found.append(load_file(out))
    alone, *others = found
    for other in others:
        assert other.keys() == alone.keys()
        assert all(np.allclose(alone[name], other[name], atol=1e-4) for name in alone)


def test_an_early_stop_restores_the_best_evaluation(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third evaluation is the best; two worse ones later the training ends with the weights of the third."""
    given = iter([0.2, 0.3, 0.7, 0.6, 0.7, 0.9])
    kept: list[dict[str, Any]] = []
    real = finetune._judge

    def judge(model: Any, *rest: Any, **more: Any) -> Callable[[], dict[str, float]]:
        def score() -> dict[str, float]:
            kept.append({name: part.detach().clone() for name, part in model.named_parameters() if part.requires_grad})
            value = next(given)
            return {**real(model, *rest, **more)(), "weighted_f1": value, "eval_loss": 1 - value}

        return score

    monkeypatch.setattr(finetune, "_judge", judge)
    for metric in ("weighted_f1", "eval_loss"):
        given = iter([0.2, 0.3, 0.7, 0.6, 0.7, 0.9])
        kept.clear()
        changes = {"early_stopping_metric": metric, "early_stopping_patience": 2}
        made, notes = fit(tiny_model, tmp_path / metric, **changes)
        assert notes["steps"] == 15 and len(kept) == 5  # 3 steps, 3 of them, and the epoch's short end
        best = kept[2]
        now = {name: part for name, part in made.named_parameters() if part.requires_grad}
        assert all(torch.equal(now[name], best[name]) for name in best)
        assert not all(torch.equal(now[name], kept[-1][name]) for name in best)
        again, _ = fit(tiny_model, tmp_path / metric, **changes)  # not trained on past the stop
        assert len(kept) == 5
        assert all(torch.equal(part, best[name]) for name, part in again.named_parameters() if part.requires_grad)


def test_evaluation_by_steps(tiny_model: Path, tmp_path: Path) -> None:
    _, notes = fit(tiny_model, tmp_path / "scratch", evaluation_steps=4)
    assert [evaluation["step"] for evaluation in notes["evaluations"]] == [4, 8, 12, 15]


@pytest.mark.parametrize("changes", [{"label_smoothing": 0.0}, {}, {"imbalance": "weights"}, {"imbalance": "logits"}])
def test_the_micro_batches_of_a_step_add_up_to_its_mean_loss(tiny_model: Path, changes: dict[str, Any]) -> None:
    found = []
    for tokens in (4096, 8):
        made = training(tiny_model, batch_tokens=tokens, **changes)
        made.gradients(range(9))
        found.append({name: part.grad.clone() for name, part in made.trained.items()})
    for name, gradient in found[0].items():
        assert torch.allclose(gradient, found[1][name], atol=1e-6), name
    assert any(gradient.abs().max() > 1e-4 for gradient in found[0].values())


def test_the_step_is_that_of_the_reference_loss(tiny_model: Path) -> None:
    """Smoothing and row weights on: the gradient is that of the formula, computed apart from the loop."""
    made = training(tiny_model, label_smoothing=0.1)
    made.gradients(range(9))
    found = {name: part.grad.clone() for name, part in made.trained.items()}
    made.model.zero_grad()
    total, weights = torch.zeros(()), torch.tensor(TRAIN.weights)
    for ids, label, weight in zip(made.ids, TRAIN.labels, weights, strict=True):
        logs = made.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(0)
        total = total - weight * (0.9 * logs[label] + 0.1 * logs.mean())
    (total / weights.sum()).backward()
    for name, gradient in found.items():
        assert torch.allclose(gradient, made.trained[name].grad, atol=1e-6), name


def test_out_of_memory_halves_the_micro_batches(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, _ = fit(tiny_model, tmp_path / "whole", valid=NOBODY)
    real, failed = finetune.Training.gradients, []

    def gradients(self: finetune.Training, rows: Any) -> None:
        if self.budget.tokens > 1024 and self.budget.tokens not in failed:
            failed.append(self.budget.tokens)
            real(self, rows[:1])  # what is left of a failed try must not count
            raise torch.cuda.OutOfMemoryError
        real(self, rows)

    monkeypatch.setattr(finetune.Training, "gradients", gradients)
    made, _ = fit(tiny_model, tmp_path / "scratch", valid=NOBODY)
    assert failed == [4096, 2048] and "micro-batches of 1,024 tokens" in capsys.readouterr().err
    assert np.array_equal(scores(made, tiny_model), scores(whole, tiny_model))


def test_what_is_decayed_and_how_fast_each_layer_learns(tiny_model: Path) -> None:
    base, _ = load.base_classifier(str(tiny_model), names=NAMES, dropout=None)
    groups = adapters.groups(base, learning_rate=1.0, weight_decay=0.1, layer_decay=0.5)
    rate = {id(part): group["lr"] for group in groups for part in group["params"]}
    decay = {id(part): group["weight_decay"] for group in groups for part in group["params"]}
    named = dict(base.named_parameters())
    assert rate.keys() == {id(part) for part in named.values()}
    for name, part in named.items():
        plain = name.endswith("bias") or "LayerNorm" in name
        assert decay[id(part)] == (0.0 if plain else 0.1), name
        expected = {"embeddings": 0.125, "layer.0": 0.25, "layer.1": 0.5}
        assert rate[id(part)] == next((value for key, value in expected.items() if key in name), 1.0), name


def test_the_warm_up_and_the_fall() -> None:
    rates = [finetune._rate(step, total=20, warmup=0.1) for step in range(20)]
    assert rates.index(max(rates)) == 2 and max(rates) == 1.0
    assert 0 < rates[0] < rates[1] < 1 and rates[-1] == pytest.approx(1 / 18)
    assert all(rates[step] > rates[step + 1] for step in range(2, 19))


def test_scores_do_not_hang_on_the_batch(trained: Trained, tiny_model: Path) -> None:
    alone = np.concatenate([scores(trained.made, tiny_model, [text]) for text in TEXTS])
    assert np.allclose(scores(trained.made, tiny_model), alone, atol=1e-5)
    assert scores(trained.made, tiny_model, []).shape == (0, len(NAMES))


def test_a_classifier_loads_it_and_says_what_is_missing(tiny_model: Path, tmp_path: Path) -> None:
    folder, base = tmp_path / "model", tmp_path / "base"
    shutil.copytree(tiny_model, base)
    folder.mkdir()
    made, _ = fit(base, tmp_path / "scratch", epochs=1)
    expected = scores(made, base, [text.strip() for text in TEXTS]) + np.array(SHIFT)
    parts = saved_encoder.save(made, folder, method="lora", base_model=str(base), names=NAMES, merged=True)
    for part in parts:
        describe(part, "lora", base, [])
    describe(folder, "lora", base, ["adapter", "merged"])
    assert Classifier.load(folder).predict(TEXTS) == [NAMES[place] for place in expected.argmax(axis=1)]

    weights = base / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(UserError, match="not those that the model was trained on"):
        Classifier.load(folder / "adapter")
    weights.write_bytes(whole)
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"\x08")
    with pytest.raises(UserError, match="does not fit"):
        Classifier.load(folder / "adapter")
    (folder / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no adapter_model\.safetensors"):
        Classifier.load(folder / "adapter")
    shutil.rmtree(base)
    with pytest.raises(UserError, match="no such model"):
        Classifier.load(folder / "adapter")
    assert len(Classifier.load(folder).predict(TEXTS)) == 4, "what is merged needs no encoder"
    config = folder / "merged" / "config.json"
    told = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**told, "id2label": {**told["id2label"], "1": "LABEL_1"}}), encoding="utf-8")
    with pytest.raises(UserError, match="its labels are not those"):
        Classifier.load(folder)
    for path in (folder / "merged").glob("tokenizer*"):
        path.unlink()
    with pytest.raises(UserError, match="has no tokenizer files"):
        Classifier.load(folder)
    shutil.rmtree(folder / "merged")
    with pytest.raises(UserError, match=r"has no model\.json"):
        Classifier.load(folder)


def test_the_adapters_of_an_ensemble_share_one_encoder(tiny_model: Path, tmp_path: Path) -> None:
    expected = []
    for number in range(3):
        made, _ = fit(
            tiny_model, tmp_path / f"scratch{number}", valid=NOBODY, epochs=1, learning_rate=0.005 * (number + 1)
        )
        expected.append(scores(made, tiny_model))
        part = tmp_path / "model" / "members" / str(number)
        (written,) = saved_encoder.save(
            made, part, method="lora", base_model=str(tiny_model), names=NAMES, merged=False
        )
        describe(written, "lora", tiny_model, [])
        describe(part, "lora", tiny_model, ["adapter"])
    Description(
        "ensemble", NAMES, "нет товара", None, SHIFT, None, None, None, [f"members/{n}" for n in range(3)]
    ).save(tmp_path / "model")
    members = Classifier.load(tmp_path / "model").scorer.members  # type: ignore[attr-defined]  # a Mean
    assert len({id(member.model) for member in members}) == 1
    for member, score in [*zip(members, expected, strict=True), (members[0], expected[0])]:
        assert np.allclose(member.logits(TEXTS), score, atol=1e-5)
    assert not np.allclose(expected[0], expected[1], atol=1e-3)
    without("out_proj.bias")(tmp_path / "model" / "members" / "1" / "adapter" / "adapter_model.safetensors")
    with pytest.raises(UserError, match="does not fit"):
        Classifier.load(tmp_path / "model")


def test_a_hub_name_is_taken_from_the_cache(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "models--nobody--reviews"
    shutil.copytree(trained.folder / "merged", home / "snapshots" / "0")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    given = Classifier.load("nobody/reviews").scorer.logits(TEXTS)
    assert np.allclose(given, trained.scores, atol=1e-4)
    with pytest.raises(UserError, match="nobody/nothing"):
        Classifier.load("nobody/nothing")
    (home / "snapshots" / "0" / "model.json").unlink()
    with pytest.raises(UserError, match=r"has no model\.json"):
        Classifier.load("nobody/reviews")


def test_nothing_is_printed_to_stdout(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, _ = fit(tiny_model, tmp_path / "scratch", epochs=1)
    saved_encoder.save(made, tmp_path, method="lora", base_model=str(tiny_model), names=NAMES, merged=True)
    given = capsys.readouterr()
    assert given.out == "" and "shards" not in given.err


def test_a_long_text_is_cut_to_what_the_model_can_read(tiny_model: Path, tmp_path: Path) -> None:
    long = finetune.Rows(["суп " * 500, *TRAIN.texts], [0, *TRAIN.labels])
    made, notes = fit(tiny_model, tmp_path / "scratch", valid=NOBODY, train=long, max_length=256, epochs=1)
    assert notes["max_length"] == 128
    given = encode.logits(made, load.tokenizer(str(tiny_model)), ["кружка " * 500], max_length=128, half=None)
    assert np.isfinite(given).all()


def test_the_rounded_encoder_is_what_qlora_trained(tiny_model: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes (the extra gpu) is not installed")
    torch.manual_seed(0)
    made = finetune.build(str(tiny_model), names=NAMES, recipe=dataclasses.replace(RECIPE, method="qlora"))
    base, new = load.base_classifier(str(tiny_model), names=NAMES, dropout=None)
    exact = base.roberta.encoder.layer[0].attention.self.query.weight.clone()
    adapters.rounded_to_nf4(base, adapters.parts(base, new, "tiny")[0])
    rounded = base.roberta.encoder.layer[0].attention.self.query.weight
    assert 0.01 < (rounded - exact).abs().max() < 0.1 < exact.abs().max()
    given = torch.eye(64)
    layer = made.base_model.model.roberta.encoder.layer[0].attention.self.query.base_layer
    assert type(layer).__name__ == "Linear4bit" and layer.weight.dtype == torch.uint8
    assert torch.allclose(layer(given) - layer.bias, rounded.T, atol=1e-6)
    assert type(made.base_model.model.classifier.modules_to_save["default"].dense) is torch.nn.Linear


def test_qlora_without_bitsandbytes_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "bitsandbytes" else real(name, *a)
    )
    with pytest.raises(UserError, match=r"tsirius\[gpu\]"):
        adapters.check("qlora")

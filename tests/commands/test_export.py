"""Export: every form predicts the same in a process of its own, and one that does not is refused."""

import json
import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tiny

from tsirius import tables
from tsirius.commands import export as exporting
from tsirius.errors import UserError
from tsirius.models import finetune, hub, linear, saved_encoder
from tsirius.models.classifier import Classifier, Description
from tsirius.store import fingerprint, seal

NAMES = ["посуда", "обувь", "одежда", "нет товара"]
SHIFT = [0.4, -0.3, 0.2, 0.0]
TEXTS = [*tiny.SENTENCES, "ок", "доставка быстрая " * 30, "Ботинки жмут, «кружка» цела!"]

RECIPE = finetune.Recipe(
    method="lora", r=4, alpha=8, dropout=0.05, classifier_dropout=0.1, epochs=2, learning_rate=1e-3, layer_decay=1.0,
    batch_size=4, batch_tokens=4096, max_length=32, label_smoothing=0.05, imbalance="none", weight_decay=0.05,
    warmup=0.1, max_grad_norm=1.0, gradient_checkpointing=False, evaluations_per_epoch=1, evaluation_steps=0,
    early_stopping_metric="weighted_f1", early_stopping_patience=9,
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with its reviews and a LoRA model."""
    root = tmp_path_factory.mktemp("runs") / "shop"
    # Its head is there and scaled: scores differ from text to text, as those of a trained model do.
    base = str(tiny.build_nli(tmp_path_factory.mktemp("encoder"), encoder=tiny_model, labels=NAMES))
    model = root / "train" / "model"
    model.mkdir(parents=True)
    labels = [place // 4 for place in range(16)]
    made, notes = finetune.fit(finetune.Job(
        finetune.Rows(tiny.SENTENCES, labels), finetune.Rows([], []), model=base, names=NAMES, shift=SHIFT,
        recipe=RECIPE, seed=0, scratch=tmp_path_factory.mktemp("scratch"),
    ))  # fmt: skip
    parts = saved_encoder.save(made, model, method="lora", base_model=base, names=NAMES, merged=True)
    for folder in (*parts, model):
        Description(
            kind="lora", names=NAMES, none="нет товара", prior=None, prior_shift=SHIFT, base_model=base,
            temperature=1.5,
            base_fingerprint=hub.fingerprint(base), max_length=notes["max_length"],
            parts=[part.name for part in parts] if folder == model else [],
        ).save(folder)  # fmt: skip
    (root / "ingest").mkdir()
    rows = [(str(place), "a.csv", place + 1, text, text, place) for place, text in enumerate(TEXTS)]
    reviews = pl.DataFrame(rows, schema=dict(tables.REVIEWS), orient="row")
    tables.write(reviews, tables.REVIEWS, root / "ingest" / "reviews.parquet")
    return root


BY_TSIRIUS = """
import json, sys
from tsirius import Classifier
found = Classifier.load(sys.argv[1]).predict_proba(json.loads(sys.argv[2]))
heavy = [name for name in ("torch", "transformers", "sklearn", "onnx") if name in sys.modules]
print(json.dumps({"probabilities": found.tolist(), "heavy": heavy}))
"""
BY_TRANSFORMERS = """
import json, sys
from transformers import AutoModelForSequenceClassification, pipeline
classify = pipeline("text-classification", model=sys.argv[1], top_k=None, device="cpu")
names = [classify.model.config.id2label[place] for place in range(classify.model.config.num_labels)]
texts = json.loads(sys.argv[2])
found = [{said["label"]: said["score"] for said in row} for row in classify(texts, truncation=True, max_length=32)]
print(json.dumps({"probabilities": [[row[name] for name in names] for row in found], "names": names}))
"""


def elsewhere(code: str, folder: Path, texts: list[str]) -> dict[str, object]:
    """What another process says."""
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), json.dumps(texts)], capture_output=True, text=True, check=True
    )
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    "form",
    [pytest.param(form, marks=pytest.mark.slow) if form in ("merged", "onnx") else form for form in exporting.FORMS],
)
def test_every_form_predicts_the_same_in_a_process_of_its_own(
    run: Path, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form.startswith("onnx"):
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    # One of 19 texts of a random model may win by a hair.
    limit = 0.9 if form == "onnx-int8" else exporting.AGREEMENT
    monkeypatch.setattr(exporting, "AGREEMENT", limit)
    folder = exporting.export(run, to=form, out=tmp_path / "out")
    wanted = Classifier.load(run).predict_proba(TEXTS)
    assert len(set(wanted.argmax(axis=1))) > 1, "a model that says one thing shows nothing"
    found = elsewhere(BY_TRANSFORMERS if form == "merged" else BY_TSIRIUS, folder, TEXTS)
    probabilities = np.array(found["probabilities"])
    if form == "onnx-int8":
        assert (probabilities.argmax(axis=1) == wanted.argmax(axis=1)).mean() >= limit
        assert np.abs(probabilities - wanted).max() < 0.2
    else:
        assert np.abs(probabilities - wanted).max() < 1e-4
    if form.startswith("onnx"):
        assert found["heavy"] == [], "an ONNX export needs no torch"
    if form == "merged":
        assert found["names"] == NAMES
    parity = json.loads((folder / "parity.json").read_text(encoding="utf-8"))
    assert parity["form"] == form and parity["rows"] == len(TEXTS) and parity["agreement"] >= limit
    if form == "adapter":
        assert exporting.export(run, to=form, out=tmp_path / "out") == folder, "an earlier export is replaced"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["adapter", "merged", "onnx"])
def test_an_export_reads_long_texts_as_the_run_does(run: Path, tmp_path: Path, form: str) -> None:
    if form == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    shutil.copytree(run, tmp_path / "run")
    for path in (tmp_path / "run").rglob("model.json"):
        said = path.read_text(encoding="utf-8").replace('"long_texts": "truncate"', '"long_texts": "windows"')
        path.write_text(said, encoding="utf-8")
    folder = exporting.export(tmp_path / "run", to=form, out=tmp_path / "out")
    texts = ["доставка быстрая " * 30 + "тапки жмут", "ок"]
    whole, cut = (Classifier.load(path).predict_proba(texts) for path in (tmp_path / "run", run))
    assert np.abs(whole[0] - cut[0]).max() > 1e-4 and np.allclose(whole[1], cut[1], atol=1e-5)
    if form != "merged":  # a plain transformers model, which knows nothing of windows
        assert np.allclose(Classifier.load(folder).predict_proba(texts), whole, atol=1e-4)


@pytest.mark.slow
def test_the_comparison_takes_reviews_as_a_classifier_does(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    seen: list[list[str]] = []
    monkeypatch.setattr(exporting, "_scores", lambda what, logits, texts: seen.append(texts) or logits(texts))
    monkeypatch.setattr(exporting, "AGREEMENT", 0.9)
    exporting.export(run, to="onnx-int8", out=tmp_path / "out")
    assert seen[0] == seen[1] and sorted(seen[0]) == sorted(set(TEXTS))
    assert [len(text) for text in seen[0]] == sorted(map(len, seen[0]), reverse=True)
    assert not [record for record in caplog.records if "pre-processing" in record.getMessage()]


def test_the_adapter_can_be_moved_with_its_labels(run: Path, tmp_path: Path) -> None:
    folder = exporting.export(run, to="adapter", out=tmp_path / "out")
    shutil.move(folder, tmp_path / "elsewhere")
    assert Classifier.load(tmp_path / "elsewhere").names == NAMES


def test_an_export_that_predicts_something_else_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "_merged", ruined(exporting._merged))
    with pytest.raises(UserError, match="merged does not predict the same"):
        exporting.export(run, to="merged", out=tmp_path / "out")
    assert not list(tmp_path.iterdir()), "nothing is left"


def ruined(merged):  # type: ignore[no-untyped-def]
    def turned(model):  # type: ignore[no-untyped-def]
        made = merged(model)
        made.classifier.out_proj.bias.requires_grad_(False)
        made.classifier.out_proj.weight.data.neg_()
        return made

    return turned


def test_an_export_behind_a_link_is_replaced_and_the_link_stays(run: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for _ in range(2):
        assert exporting.export(run, to="adapter", out=tmp_path / "link") == tmp_path / "link"
        assert (tmp_path / "link").is_symlink() and Classifier.load(tmp_path / "real").names == NAMES


def test_agreement_counts_labels() -> None:
    scores = np.eye(4)[[0, 1, 2, 3] * 50]
    other = scores.copy()
    other[0] = [0, 0, 0, 1]
    found = exporting.compare(scores, other)
    assert found.agreement == 0.995 and found.rows == 200 and found.largest == 1.0


def test_what_cannot_be_exported_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'onnx'"):
        exporting.export(run, to="onx", out=None)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something else"):
        exporting.export(run, to="adapter", out=tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").is_file()
    folder = exporting.export(run, to="adapter", out=tmp_path / "out")
    (folder / "notes").mkdir()
    (folder / "notes" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds something else: notes/thesis\.txt"):
        exporting.export(run, to="adapter", out=tmp_path / "out")
    assert (folder / "notes" / "thesis.txt").is_file()
    shutil.copytree(run / "train" / "model", tmp_path / "model")
    with pytest.raises(UserError, match="lies in no run's folder"):
        exporting.export(tmp_path / "model", to="adapter", out=tmp_path / "out")
    folder = tmp_path / "linear"
    folder.mkdir()
    linear.fit(["кружка", "тапки"], [0, 1], weights=None, categories=4, c=10.0, rounds=9, embed=None).save(folder)
    Description("linear", NAMES, "нет товара", None, SHIFT, None, None, None, []).save(folder)
    with pytest.raises(UserError, match="its folder is all there is to export"):
        exporting.export(folder, to="onnx", out=None)


def test_a_member_of_an_ensemble_is_exported_beside_the_runs_stages(run: Path, tmp_path: Path) -> None:
    root = tmp_path / "shop"
    shutil.copytree(run / "ingest", root / "ingest")
    model = root / "train" / "model"
    shutil.copytree(run / "train" / "model", model / "members" / "seed0-fold0")
    described = json.loads((run / "train" / "model" / "model.json").read_text(encoding="utf-8"))
    described |= {"kind": "ensemble", "parts": ["members/seed0-fold0"], "base_model": None, "base_fingerprint": None}
    (model / "model.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(UserError, match="name a member's folder, such as") as refused:
        exporting.export(root, to="merged", out=None)
    named = Path(str(refused.value).rpartition("such as ")[2].removesuffix("."))
    before = fingerprint(root / "train")
    folder = exporting.export(named, to="merged", out=None)
    assert folder == root / "export" / "members-seed0-fold0-merged"
    assert json.loads((folder / "parity.json").read_text(encoding="utf-8"))["agreement"] == 1
    assert fingerprint(root / "train") == before, "a stage's folder with a new file would be made anew"


@pytest.mark.slow
def test_a_broken_onnx_export_is_refused(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = exporting.export(run, to="onnx", out=tmp_path / "out")
    (folder / "checksums.json").unlink()
    for harm in ("model.onnx", "tokenizer.json"):
        whole = (folder / harm).read_bytes()
        (folder / harm).write_bytes(whole[:50])
        with pytest.raises(UserError, match="its files are broken"):
            Classifier.load(folder)
        (folder / harm).unlink()
        with pytest.raises(UserError, match=f"has no {harm}"):
            Classifier.load(folder)
        (folder / harm).write_bytes(whole)


def test_a_flip_in_an_exported_model_is_refused(run: Path, tmp_path: Path) -> None:
    folder = exporting.export(run, to="adapter", out=tmp_path / "out")
    shutil.move(folder, tmp_path / "elsewhere")
    draw = random.Random(0)
    for path in sorted((tmp_path / "elsewhere").iterdir()):
        if path.name in ("README.md", "parity.json"):
            continue
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"altered or damaged|has no"):
            Classifier.load(tmp_path / "elsewhere")
        path.unlink()
        if path.name != "checksums.json":
            with pytest.raises(UserError, match=f"(has|holds) no {path.name}"):
                Classifier.load(tmp_path / "elsewhere")
        path.write_bytes(whole)
    (tmp_path / "elsewhere" / "README.md").write_text("what a person writes there")
    assert Classifier.load(tmp_path / "elsewhere").names == NAMES


@pytest.mark.slow
def test_several_exports_to_one_folder_at_once(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(folder: Path, description: Description, texts: list[str], *, to: str, work: Path) -> exporting.Parity:
        shutil.copytree(folder / "adapter", work, dirs_exist_ok=True)
        return exporting.Parity(rows=1, agreement=1.0, largest=0.0, spread=1.0)

    monkeypatch.setattr(exporting, "_write", write)
    with ThreadPoolExecutor(3) as pool:
        done = [pool.submit(exporting.export, run, to="adapter", out=tmp_path / "out") for _ in range(60)]
        assert {one.result() for one in done} == {tmp_path / "out"}
    assert Classifier.load(tmp_path / "out").names == NAMES
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_export_of_a_damaged_model_is_refused(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    for stage in ("ingest", "train"):
        seal(tmp_path / "run" / stage, {})
    for harmed in ("train/model/adapter/adapter_model.safetensors", "ingest/reviews.parquet"):
        path = tmp_path / "run" / harmed
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[-5] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="altered or damaged"):
            exporting.export(tmp_path / "run", to="adapter", out=tmp_path / "out")
        path.write_bytes(whole)
    assert not (tmp_path / "out").exists()


def test_a_link_to_a_folder_in_an_earlier_export_is_not_lost(run: Path, tmp_path: Path) -> None:
    folder = exporting.export(run, to="adapter", out=tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (folder / "link").symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="holds something else: link"):
        exporting.export(run, to="adapter", out=tmp_path / "out")
    assert (folder / "link").is_symlink()


def test_without_onnxruntime_one_line_says_what_to_install(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        UserError, match=r"is not installed. Install what it needs with: pip install 'tsirius\[export\]'"
    ):
        exporting.export(run, to="onnx", out=None)


def test_a_head_without_a_bias_takes_a_temperature_but_no_shift() -> None:
    from types import SimpleNamespace

    import torch

    head = torch.nn.Linear(3, 2, bias=False)
    model, before = SimpleNamespace(modules=lambda: [head]), head.weight.detach().clone()
    assert not exporting.fold(model, [0.0, 0.5], temperature=2.0)
    torch.testing.assert_close(head.weight.detach(), before)
    assert exporting.fold(model, [0.3, 0.3], temperature=2.0), "a shift of all alike changes nothing"
    torch.testing.assert_close(head.weight.detach(), before / 2)

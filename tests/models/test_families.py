"""What each recommended family can do, each cell of the table on the page about models: a test.

Embeddings are compared in ``test_pooling.py``. The models are tiny and random, in their published layout on disk.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import tiny
from families import DECODERS, ENCODERS_ALONE, FAMILIES, RERANKERS, SHAPES, XNLI, build, plain, table
from shop import SAMPLE
from test_finetune import NAMES, fit
from test_finetune import describe as described

import tsirius
from tsirius.errors import UserError
from tsirius.labellers import nli
from tsirius.models import load, saved_encoder
from tsirius.models.classifier import Classifier

TRAINABLE = [name for name, family in FAMILIES.items() if family.shape not in ENCODERS_ALONE]
ONE_OF_A_SHAPE = list({FAMILIES[name].shape: name for name in TRAINABLE}.values())
TEXTS = [*tiny.SENTENCES, "ок"]


@pytest.fixture(scope="module")
def words(tiny_model: Path) -> Any:
    return load.tokenizer(str(tiny_model))


def test_every_cell_of_the_table_is_a_test() -> None:
    """Rerankers are tested by kind: with one score, and Qwen3."""
    assert set(RERANKERS) <= {*tiny.PAIRS, "Qwen3"} and len(FAMILIES) == 16
    assert {family.shape for family in FAMILIES.values()} == set(SHAPES)
    rows = table(russian=False).splitlines()[2:]
    assert [row.count("| yes") for row in rows] == [4 if name in TRAINABLE else 1 for name in FAMILIES]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_teacher_of_each_shape_scores_as_its_class_does(shape: str, words: Any, tmp_path: Path) -> None:
    """With an inference head, on pairs as its tokenizer joins them, one pair at a time and all at once."""
    import torch
    import transformers

    path = plain(shape, words, tmp_path / "nli", scale=10.0, head="ForSequenceClassification")
    nli.check(nli.Config(model=str(path)))
    judge = nli.scorer(str(path), precision="fp32", max_length=48, batch_tokens=4096)
    asked = ["Это отзыв о посуде.", "Обувь"]
    found = judge.logits(TEXTS, asked, advance=None)
    exact = transformers.AutoModelForSequenceClassification.from_pretrained(path).eval()
    if exact.config.pad_token_id is None:
        exact.config.pad_token_id = words.pad_token_id
    with torch.inference_mode():
        expected = [[exact(torch.tensor([words(text, one, truncation="only_first", max_length=48)["input_ids"]]))
                     .logits[0, [XNLI.index("contradiction"), XNLI.index("entailment")]].tolist() for one in asked]
                    for text in TEXTS]  # fmt: skip
    assert np.ptp(expected, axis=0).max() > 0.05, "texts differ"
    np.testing.assert_allclose(found, expected, atol=2e-4, rtol=1e-4)


def train(name: str, method: str, words: Any, path: Path) -> tuple[Any, Path, Path]:
    """A family's model, trained; its own folder, and that with what was saved."""
    build(name, FAMILIES[name], words, path, width=64, scale=10.0)
    made, _ = fit(path / name, path / "scratch", method=method, epochs=1, evaluations_per_epoch=1)
    saved = path / "saved"
    saved.mkdir()
    parts = saved_encoder.save(made, saved, method=method, base_model=str(path / name), names=NAMES, merged=True)  # type: ignore[arg-type]  # a method
    for part in parts:
        described(part, method, path / name, [])
    return made, path / name, saved


@pytest.mark.parametrize(
    "name", [name if name in ONE_OF_A_SHAPE else pytest.param(name, marks=pytest.mark.slow) for name in TRAINABLE]
)
def test_lora(name: str, words: Any, tmp_path: Path) -> None:
    """The adapter, read again, and the merged model score as what was trained, alone and beside others."""
    made, base, saved = train(name, "lora", words, tmp_path)
    adapter, merged = (Classifier.load(saved / form).scorer for form in ("adapter", "merged"))
    expected = adapter.logits(TEXTS)
    assert np.ptp(expected, axis=0).max() > 0.05, "texts differ"
    np.testing.assert_allclose(merged.logits(TEXTS), expected, atol=1e-4)
    np.testing.assert_allclose(np.concatenate([adapter.logits([text]) for text in TEXTS]), expected, atol=1e-4)
    untrained, _ = load.base_classifier(str(base), names=NAMES, dropout=None)
    before = dict(untrained.base_model.named_parameters())
    after = made.merge_and_unload()
    changed = [key for key, part in after.base_model.named_parameters() if not np.array_equal(
        part.detach().numpy(), before[key].detach().numpy())]  # fmt: skip
    linear = sum(1 for key, part in before.items() if part.dim() == 2 and "embed" not in key and "position" not in key)
    assert len(changed) == linear, "every linear layer of the encoder learns"


@pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes (extra gpu) is not installed"
)
@pytest.mark.parametrize("name", ONE_OF_A_SHAPE)
def test_qlora(name: str, words: Any, tmp_path: Path) -> None:
    _, _, saved = train(name, "qlora", words, tmp_path)
    adapter, merged = (Classifier.load(saved / form).scorer for form in ("adapter", "merged"))
    expected = adapter.logits(TEXTS)
    assert np.ptp(expected, axis=0).max() > 0.05, "texts differ"
    np.testing.assert_allclose(merged.logits(TEXTS), expected, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in TRAINABLE])
def test_an_encoder_without_its_decoder_makes_embeddings_alone(name: str, words: Any, tmp_path: Path) -> None:
    build(name, FAMILIES[name], words, tmp_path)
    for refused in (
        lambda: fit(tmp_path / name, tmp_path / "scratch"),
        lambda: load.check(str(tmp_path / name), head=load.CLASSIFIER, new_head=True),
    ):
        with pytest.raises(
            UserError, match="holds the encoder of a t5 alone, which makes embeddings and has no classif"
        ):
            refused()


CONFIG = """
seed = 0
[ingest]
train = "reviews.csv"
test = "reviews.csv"
categories = "categories.toml"
[label]
use = ["lexicon", "matcher"]
encoder = "{model}"
[select]
sure = 0.0
grey = 0.0
doubtful = "keep"
[train]
use = "{method}"
prior_correction = {prior}
model = "{model}"
epochs = 1
max_length = 40
"""
FRESH = """
import json, sys
import tsirius
for form in json.loads(sys.argv[1]):
    tsirius.predict_file(f"runs/shop/export/{form}", "reviews.csv", f"{form}.csv")
    if form == "onnx":
        assert "torch" not in sys.modules and "transformers" not in sys.modules
tsirius.predict_file("runs/shop", "reviews.csv", "run.csv")
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_the_whole_road(name: str, words: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labelled by its embeddings, trained from its weights, exported, and predicted with in a process of its own."""
    build(name, FAMILIES[name], words, tmp_path, width=64, scale=10.0)
    monkeypatch.chdir(tmp_path)
    rows = pl.read_csv(SAMPLE / "reviews.csv").select("text").head(80)
    rows.write_csv("reviews.csv")
    Path("categories.toml").write_bytes((SAMPLE / "categories.toml").read_bytes())
    trainable = name in TRAINABLE
    method, prior = "lora" if trainable else "linear", str(FAMILIES[name].shape not in DECODERS).lower()
    Path("shop.toml").write_text(CONFIG.format(model=name, method=method, prior=prior), encoding="utf-8")
    if not trainable:  # linear: its embeddings beside words
        with Path("shop.toml").open("a", encoding="utf-8") as file:
            file.write(f'linear_encoder = "{name}"\n')
    tsirius.run("shop.toml")
    votes = pl.read_parquet("runs/shop/label/votes.parquet").filter(labeller="matcher")
    assert votes.height == 80 and votes["said"].null_count() == 0
    assert pl.read_parquet("runs/shop/label/labels.parquet")["label"].n_unique() > 1
    forms = ["onnx", "adapter", "merged"] if trainable else []
    for form in forms:
        tsirius.export("runs/shop", to=form)
        assert json.loads(Path(f"runs/shop/export/{form}/parity.json").read_text())["agreement"] >= 0.995
    answered = [form for form in forms if form != "merged"]  # that one is for other programs
    subprocess.run([sys.executable, "-c", FRESH, json.dumps(answered)], check=True)
    expected = pl.read_csv("run.csv")
    submission = pl.read_csv("runs/shop/submission.csv")
    assert expected.height == 80 and expected["category"].to_list() == submission["category"].to_list()
    for form in answered:
        found = pl.read_csv(f"{form}.csv")
        assert (found["category"] == expected["category"]).mean() >= 0.98
        np.testing.assert_allclose(found["confidence"], expected["confidence"], atol=2e-3)

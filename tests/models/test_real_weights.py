"""A real model of the hub, multilingual-e5-small: embeddings, LoRA and ONNX. ``benchmarks/real_weights.py`` writes it.

TSIRIUS_REAL_WEIGHTS=FOLDER pytest -m slow tests/models/test_real_weights.py
"""

import os
from pathlib import Path

import numpy as np
import pytest
import tiny
from test_finetune import NAMES, fit
from test_finetune import describe as described

from tsirius.models import encode, load, onnx, pooling, saved_encoder
from tsirius.models.classifier import Classifier
from tsirius.models.finetune import Rows

FOLDER = Path(os.environ.get("TSIRIUS_REAL_WEIGHTS", "multilingual-e5-small"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (FOLDER / "model.safetensors").is_file(), reason="no folder in TSIRIUS_REAL_WEIGHTS"),
]
TEXTS = [*tiny.SENTENCES, "ok", "суп. Кастрюля " * 40, "Great shoes, warm and light"]


def test_embeddings_are_those_of_sentence_transformers() -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    how = pooling.of(str(FOLDER))
    assert (how.modes, how.prompt, how.category_prompt) == (("mean",), "query: ", "query: "), how
    reference = SentenceTransformer(
        modules=[Transformer(str(FOLDER), max_seq_length=256), Pooling(384, "mean")], device="cpu"
    )
    expected = reference.encode(TEXTS, prompt="query: ", normalize_embeddings=True)
    embed = encode.embedder(str(FOLDER), max_length=256)
    found = embed(TEXTS)
    assert (found * expected).sum(axis=1).min() >= 0.99999
    np.testing.assert_allclose(np.concatenate([embed([text]) for text in TEXTS]), found, atol=1e-5)
    wrong = encode.embedder(str(FOLDER), pooling.of(str(FOLDER), mode="cls"), max_length=256)(TEXTS)
    assert (wrong * expected).sum(axis=1).min() < 0.99


def test_it_knows_what_a_review_speaks_of() -> None:
    embed = encode.embedder(str(FOLDER), max_length=256)
    names = ["посуда: кастрюли, кружки, тарелки", "обувь: ботинки, туфли, тапочки", "одежда: платья, куртки"]
    cosines = embed(TEXTS[:10]) @ embed(names).T
    assert (cosines.argmax(axis=1) == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]).mean() >= 0.8


def test_lora_learns_and_onnx_scores_the_same(tmp_path: Path) -> None:
    labels = [0] * 4 + [1] * 4 + [2] * 2 + [3] * 4
    rows = Rows(TEXTS[:14], labels)
    made, _ = fit(FOLDER, tmp_path / "scratch", train=rows, valid=rows, epochs=6, learning_rate=2e-3, max_length=64)
    adapter = saved_encoder.save(made, tmp_path, method="lora", base_model=str(FOLDER), names=NAMES, merged=False)[0]
    described(adapter, "lora", FOLDER, [])
    expected = Classifier.load(adapter).scorer.logits(TEXTS)
    assert (expected[:14].argmax(axis=1) == labels).mean() >= 0.9
    (tmp_path / "onnx").mkdir()
    onnx.write(made.merge_and_unload().float().eval(), load.tokenizer(str(FOLDER)), tmp_path / "onnx", int8=False)
    exported = onnx.load(tmp_path / "onnx", categories=len(NAMES), max_length=32, windows=False)
    np.testing.assert_allclose(exported.logits(TEXTS), expected, atol=1e-3)

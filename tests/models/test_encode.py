"""How far an encoder reads, what fills up its batches, and that encoders of every kind are trained and loaded."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import tiny
import torch
import transformers
from test_finetune import NAMES, NOBODY, SHIFT, TEXTS, fit, scores

from tsirius.errors import UserError
from tsirius.models import encode, finetune, hub, load, saved_encoder
from tsirius.models.batching import BATCH_TOKENS
from tsirius.models.classifier import Classifier, Description
from tsirius.models.pooling import Pooling
from tsirius.stages import evaluate, predict

POSITIONS = 40
SMALL = {"num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": POSITIONS, "pad_token_id": 1}
USUAL = {**SMALL, "hidden_size": 64, "intermediate_size": 128}
KINDS: dict[str, tuple[dict[str, Any], int]] = {
    "XLMRoberta": (USUAL, POSITIONS - 2),  # the padding has the second row of the table
    "MPNet": (USUAL, POSITIONS - 2),
    "Bert": (USUAL, POSITIONS),
    "DistilBert": ({**SMALL, "dim": 64, "hidden_dim": 128, "n_layers": 2, "n_heads": 4}, POSITIONS),
    "ModernBert": ({**USUAL, "bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2}, POSITIONS),
}
"""Settings of each, and the tokens of a text that it reads."""


@pytest.fixture(scope="module", params=list(KINDS))
def encoder(request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("a folder, папка") / f"{request.param} №1"
    words = load.tokenizer(str(tiny_model))
    config = getattr(transformers, f"{request.param}Config")(vocab_size=len(words), **KINDS[request.param][0])
    torch.manual_seed(0)
    getattr(transformers, f"{request.param}Model")(config).save_pretrained(path)
    words.save_pretrained(path)
    return path


def embeddings(model: Any, words: Any, texts: list[str], *, max_length: int) -> Any:
    return encode.Embedder(model, words, Pooling(), [], model.config.hidden_size, max_length)(texts)


def test_a_text_is_read_as_far_as_the_model_can(encoder: Path) -> None:
    made, words = load.encoder(str(encoder), precision="fp32"), load.tokenizer(str(encoder))
    length = encode.longest(made, words, 1000)
    assert length == KINDS[encoder.name.split()[0]][1]
    assert np.isfinite(embeddings(made, words, ["кружка " * 200, "суп"], max_length=length)).all()
    assert max(map(len, encode.token_ids(words, ["кружка " * 200], max_length=length))) == length
    assert encode.longest(made, words, 9) == 9


@pytest.mark.parametrize("method", ["lora", "full"])
def test_every_kind_of_encoder_is_trained_and_loaded(encoder: Path, tmp_path: Path, method: Any) -> None:
    made, _ = fit(encoder, tmp_path / "scratch", method=method, epochs=1, classifier_dropout=0.4)
    head = [part for name, part in made.named_modules() if isinstance(part, torch.nn.Dropout) and part.p == 0.4]
    assert head, "the head's dropout is the one that was asked for, whatever config.json calls it"
    for part in saved_encoder.save(made, tmp_path, method=method, base_model=str(encoder), names=NAMES, merged=True):
        Description(
            kind=method, names=NAMES, none="нет товара", prior=None, prior_shift=SHIFT, base_model=str(encoder),
            base_fingerprint=hub.fingerprint(str(encoder)), max_length=32, parts=[],
        ).save(part)  # fmt: skip
        assert np.allclose(Classifier.load(part).scorer.logits(TEXTS), scores(made, encoder), atol=1e-5)


def test_a_decoder_is_told_the_padding_of_its_tokenizer(tmp_path: Path) -> None:
    model = tiny.build_reranker(tmp_path / "qwen")
    assert json.loads((model / "config.json").read_text())["pad_token_id"] is None
    made, _ = fit(model, tmp_path / "scratch", epochs=1)
    assert made.config.pad_token_id == load.tokenizer(str(model)).pad_token_id
    alone = np.concatenate([scores(made, model, [text]) for text in TEXTS])
    assert np.allclose(scores(made, model), alone, atol=1e-5)


def test_padding_falls_back_on_the_models_and_is_asked_for(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    made, words = load.encoder(str(tiny_model), precision="fp32"), load.tokenizer(str(tiny_model))
    expected = embeddings(made, words, TEXTS, max_length=32)
    words.pad_token = None
    assert np.allclose(embeddings(made, words, TEXTS, max_length=32), expected, atol=1e-6)
    made.config.pad_token_id = None
    with pytest.raises(UserError, match=r"names a token for padding\. Set pad_token"):
        embeddings(made, words, TEXTS, max_length=32)


def test_a_batch_on_a_cpu_has_no_more_tokens_than_its_bound(tiny_model: Path) -> None:
    made, words = load.encoder(str(tiny_model), precision="fp32"), load.tokenizer(str(tiny_model))
    texts = ["кружка " * number for number in range(1, 120)]
    sizes: list[int] = []
    made.register_forward_pre_hook(lambda _, args, given: sizes.append(given["input_ids"].numel()), with_kwargs=True)
    embeddings(made, words, texts, max_length=32)
    assert BATCH_TOKENS / 2 < max(sizes) <= BATCH_TOKENS


def test_embeddings_do_not_depend_on_the_batch(tiny_model: Path) -> None:
    made, words = load.encoder(str(tiny_model), precision="fp32"), load.tokenizer(str(tiny_model))
    texts = [f"{'кружка ' * (number % 9)}{number}" for number in range(60)]
    together = embeddings(made, words, texts, max_length=32)
    alone = np.concatenate([embeddings(made, words, [text], max_length=32) for text in texts])
    assert np.ptp(together, axis=0).max() > 0.1
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(embeddings(made, words, texts[::-1], max_length=32)[::-1], together, atol=1e-6)


def tight(model: Any, *, tokens: int) -> list[int]:
    """Let a model run out of memory where a batch has more than so many tokens; returns the sizes that did."""
    failed: list[int] = []

    def before(_: Any, args: Any, given: dict[str, Any]) -> None:
        if given["input_ids"].numel() > tokens:
            failed.append(given["input_ids"].numel())
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    model.register_forward_pre_hook(before, with_kwargs=True)
    return failed


def test_embedding_runs_out_of_memory_and_continues_in_smaller_batches(tiny_model: Path) -> None:
    made, words = load.encoder(str(tiny_model), precision="fp32"), load.tokenizer(str(tiny_model))
    texts = ["кружка " * (number % 12) for number in range(300)]
    expected = embeddings(made, words, texts, max_length=32)
    failed = tight(made, tokens=300)
    np.testing.assert_allclose(embeddings(made, words, texts, max_length=32), expected, atol=1e-6)
    assert failed and max(failed) > 600, "halved at least twice"
    with pytest.raises(UserError, match="one text of 32 tokens does not fit into memory"):
        tight(made, tokens=20)
        embeddings(made, words, ["кружка " * 40], max_length=32)


@pytest.mark.parametrize("windows", [False, True])
def test_predicting_and_evaluating_run_out_of_memory_and_continue_in_smaller_batches(
    tiny_model: Path, windows: bool
) -> None:
    made, _ = load.base_classifier(str(tiny_model), names=NAMES, dropout=None)
    encoder = saved_encoder.Encoder(made, load.tokenizer(str(tiny_model)), 32, windows, half=None, adapter=None)
    classifier = Classifier(
        Description("full", NAMES, NAMES[-1], None, [0.0] * len(NAMES), None, None, 32, []), encoder
    )
    texts = [f"{'тапки ' * (number % 40)}{number}" for number in range(150)]
    rows = pl.DataFrame({"id": texts, "clean": texts, "label": NAMES[0]})
    batch = pl.DataFrame({"id": texts, "text": texts})
    expected, done = classifier.predict_proba(texts), []
    failed = tight(made, tokens=200)
    evaluated = evaluate.predict(classifier, rows)
    assert failed
    failed.clear()
    predicted = predict._classify(classifier, batch, lambda rows=1: done.append(rows))
    assert failed and sum(done) == len(texts)
    for found in (evaluated, predicted):
        np.testing.assert_allclose(found["confidence"], expected.max(axis=1), atol=1e-6)


def test_members_that_ask_for_the_same_texts_have_them_embedded_once(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = encode.Embedder.__call__

    def call(self: encode.Embedder, texts: Any, **more: Any) -> Any:
        asked.append(list(texts))
        return real(self, texts, **more)

    monkeypatch.setattr(encode.Embedder, "__call__", call)
    embed = encode.embedder(str(tiny_model), max_length=32)
    first, again = embed(["кружка", "тапки"]), embed(["кружка", "тапки"])
    assert np.array_equal(first, again) and len(asked) == 1
    assert np.allclose(embed(["тапки"]), first[1:], atol=1e-6) and len(asked) == 2


def test_training_that_diverges_says_so_and_the_best_before_it_counts(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"train\.learning_rate: training diverged.*Lower it from 1e\+30"):
        fit(tiny_model, tmp_path / "scratch", valid=NOBODY, learning_rate=1e30)
    with pytest.raises(UserError, match="training diverged"):
        fit(tiny_model, tmp_path / "with validation", learning_rate=1e30)
    real = finetune.Training.step

    def step(self: finetune.Training, number: int) -> None:
        real(self, number)
        if number == 5:
            next(iter(self.trained.values())).data.fill_(float("nan"))

    monkeypatch.setattr(finetune.Training, "step", step)
    made, notes = fit(tiny_model, tmp_path / "later")
    assert np.isnan([found["eval_loss"] for found in notes["evaluations"]]).tolist() == [False] + [True] * 4
    assert np.isfinite(scores(made, tiny_model)).all()


def test_the_pair_is_both_side_by_side() -> None:
    texts = ["Чайник гудит", "Посылка шла месяц", "🔥"]
    both = encode.embedder(hub.PAIR, max_length=64)(texts)
    each = {part: encode.embedder(part, max_length=64)(texts) for part in (hub.GOODS, hub.EMBEDDED)}
    cosines = sum(share * (one @ one.T) for share, one in zip(encode.SHARES, each.values(), strict=True))
    np.testing.assert_allclose(both @ both.T, cosines, atol=1e-6)
    found = encode.apart(hub.PAIR, both)
    assert list(found) == list(each)
    for part, vectors in found.items():
        np.testing.assert_allclose(vectors, each[part], atol=1e-6)
    assert encode.apart("another", both) == {"another": both}


def test_both_of_the_pair_hide_words_alike() -> None:
    assert {encode.mask_token(model) for model in hub.OWN} == {"<mask>"}


@pytest.mark.parametrize("model", hub.OWN)
def test_a_text_without_a_known_piece_says_nothing(model: str) -> None:
    found = encode.embedder(model, max_length=64)(["ᚠᚢᚦᚨ ᚱᚲ", "Чайник ᚠᚢᚦᚨ", "ᚠ"])
    assert not found[0].any() and not found[2].any()
    assert np.linalg.norm(found[1]) == pytest.approx(1, abs=1e-5)
    assert encode.embedder(model, max_length=64)([]).shape[0] == 0

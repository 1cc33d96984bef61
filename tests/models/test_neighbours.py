"""A text's scores do not depend on the texts beside it, whatever padding its tokenizer and its config.json name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import transformers
from test_finetune import NAMES, fit

from tsirius.errors import UserError
from tsirius.labellers import nli, reranker
from tsirius.models import batching, encode, load, saved_encoder

TEXTS = [sentence[:length] for sentence, length in zip(tiny.SENTENCES, (9, 80, 17, 60, 30, 5, 44, 70) * 2, strict=True)]
HYPOTHESES = ["Это отзыв о посуде.", "Обувь."]
LABELS = {"id2label": {0: "contradiction", 1: "neutral", 2: "entailment"},
          "label2id": {"contradiction": 0, "neutral": 1, "entailment": 2}}  # fmt: skip
PAD, END, SPARE = "<|endoftext|>", "<|im_end|>", "<|im_start|>"

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
ENCODERS: dict[str, dict[str, Any]] = {
    "XLMRoberta": {**SMALL, "max_position_embeddings": 130, "pad_token_id": 1},
    "Bert": {**SMALL, "max_position_embeddings": 128, "pad_token_id": 0},
    "ModernBert": {**SMALL, "max_position_embeddings": 128, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
                   "cls_token_id": 0, "sep_token_id": 2},
    "T5": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "pad_token_id": 1, "eos_token_id": 2,
           "decoder_start_token_id": 1},
}  # fmt: skip
DECODERS: dict[str, dict[str, Any]] = {
    "Qwen2": {**SMALL, "num_key_value_heads": 2, "max_position_embeddings": 1024},
    "Qwen3": {**SMALL, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 1024},
    "Llama": {**SMALL, "num_key_value_heads": 2, "max_position_embeddings": 1024},
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 1024},
}
NAMED: dict[str, tuple[str | None, str | None]] = {
    "both": (PAD, PAD),
    "the tokenizer": (PAD, None),
    "config.json": (None, PAD),
    "each another": (PAD, SPARE),
    "config.json a word": (PAD, "!"),
    "the tokenizer its end": (END, PAD),
}
"""Who names the padding: what the tokenizer says, and what config.json says."""


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_reranker(tmp_path_factory.mktemp("byte level"))


def build(path: Path, words: Path, kind: str, *, head: str, pads: tuple[str | None, str | None] | None) -> Path:
    """A random model of ``kind`` on the tokenizer of ``words``."""
    path.mkdir()
    for file in words.iterdir():
        if file.name.startswith(("tokenizer", "special", "sentencepiece")):
            shutil.copy(file, path)
    vocabulary = transformers.AutoTokenizer.from_pretrained(words).get_vocab()
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(vocabulary), **{**DECODERS, **ENCODERS}[kind], **(LABELS if "Sequence" in head else {})
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = getattr(transformers, f"{kind}{head}")(config)
        for name, part in model.named_parameters():
            if part.dim() > 1:
                part.normal_(std=0.3 if "position" not in name and "wpe" not in name else 0.5)
        model.save_pretrained(path)
    if pads is not None:
        said = json.loads((path / "tokenizer_config.json").read_text())
        said.pop("pad_token")
        (path / "tokenizer_config.json").write_text(json.dumps(said | ({"pad_token": pads[0]} if pads[0] else {})))
        said = json.loads((path / "config.json").read_text())
        said |= {"pad_token_id": vocabulary[pads[1]] if pads[1] else None, "bos_token_id": None, "eos_token_id": None}
        (path / "config.json").write_text(json.dumps(said))
    return path


def classified(path: Path) -> Callable[[list[str]], Any]:
    network = load.judge(str(path), head=load.CLASSIFIER, precision="fp32")
    words = load.tokenizer(str(path))
    load.settle(network, words, where=str(path))
    encode.check_logits(network, words, max_length=64, half=None, where=str(path))
    return lambda texts: encode.logits(network, words, texts, max_length=64, half=None)


def check_alone(scores: Callable[[list[str]], Any]) -> Any:
    """That scores in a batch, in any order, are those alone; returns them."""
    alone = np.concatenate([scores([text]) for text in TEXTS])
    assert np.ptp(alone, axis=0).max() > 0.05, "texts differ"
    np.testing.assert_allclose(scores(TEXTS), alone, atol=2e-4, rtol=1e-4)
    np.testing.assert_allclose(scores(TEXTS[::-1])[::-1], alone, atol=2e-4, rtol=1e-4)
    return alone


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoders_scores(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    path = build(tmp_path / "model", tiny_model, kind, head="ForSequenceClassification", pads=None)
    load.check(str(path), head=load.CLASSIFIER, new_head=False)
    check_alone(classified(path))


def pair(kind: str, named: str) -> Any:
    """A kind and who names its padding; that all do so for all kinds is for the slow tests."""
    few = kind != "Qwen3" and named not in ("both", "config.json")
    return pytest.param(kind, named, id=f"{kind}-{named}", marks=pytest.mark.slow if few else ())


@pytest.mark.parametrize(("kind", "named"), [pair(kind, named) for kind in DECODERS for named in NAMED])
def test_a_decoders_scores_are_its_last_tokens(kind: str, named: str, byte_level: Path, tmp_path: Path) -> None:
    path = build(tmp_path / "model", byte_level, kind, head="ForSequenceClassification", pads=NAMED[named])
    load.check(str(path), head=load.CLASSIFIER, new_head=False)
    alone = check_alone(classified(path))
    words = transformers.AutoTokenizer.from_pretrained(path)
    model = getattr(transformers, f"{kind}ForSequenceClassification").from_pretrained(path).eval()
    model.config.pad_token_id = None  # one text at a time: its last token
    with torch.inference_mode():
        expected = [model(torch.tensor([words(text).input_ids[:64]])).logits[0].numpy() for text in TEXTS]
    np.testing.assert_allclose(alone, expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("named", ["the tokenizer", "config.json", "each another"])
@pytest.mark.parametrize("kind", ["Qwen3", "GPT2"])
def test_a_teachers_scores(kind: str, named: str, byte_level: Path, tmp_path: Path) -> None:
    path = build(tmp_path / "nli", byte_level, kind, head="ForSequenceClassification", pads=NAMED[named])
    nli.check(nli.Config(model=str(path)))
    judge = nli.scorer(str(path), precision="fp32", max_length=128, batch_tokens=4096)
    check_alone(lambda texts: judge.logits(texts, HYPOTHESES, advance=None).reshape(len(texts), -1))


@pytest.mark.parametrize("named", ["the tokenizer", "config.json", "each another"])
@pytest.mark.parametrize("kind", DECODERS)
def test_a_rerankers_scores(kind: str, named: str, byte_level: Path, tmp_path: Path) -> None:
    path = build(tmp_path / "reranker", byte_level, kind, head="LMHeadModel" if kind == "GPT2" else "ForCausalLM",
                 pads=NAMED[named])  # fmt: skip
    reranker.check(reranker.Config(model=str(path)))
    judge = reranker.scorer(str(path), instruction="Judge.", precision="fp32", max_length=1000, batch_tokens=10_000)
    check_alone(lambda texts: judge.logits(texts, HYPOTHESES, advance=None).reshape(len(texts), -1))


@pytest.mark.parametrize("named", ["the tokenizer", "config.json", "each another"])
def test_the_scores_of_an_adapter_on_a_decoder(named: str, byte_level: Path, tmp_path: Path) -> None:
    model = build(tmp_path / "model", byte_level, "Qwen3", head="Model", pads=NAMED[named])
    trained, _ = fit(model, tmp_path / "scratch", epochs=1)
    saved_encoder.save(trained, tmp_path, method="lora", base_model=str(model), names=NAMES, merged=True)
    how: dict[str, Any] = {"names": NAMES, "max_length": 64, "windows": False}
    adapter = saved_encoder.read_adapter(tmp_path / "adapter", method="lora", base_model=str(model), **how)
    merged = saved_encoder.read_plain(tmp_path / "merged", **how)
    alone = check_alone(adapter.logits)
    np.testing.assert_allclose(check_alone(merged.logits), alone, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("head", ["ForSequenceClassification", "ForCausalLM"])
def test_a_model_without_padding_is_refused_by_check(head: str, byte_level: Path, tmp_path: Path) -> None:
    path = build(tmp_path / "model", byte_level, "Llama", head=head, pads=(None, None))
    with pytest.raises(UserError, match=r"names a token for padding\. Set pad_token"):
        load.check(str(path), head=f"AutoModel{head}", new_head=False)


def test_a_model_that_takes_no_mask_is_refused_by_check(tiny_model: Path, tmp_path: Path) -> None:
    for kind, message in (("FNet", "takes no attention mask"), ("XLNet", "the last column, padding included")):
        path = tmp_path / kind
        shutil.copytree(tiny_model, path, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
        config = getattr(transformers, f"{kind}Config")(vocab_size=300, hidden_size=64, num_hidden_layers=1,
                                                        num_attention_heads=1, intermediate_size=64)  # fmt: skip
        getattr(transformers, f"{kind}ForSequenceClassification")(config).save_pretrained(path)
        with pytest.raises(UserError, match=message):
            load.check(str(path), head=load.CLASSIFIER, new_head=True)


def test_scores_that_depend_on_the_texts_beside_are_refused_when_it_is_read(tiny_model: Path) -> None:
    model, _ = load.base_classifier(str(tiny_model), names=NAMES, dropout=None)
    words = load.tokenizer(str(tiny_model))
    model.register_forward_pre_hook(
        lambda _, args, given: (args, given | {"attention_mask": torch.ones_like(given["attention_mask"])}),
        with_kwargs=True,
    )
    model.classifier.out_proj.weight.data.normal_(std=3)
    with pytest.raises(UserError, match="depend on the texts beside it"):
        encode.check_logits(model, words, max_length=64, half=None, where="model")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused_when_it_is_read(bad: float) -> None:
    with pytest.raises(UserError, match="model: its scores are NaN or infinite"):
        batching.check_alone(lambda rows: np.full((len(rows), 2), bad), [[1], [1, 2]], rounding=1e-3, where="model")

"""The reranker as teacher: the model card's prompt, its yes and no, or one score, behind the same interface."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from tsirius.categories import Categories, Category
from tsirius.errors import UserError
from tsirius.labellers import Material, reranker
from tsirius.labellers.hypotheses import probabilities
from tsirius.models import load

CATEGORIES = Categories([Category("посуда"), Category("обувь"), Category("нет товара", none=True)])
INSTRUCTION = "Given a topic, find the reviews that are about it."
QUERIES = ["Отзыв о посуде", "Отзыв о товаре «обувь».", 'A review in {braces} and "quotes"!']
TEXTS = ["Кружка пришла со сколом.", "ок", "  Туфли натирают пятку,\n\nкаблук шатается. " * 3, "«Доставка»\n"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_reranker(tmp_path_factory.mktemp("reranker") / "qwen3")


def scorer(model: Path, **other: Any) -> Any:
    settings: dict[str, Any] = {"precision": "fp32", "max_length": 1024, "batch_tokens": 4096}
    return reranker.scorer(str(model), instruction=INSTRUCTION, **(settings | other))


def of_the_card(model: Path, text: str, query: str, *, max_length: int) -> float:
    """The score as the model card takes it, one prompt at a time."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    words = AutoTokenizer.from_pretrained(model)
    before = words.encode(reranker.BEFORE, add_special_tokens=False)
    after = words.encode(reranker.AFTER, add_special_tokens=False)
    pair = f"<Instruct>: {INSTRUCTION}\n<Query>: {query}\n<Document>: {text}"
    room = max_length - len(before) - len(after)
    ids = before + words(pair, truncation="longest_first", max_length=room)["input_ids"] + after
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(model)(input_ids=torch.tensor([ids])).logits[0, -1]
    vocabulary = words.get_vocab()
    return float(logits[[vocabulary["no"], vocabulary["yes"]]].softmax(dim=0)[1])


@pytest.mark.parametrize("max_length", [1024, 420])
def test_the_scores_are_the_model_cards(model: Path, max_length: int) -> None:
    found = probabilities(scorer(model, max_length=max_length).logits(TEXTS, QUERIES, advance=None))
    expected = [[of_the_card(model, text, query, max_length=max_length) for query in QUERIES] for text in TEXTS]
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_it_labels_behind_the_same_interface(model: Path) -> None:
    config = reranker.Config(
        model=str(model), templates=["Отзыв о товаре «{}»."], hypotheses="name", none="statements", correct_bias=True,
        precision="fp32", max_length=1024, batch_tokens=2048,
    )  # fmt: skip
    embed = lambda texts: np.zeros((len(texts), 1), np.float32)  # noqa: E731
    material = Material(CATEGORIES, [], model, embed, embed, max_length=64)
    teacher = reranker.make(config, material)
    votes = teacher.label([*TEXTS, ""])
    assert teacher.name == "reranker"
    np.testing.assert_allclose(votes.probabilities[:-1].sum(axis=1), 1, atol=1e-6)
    assert np.isnan(votes.probabilities[-1]).all()
    alone = np.concatenate([teacher.label([text]).probabilities for text in TEXTS])
    np.testing.assert_allclose(votes.probabilities[:-1], alone, atol=1e-4)


def test_a_model_that_cannot_say_yes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no token 'yes'"):
        scorer(tiny.build_reranker(tmp_path / "mute", answers=["maybe", "no"]))


def test_the_prompt_is_the_one_on_the_model_card() -> None:
    """Of huggingface.co/Qwen/Qwen3-Reranker-0.6B, word for word."""
    query = reranker.QUERY.format(instruction="I", query="Q")
    assert reranker.BEFORE + query + reranker.DOCUMENT + "D" + reranker.AFTER == (
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
        'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
        "<|im_start|>user\n<Instruct>: I\n<Query>: Q\n<Document>: D<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


@pytest.mark.parametrize("kind", tiny.PAIRS)
@pytest.mark.parametrize("max_length", [128, 40])
def test_one_score_is_that_of_sentence_transformers(kind: str, max_length: int, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    model = tiny.build_pairs(tmp_path / kind, kind, labels=["LABEL_0"])
    reranker.check(reranker.Config(model=str(model)))
    judge = scorer(model, max_length=max_length)
    found = probabilities(judge.logits(TEXTS, QUERIES, advance=None))
    published = CrossEncoder(str(model), max_length=max_length, device="cpu")
    cut = published.tokenizer(QUERIES[1], TEXTS[2], max_length=max_length, truncation="only_second")["input_ids"]
    assert len(cut) <= max_length
    expected = [[_published(published, query, text, max_length) for query in QUERIES] for text in TEXTS]
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-4)
    alone = np.concatenate([probabilities(judge.logits([text], QUERIES, advance=None)) for text in TEXTS])
    np.testing.assert_allclose(found, alone, atol=1e-4)


def _published(model: Any, query: str, text: str, max_length: int) -> float:
    """The score by sentence-transformers where nothing is cut; else of the pair as cut at the text's end."""
    if len(model.tokenizer(query, text)["input_ids"]) <= max_length:
        return float(model.predict([(query, text)])[0])
    given = model.tokenizer(query, text, max_length=max_length, truncation="only_second", return_tensors="pt")
    with torch.no_grad():
        return float(model.model(**given).logits.sigmoid()[0, 0])


def test_code_of_its_own_is_refused_and_the_plain_form_is_read(tmp_path: Path) -> None:
    """As jina-reranker-v2-base-multilingual: the published weights have the names of its own code."""
    from safetensors.torch import load_file, save_file

    plain = tiny.build_pairs(tmp_path / "plain", "XLMRoberta", labels=["LABEL_0"])
    own = tmp_path / "own"
    shutil.copytree(plain, own)
    config = json.loads((own / "config.json").read_text())
    config["auto_map"] = {
        "AutoModelForSequenceClassification": "modeling_xlm_roberta.XLMRobertaForSequenceClassification"
    }
    (own / "config.json").write_text(json.dumps(config))
    found, expected = (scorer(one).logits(TEXTS, QUERIES, advance=None) for one in (own, plain))
    np.testing.assert_allclose(found, expected)  # weights by the usual names are read, whatever code they come with
    weights = load_file(own / "model.safetensors")
    save_file({name.replace("attention.self.query", "mixer.Wq").replace("attention.self.key", "mixer.Wk").replace(
        "encoder.layer", "encoder.layers"): value for name, value in weights.items()}, own / "model.safetensors",
        metadata={"format": "pt"})  # fmt: skip
    for refused in (lambda: reranker.check(reranker.Config(model=str(own))), lambda: scorer(own)):
        with pytest.raises(UserError, match="code of its own, named by auto_map, and a model's code is never executed"):
            refused()


def test_what_is_no_reranker_is_refused(model: Path, tmp_path: Path) -> None:
    nli = tiny.build_pairs(tmp_path / "nli", "XLMRoberta", labels=["entailment", "neutral", "contradiction"])
    for refused in (lambda: reranker.check(reranker.Config(model=str(nli))), lambda: scorer(nli)):
        with pytest.raises(UserError, match=r"classifier of 3 labels, and a reranker has one score.*label\.nli\.model"):
            refused()
    from transformers import Qwen3ForSequenceClassification

    decoder = tmp_path / "decoder"
    shutil.copytree(model, decoder)
    Qwen3ForSequenceClassification.from_pretrained(model, num_labels=1).save_pretrained(decoder)
    load.check(str(decoder), head=load.CLASSIFIER, new_head=False)
    with pytest.raises(UserError, match="nothing between a query and a text"):
        scorer(decoder)

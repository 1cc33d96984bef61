"""GeRaCl: its folder is read without its code, its scores are the published ones, and a review costs one pass."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import tsirius
from tsirius.categories import Categories, Category
from tsirius.errors import UserError
from tsirius.labellers import Material, geracl
from tsirius.models import hub

CATEGORIES = Categories(
    [
        Category("посуда", "тарелки, кружки"),
        Category("обувь", "ботинки, сапоги"),
        Category("нет товара", "доставка и возврат денег", none=True),
    ]
)
READ = ["посуда", "обувь", "доставка и возврат денег"]
TEXTS = ["Кружка пришла со сколом.", "ок", "Туфли натирают пятку, каблук шатается. ", "«Доставка» быстрая"]
WIDTH, INNER = 32, 48


def build(path: Path, words_of: Path, *, pooling: str = "mean", scale: float = 30.0) -> Path:
    """A tiny model in the layout of deepvk/GeRaCl-USER2-base: a ModernBERT and two networks in one file of weights."""
    words = transformers.AutoTokenizer.from_pretrained(words_of)
    about = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
             "max_position_embeddings": 128, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
             "cls_token_id": 0, "sep_token_id": 2, "vocab_size": 7}  # fmt: skip
    torch.manual_seed(0)
    encoder = transformers.ModernBertModel(transformers.ModernBertConfig(**{**about, "vocab_size": len(words)}))
    weights = {f"_classification_core._token_embedder.{name}": value for name, value in encoder.state_dict().items()}
    for part in ("classes", "text"):
        for layer, (wide, width) in ((0, (INNER, WIDTH)), (3, (WIDTH, INNER))):
            weights[f"_classification_core._mlp_{part}.{layer}.weight"] = torch.randn(wide, width) / width**0.5
            weights[f"_classification_core._mlp_{part}.{layer}.bias"] = torch.randn(wide) / 10
    weights["_classification_core._mlp_text.3.weight"] *= scale**0.5
    path.mkdir(parents=True)
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": "GeRaCl", "architectures": ["GeraclHF"], "embedder_config": about, "pooling_type": pooling,
              "embedder_name": "deepvk/USER2-base", "tokenizer_len": len(words), "ffn_dim": INNER}  # fmt: skip
    (path / "config.json").write_text(json.dumps(config))
    words.save_pretrained(path)
    return path


def published(path: Path, text: str, names: list[str]) -> list[float]:
    """The scores of one text, token by token, as github.com/deepvk/geracl defines them."""
    about, weights = json.loads((path / "config.json").read_text()), load_file(path / "model.safetensors")
    words = transformers.AutoTokenizer.from_pretrained(path)
    own = {**about["embedder_config"], "vocab_size": about["tokenizer_len"]}
    encoder = transformers.ModernBertModel(transformers.ModernBertConfig(**own)).eval()
    prefix = "_classification_core."
    encoder.load_state_dict({name.removeprefix(f"{prefix}_token_embedder."): value for name, value in weights.items()
                             if "_token_embedder" in name})  # fmt: skip
    ids, owner = [words.bos_token_id], ["-"]
    for number, name in enumerate(names):
        for token in words(name, add_special_tokens=False).input_ids:
            ids, owner = [*ids, token], [*owner, f"name {number}"]
        ids, owner = [*ids, words.cls_token_id], [*owner, f"end {number}"]
    spoken = words(text, add_special_tokens=False).input_ids
    ids = [*ids, words.sep_token_id, *spoken, words.eos_token_id]
    owner += ["-", *["text"] * len(spoken), "-"]
    with torch.no_grad():
        states = encoder(input_ids=torch.tensor([ids])).last_hidden_state[0]

    def network(part: str, given: torch.Tensor) -> torch.Tensor:
        one, two = (f"{prefix}_mlp_{part}.{layer}." for layer in (0, 3))
        inner = torch.nn.functional.gelu(given @ weights[f"{one}weight"].T + weights[f"{one}bias"])
        return inner @ weights[f"{two}weight"].T + weights[f"{two}bias"]

    def mean(of: str) -> torch.Tensor:
        return torch.stack([state for state, who in zip(states, owner, strict=True) if who == of]).mean(dim=0)

    text_vector = network("text", mean("text"))
    kind = "end" if about["pooling_type"] == "first" else "name"
    return [float(network("classes", mean(f"{kind} {number}")) @ text_vector) for number in range(len(names))]


def labeller(model: Path, **settings: Any) -> Any:
    embed = lambda texts: np.zeros((len(texts), 1), np.float32)  # noqa: E731
    config = geracl.Config(model=str(model), **({"precision": "fp32", "max_length": 128} | settings))
    geracl.check(config)
    return geracl.make(config, Material(CATEGORIES, [], model, embed, embed, max_length=64))


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_the_scores_are_the_published_ones(pooling: str, tiny_model: Path, tmp_path: Path) -> None:
    model = build(tmp_path / "GeRaCl", tiny_model, pooling=pooling)
    teacher = labeller(model)
    found = teacher.score(teacher.tokens(TEXTS))
    expected = np.array([published(model, text, READ) for text in TEXTS])
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(found, expected, atol=1e-4)
    votes = teacher.label([*TEXTS, ""])
    np.testing.assert_allclose(votes.probabilities[:-1], np.exp(expected) / np.exp(expected).sum(1, keepdims=True),
                               atol=1e-4)  # fmt: skip
    assert np.isnan(votes.probabilities[-1]).all() and votes.evidence[-1] == []
    alone = np.concatenate([teacher.label([text]).probabilities for text in TEXTS])
    np.testing.assert_allclose(votes.probabilities[:-1], alone, atol=1e-4)


def test_a_review_costs_one_pass_however_many_names(tiny_model: Path, tmp_path: Path) -> None:
    teacher = labeller(build(tmp_path / "GeRaCl", tiny_model), batch_tokens=100_000)
    asked: list[int] = []
    real = teacher.score

    def score(rows: list[list[int]]) -> Any:
        asked.append(len(rows))
        return real(rows)

    object.__setattr__(teacher, "score", score)
    done: list[int] = []
    teacher.label([*TEXTS, ""], advance=lambda rows=1: done.append(rows))
    assert asked == [len(TEXTS)] and sum(done) == len(TEXTS) + 1


def test_what_is_read_of_a_category(tiny_model: Path, tmp_path: Path) -> None:
    model = build(tmp_path / "GeRaCl", tiny_model)
    plain = labeller(model, none_description=False)
    expected = [published(model, TEXTS[0], ["посуда", "обувь", "нет товара"])]
    np.testing.assert_allclose(plain.score(plain.tokens(TEXTS[:1])), expected, atol=1e-4)
    joined = labeller(model, parts="joined")
    names = ["посуда: тарелки, кружки", "обувь: ботинки, сапоги", "доставка и возврат денег"]
    np.testing.assert_allclose(joined.score(joined.tokens(TEXTS[:1])), [published(model, TEXTS[0], names)], atol=1e-4)


def test_what_is_no_such_model_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no GeRaCl model"):
        labeller(tiny_model)
    model = build(tmp_path / "GeRaCl", tiny_model)
    with pytest.raises(UserError, match=r"leave -?[0-9]+ of 64 tokens for a text"):
        labeller(model, max_length=64, parts="joined")
    weights = load_file(model / "model.safetensors")
    lost = {name: value for name, value in weights.items() if not name.endswith("_mlp_text.3.bias")}
    save_file(lost, model / "model.safetensors")
    with pytest.raises(UserError, match=r"has no weights _classification_core\._mlp_text\.3\.bias"):
        labeller(model)
    save_file({name: value for name, value in weights.items() if "layers.1" not in name}, model / "model.safetensors")
    with pytest.raises(UserError, match="cannot be loaded"):
        labeller(model)
    assert hub.fingerprint(str(model))


def test_the_label_stage_uses_it_beside_the_matcher(tiny_model: Path, tmp_path: Path) -> None:
    """As the T4 recipes do: its own votes, the reconciled label, and abstention on an empty review."""
    model = build(tmp_path / "GeRaCl", tiny_model)
    own = labeller(model).label(["Кружка пришла со сколом.", "Туфли натирают пятку"]).probabilities.argmax(axis=1)
    texts = ["Кружка пришла со сколом.", "Туфли натирают пятку", None]
    table = tsirius.label(
        texts, CATEGORIES, use=["matcher", "geracl"], doubt=False,
        geracl={"model": str(model), "precision": "fp32", "max_length": 128},
    )  # fmt: skip
    assert table["geracl"].to_list()[:2] == [CATEGORIES.names[place] for place in own]
    assert table["label"].null_count() == 0 and table["matcher"].null_count() <= 1
    with pytest.raises(UserError, match="is no GeRaCl model"):
        tsirius.label(texts, CATEGORIES, use=["geracl"], geracl={"model": str(tiny_model)})

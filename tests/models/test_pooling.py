"""Embeddings are made as a model's folder says, and equal those of sentence-transformers."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import FAMILIES, WIDTH, Family, build

from tsirius.errors import UserError
from tsirius.models import embeddings, encode, hub, load, pooling
from tsirius.models.pooling import Layer, Pooling

TEXTS = [
    "Чайник гудит", "кружка", "Сапоги промокли в первый же дождь, а стелька расклеилась через неделю, верните деньги!",
    "ok", "суп. Кастрюля " * 30,
]  # fmt: skip


@pytest.fixture(scope="module")
def words(tiny_model: Path) -> Any:
    return load.tokenizer(str(tiny_model))


@pytest.mark.parametrize("name", FAMILIES)
def test_embeddings_equal_those_of_sentence_transformers(name: str, words: Any, tmp_path: Path) -> None:
    family = FAMILIES[name]
    reference = build(name, family, words, tmp_path)
    folder = str(tmp_path / name)
    how = pooling.of(folder)
    assert (how.prompt, how.category_prompt) == family.taken
    for category, prompt in enumerate(family.taken):
        embed = encode.embedder(folder, max_length=256, category=bool(category))
        expected = reference.encode(TEXTS, prompt=prompt, normalize_embeddings=True)
        found = embed(TEXTS)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert (found * expected).sum(axis=1).min() >= 0.99999
        alone = np.concatenate([embed([text]) for text in TEXTS])
        np.testing.assert_allclose(found, alone, atol=1e-5)
    other = "max" if how.modes != ("max",) else "mean"
    wrong = encode.embedder(folder, pooling.of(folder, mode=other), max_length=256)(TEXTS)
    assert (wrong * reference.encode(TEXTS, prompt=family.taken[0], normalize_embeddings=True)).sum(
        axis=1
    ).min() < 0.999


@pytest.mark.parametrize("mode", ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"])
def test_every_pooling_and_the_older_switches(mode: str, words: Any, tmp_path: Path) -> None:
    reference = build("model", Family("Bert", mode), words, tmp_path)
    folder = tmp_path / "model"
    expected = reference.encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(encode.embedder(str(folder), max_length=256)(TEXTS), expected, atol=1e-5)
    older = {"word_embedding_dimension": WIDTH}
    older |= {switch: pooling.POOLING_MODES[mode] == name for switch, name in pooling.OLDER_MODES.items()}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(older))
    np.testing.assert_allclose(encode.embedder(str(folder), max_length=256)(TEXTS), expected, atol=1e-5)


def test_several_poolings_stand_side_by_side() -> None:
    states, mask = torch.randn(2, 4, 3), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    both = pooling.pooled(states, mask, ("cls", "mean"), skipped=0)
    assert torch.equal(both[:, :3], states[:, 0])
    assert torch.allclose(both[1, 3:], states[1, :2].mean(dim=0))
    turned = pooling.pooled(states.flip(1), mask.flip(1), ("last",), skipped=0)  # padding on the left
    assert torch.equal(turned, states[:, 0])


@pytest.mark.parametrize(
    ("name", "modes", "prompt"),
    [
        ("intfloat/multilingual-e5-base", ("mean",), "query: "),
        ("BAAI/bge-m3", ("cls",), ""),
        ("deepvk/USER-bge-m3", ("cls",), ""),
        ("deepvk/USER2-small", ("mean",), "classification: "),
        ("sergeyzh/rubert-mini-frida", ("mean",), "categorize_topic: "),
        ("ai-forever/FRIDA", ("cls",), "categorize_topic: "),
        ("Qwen/Qwen3-Embedding-0.6B", ("last",), pooling.INSTRUCTION),
        ("intfloat/multilingual-e5-large-instruct", ("mean",), pooling.INSTRUCTION),
    ],
)
def test_a_family_without_such_files_is_known_by_its_name(
    name: str, modes: Any, prompt: str, tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / name
    shutil.copytree(tiny_model, folder)
    how = pooling.of(str(folder))
    assert (how.modes, how.prompt) == (modes, prompt)
    assert "known of" in str(how)


def test_a_folder_that_says_nothing_says_so(tiny_model: Path) -> None:
    how = pooling.of(str(tiny_model))
    assert str(how) == "mean, no prompt (its folder does not say)"
    assert str(pooling.of(hub.EMBEDDED)) == "mean, no prompt (built in)"


def test_settings_go_before_what_the_folder_says(tiny_model: Path) -> None:
    how = pooling.of(str(tiny_model), mode="cls", prefix="topic: ")
    assert (how.modes, how.prompt, how.category_prompt) == (("cls",), "topic: ", "topic: ")
    plain = encode.embedder(str(tiny_model), max_length=32)(["topic: кружка"])
    by_prefix = encode.embedder(str(tiny_model), pooling.of(str(tiny_model), prefix="topic: "), max_length=32)
    np.testing.assert_allclose(by_prefix(["кружка"]), plain, atol=1e-6)


BAD: list[tuple[str, Any, str]] = [
    (
        "modules.json",
        [{"type": "a.Transformer", "path": ""}, {"type": "a.CNN", "path": "1_CNN"}],
        "asks for a step 'CNN'",
    ),
    ("modules.json", [{"type": "a.Transformer", "path": ""}], "has no step Pooling"),
    ("modules.json", ["nonsense"], "asks for a step 'nonsense'"),
    ("modules.json", [{"type": "a.Pooling", "path": "../.."}], "names the folder '../..'"),
    ("1_Pooling/config.json", {"pooling_mode": "median"}, "asks for the pooling 'median'"),
    ("2_Dense/config.json", {"activation_function": "os.system"}, "asks for the activation 'os.system'"),
]


@pytest.mark.parametrize(("file", "content", "message"), BAD)
def test_a_folder_that_asks_for_something_else_is_refused(
    file: str, content: Any, message: str, words: Any, tmp_path: Path
) -> None:
    build("model", Family("Bert", "mean", dense=((8, True, "Tanh"),)), words, tmp_path)
    (tmp_path / "model" / file).write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        pooling.of(str(tmp_path / "model"))


def test_a_dense_layer_whose_weights_are_lost_or_of_another_shape_is_refused(words: Any, tmp_path: Path) -> None:
    build("model", Family("Bert", "mean", dense=((8, True, "Tanh"),)), words, tmp_path)
    folder, weights = str(tmp_path / "model"), tmp_path / "model" / "2_Dense" / "model.safetensors"
    before = hub.fingerprint(folder)
    content = weights.read_bytes()
    weights.write_bytes(content[:-4] + b"\0\0\0\1")
    assert hub.fingerprint(folder) != before
    weights.unlink()
    with pytest.raises(UserError, match=r"2_Dense: the model has no model\.safetensors"):
        encode.embedder(folder, max_length=32)(TEXTS)
    from safetensors.torch import save_file

    save_file({"linear.weight": torch.zeros(8, 5), "linear.bias": torch.zeros(8)}, weights)
    with pytest.raises(UserError, match="2_Dense"):
        encode.embedder(folder, max_length=32)(TEXTS)


def test_a_pooling_is_published_and_read_again(tmp_path: Path, tiny_model: Path) -> None:
    how = Pooling(("cls", "mean"), "a: ", "b: ", False, (Layer("Dense", "2_Dense", "Tanh", True),), 12, True, "x")
    text = json.loads(json.dumps(how.key()))
    again = pooling.restored(str(tiny_model), text, where=tmp_path)
    assert replace(again, source="x", max_length=12) == how
    with pytest.raises(UserError, match="does not describe a pooling"):
        pooling.restored(str(tiny_model), {"modes": ["mean"]}, where=tmp_path)
    vectors = np.eye(2, dtype=np.float32)
    embeddings.publish(tmp_path, ["а", "б"], vectors, how, model=str(tiny_model), max_length=12)

    def refuse(texts: Any) -> Any:
        raise AssertionError(texts)

    known = embeddings.known(refuse, tmp_path, how, model=str(tiny_model), max_length=12)
    np.testing.assert_array_equal(known(["б", "а"]), vectors[::-1])
    assert embeddings.known(refuse, tmp_path, model=str(tiny_model), max_length=12) is refuse

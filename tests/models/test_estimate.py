"""The arithmetic of memory: against counts on real models, and what a plan says."""

import json
from pathlib import Path
from typing import Any

import families
import pytest
import test_neighbours as neighbours
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from tsirius import config, pipeline
from tsirius.errors import UserError
from tsirius.models import estimate, hub, load

BASE = estimate.KNOWN["xlm-roberta-base"]
LARGE = estimate.KNOWN["xlm-roberta-large"]
T4 = estimate.DEVICES["t4"]
CONFIGS = Path(__file__).parents[2] / "configs"
PAGE = Path(__file__).parents[2] / "docs" / "memory.md"


def use(**changes: Any) -> estimate.Use:
    settings = {"method": "lora", "r": 16, "rows": 32, "length": 256, "checkpointing": False, "categories": 9}
    return estimate.Use(**{**settings, "several": False, **changes})


KINDS = [*families.SHAPES.keys() - set(families.ENCODERS_ALONE), "DebertaV2", "Llama"]


def made_of(kind: str, words: Path, path: Path) -> Path:
    """A tiny model of a kind, in the hub's layout."""
    if kind == "DebertaV2":
        return tiny.build_pairs(path / kind, kind, labels=["a", "b"])
    if kind == "Llama":
        return neighbours.build(path / kind, words, kind, head="Model", pads=None)
    return families.plain(kind, load.tokenizer(str(words)), path / kind)


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_weights_are_counted_as_they_are(kind: str, method: str, tiny_model: Path, tmp_path: Path) -> None:
    from tsirius.models import finetune
    from tsirius.stages import train

    model = str(made_of(kind, tiny_model, tmp_path))
    settings = train.Config(use=method, model=model, lora_r=3)  # type: ignore[arg-type]  # a method
    made = finetune.build(model, names=["а", "б", "в"], recipe=train.recipe(settings))
    found = sum(part.numel() for part in made.parameters() if part.requires_grad)
    of = estimate.shape(model)
    assert estimate.trained(of, use(method=method, r=3, categories=3)) == found
    whole = made if method == "full" else made.merge_and_unload()
    assert of.linear + of.others + of.head[0] + 3 * of.head[1] == sum(part.numel() for part in whole.parameters())
    assert len(of.matrices) == of.layers * of.in_a_layer + (kind == "Bert"), "and the layer that pools"
    assert of.inner in {width for sizes in of.matrices for width in sizes}


@pytest.mark.parametrize(
    ("kind", "gated", "whole", "in_a_layer", "keys"),
    [("XLMRoberta", False, False, 6, 32), ("DebertaV2", False, True, 6, 32), ("ModernBert", True, False, 4, 32),
     ("Qwen3", True, False, 7, 32), ("Gemma3", True, False, 7, 32), ("T5", True, False, 7, 32)],  # the encoder alone
)  # fmt: skip
def test_what_activations_depend_on(
    kind: str, gated: bool, whole: bool, in_a_layer: int, keys: int, tiny_model: Path, tmp_path: Path
) -> None:
    of = estimate.shape(str(made_of(kind, tiny_model, tmp_path)))
    assert (of.gated, of.whole_attention, of.keys, of.layers, of.hidden) == (gated, whole, keys, 2, 32)
    assert of.in_a_layer == in_a_layer
    assert estimate.kept(of, use(method="full"), newer=True) > 0 and estimate.flops(of, use()) > 2 * of.linear


def test_counted_as_bert_is_by_its_numbers(tiny_model: Path, tmp_path: Path) -> None:
    for kind in ("XLMRoberta", "Bert"):
        model = str(made_of(kind, tiny_model, tmp_path))
        of, by_numbers = estimate.counted(model), estimate.shape(model)
        assert estimate.replace(of, matrices=()) == estimate.replace(by_numbers, matrices=())
        assert sorted(of.matrices) == sorted(by_numbers.matrices)


def test_an_encoder_without_a_classifier_is_not_planned(tiny_model: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    model = made_of("T5", tiny_model, tmp_path)
    of = estimate.shape(str(model))
    weights = load_file(model / "model.safetensors")
    assert of.linear + of.others == sum(array.size for array in weights.values())
    loaded = config.load(CONFIGS / "t4.toml", [f"train.model={model}"])
    with pytest.raises(UserError, match="is an encoder alone, which makes embeddings"):
        pipeline.plan_training(loaded, "t4")


def test_known_shapes_have_their_published_sizes() -> None:
    assert BASE.linear + BASE.others == pytest.approx(277.5e6, rel=0.01)
    assert LARGE.linear + LARGE.others == pytest.approx(559.0e6, rel=0.01)
    for name, millions in (("intfloat/multilingual-e5-small", 118), ("deepvk/USER-bge-m3", 359), ("BAAI/bge-m3", 568)):
        of = estimate.KNOWN[name]
        assert of.linear + of.others == pytest.approx(millions * 1e6, rel=0.01), name


@pytest.mark.parametrize("own_layers", [False, True], ids=["peft's", "own"])
def test_what_a_layer_keeps_is_what_autograd_keeps(own_layers: bool) -> None:
    """In 32-bit floats on a CPU every tensor kept by one layer more is counted, and compared by their number and width.

    There the masks of dropout are as wide as what they mask, the inputs of linear layers need no copies, and attention
    keeps its probabilities and their mask: those are taken off.
    """
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    from tsirius.models import adapters, lora

    rows, length, h, i, heads, r = 40, 24, 64, 256, 4, 4

    def kept(layers: int) -> float:
        base = XLMRobertaForSequenceClassification(
            XLMRobertaConfig(
                vocab_size=50, hidden_size=h, num_hidden_layers=layers, num_attention_heads=heads,
                intermediate_size=i, max_position_embeddings=40, type_vocab_size=1, attention_probs_dropout_prob=0.0,
            )
        )  # fmt: skip
        base.requires_grad_(False)
        made = adapters._adapted(base, ["classifier"], ["dense", "key", "query", "value"], r=r, alpha=8, dropout=0.05)
        found: dict[int, torch.UntypedStorage] = {}

        def pack(part: torch.Tensor) -> torch.Tensor:
            storage = part.untyped_storage()
            if storage.data_ptr() not in own:
                found[storage.data_ptr()] = storage
            return part

        made.train()
        with (
            lora.shortened(made, when=own_layers),
            torch.autograd.graph.saved_tensors_hooks(pack, lambda part: part),
        ):
            own = {part.untyped_storage().data_ptr() for part in made.parameters()}
            made(input_ids=torch.full((rows, length), 7))
        return sum(storage.nbytes() for storage in found.values()) / (rows * length)

    added = kept(3) - kept(2)
    # of 4 bytes each: query, key, value, result; the inputs of two normalisations with two numbers each; two masks;
    # five adapters' inputs and masks of width h, one's of width i; what six first halves give; the input of GELU
    expected = 4 * (4 * h + 2 * h + 4 + 2 * h + 5 * 2 * h + 2 * i + 6 * r + i)
    if own_layers:  # three inputs of width h, as query, key and value share one; masks of a byte
        expected = 4 * (4 * h + 2 * h + 4 + 2 * h + 3 * h + i + 6 * r + i) + 3 * h + i
    assert added == pytest.approx(expected + 4 * heads, rel=0.02)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_what_a_layer_written_out_keeps_is_counted(method: str) -> None:
    """In 32-bit floats on a CPU: all but the numbers of normalisation and of attention's heads is twice as wide."""
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    from tsirius.models import adapters, layers

    rows, length, h, i, heads, r = 40, 24, 64, 256, 4, 8

    def kept(count: int) -> float:
        made = XLMRobertaForSequenceClassification(
            XLMRobertaConfig(
                vocab_size=50, hidden_size=h, num_hidden_layers=count, num_attention_heads=heads,
                intermediate_size=i, max_position_embeddings=40, type_vocab_size=1, attention_probs_dropout_prob=0.0,
            )
        )  # fmt: skip
        if method == "lora":
            made.requires_grad_(False)
            made = adapters._adapted(
                made, ["classifier"], ["dense", "key", "query", "value"], r=r, alpha=8, dropout=0.1
            )
        found: dict[int, torch.UntypedStorage] = {}

        def pack(part: torch.Tensor) -> torch.Tensor:
            storage = part.untyped_storage()
            if storage.data_ptr() not in own:
                found[storage.data_ptr()] = storage
            return part

        made.train()
        with (
            layers.shortened(made, half=None, when=True) as held,
            torch.autograd.graph.saved_tensors_hooks(pack, lambda part: part),
        ):
            assert held is not None
            own = {part.untyped_storage().data_ptr() for part in made.parameters()}
            own |= {dense.table.untyped_storage().data_ptr() for one in held._layers for dense in one.denses}
            made(input_ids=torch.full((rows, length), 7))
        return sum(storage.nbytes() for storage in found.values()) / (rows * length)

    of = estimate.Shape(
        2, h, i, heads, h, h, False, False, 40, tuple([(h, h)] * 4 + [(h, i), (i, h)]) * 2, 0, (0, 0)
    )  # fmt: skip
    asked = use(method=method, r=r, rows=rows, length=length)
    numbers = 16 + 4 * heads
    expected = 2 * (estimate.kept(of, asked, newer=True) - numbers) + numbers
    assert kept(3) - kept(2) == pytest.approx(expected, rel=0.03)


@given(
    st.sampled_from(["lora", "qlora", "full"]), st.integers(1, 64), st.integers(8, 512), st.booleans(), st.booleans(),
    st.booleans(),
)  # fmt: skip
def test_more_rows_or_tokens_never_take_less(
    method: str, rows: int, length: int, checkpointing: bool, several: bool, newer: bool
) -> None:
    one = use(method=method, rows=rows, length=length, checkpointing=checkpointing, several=several)
    total = sum(estimate.peak(BASE, one, newer=newer).values())
    for more in ({"rows": rows + 1}, {"length": length + 1}):
        assert sum(estimate.peak(BASE, estimate.replace(one, **more), newer=newer).values()) >= total
    assert sum(estimate.peak(LARGE, one, newer=newer).values()) > total
    assert all(value >= 0 for value in estimate.peak(BASE, one, newer=newer).values())


def test_the_rows_that_fit_are_the_most_that_do() -> None:
    wanted = use(method="full", rows=48)
    rows = estimate.rows_that_fit(LARGE, wanted, T4)
    assert 1 <= rows < 48
    assert estimate.fits(LARGE, estimate._with_rows(wanted, rows), T4)
    assert not estimate.fits(LARGE, estimate._with_rows(wanted, 2 * rows), T4)
    small = estimate.Device("tiny", 2.0, "fp16", 1)
    assert estimate.rows_that_fit(LARGE, wanted, small) == 0
    assert estimate.rows_that_fit(BASE, use(rows=24), T4) == 24


@pytest.mark.parametrize("name", ["t4", "t4-large", "t4-qlora", "t4-full"])
def test_the_hub_recipes_fit_a_t4(name: str) -> None:
    loaded = config.load(CONFIGS / f"{name}.toml")
    lines = pipeline.plan_training(loaded, "T4")
    assert not any("too many" in line or line.startswith("fits") for line in lines), lines
    assert any(line.startswith("set") and "train.batch_tokens=" in line for line in lines)
    assert any(line.startswith("time") for line in lines)
    row = next(line for line in PAGE.read_text(encoding="utf-8").splitlines() if f"`configs/{name}.toml`" in line)
    trains = next(line for line in lines if line.startswith("method")).split()[3]
    whole = next(line for line in lines if line.endswith("on the card")).split()
    tokens = next(line for line in lines if line.startswith("set")).partition("batch_tokens=")[2].partition(":")[0]
    assert f"| {trains} million | {int(tokens):,} (" in row and f"| {whole[0]} MiB of {whole[2]} |" in row, row


def test_a_plan_says_what_does_not_fit_and_what_needs_no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = config.load(CONFIGS / "t4-full.toml", ["train.model=xlm-roberta-large"])
    assert any("too many for this card" in line for line in pipeline.plan_training(loaded, "t4"))
    monkeypatch.setitem(estimate.DEVICES, "tiny", estimate.Device("tiny", 4.0, "fp16", 1))
    last = pipeline.plan_training(loaded, "tiny")[-1]
    assert last.startswith("fits     not even one row of 256 tokens") and "gradient_checkpointing" in last
    assert pipeline.plan_training(config.load(CONFIGS / "demo.toml"), "t4") == [
        "method   linear: no card is needed; seconds on a CPU"
    ]
    with pytest.raises(UserError, match="did you mean 'a100'"):
        estimate.device("a10o0")
    with pytest.raises(UserError, match="not at hand"):
        estimate.shape("nobody/nothing")


def test_the_shape_of_a_folder_is_read(tiny_model: Path, tmp_path: Path) -> None:
    assert estimate.shape(str(tiny_model)).layers == 2
    assert estimate.shape(hub.EMBEDDED).hidden == 256
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 3}))
    with pytest.raises(UserError, match="num_hidden_layers"):
        estimate.shape(str(tmp_path))


@pytest.mark.parametrize(
    ("card", "best"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H200", 989e12),
        ("Tesla T4", 65e12),
        ("NVIDIA GeForce RTX 3060", 51e12),
    ],
)
def test_the_share_of_a_cards_arithmetic(card: str, best: float) -> None:
    use = estimate.Use("lora", 16, 32, 48, False, 9, False)
    speed = best / estimate.flops(BASE, use)
    assert estimate.mfu(BASE, use, tokens_per_second=speed / 4, card=card) == pytest.approx(0.25)
    assert estimate.mfu(BASE, use, tokens_per_second=speed, card="NVIDIA L40S") is None

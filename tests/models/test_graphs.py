"""Steps in fixed shapes learn what steps of any shape do; what a GPU captures is what it computes."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_finetune import NAMES, RECIPE, TRAIN

from tsirius.models import adapters, batching, encode, finetune, graphs, kernels, load, pooling

ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def training(model: Path, **changes: Any) -> finetune.Training:
    torch.manual_seed(0)
    recipe = dataclasses.replace(RECIPE, **changes)
    made = finetune.build(str(model), names=NAMES, recipe=recipe)
    words = load.tokenizer(str(model))
    return finetune.Training(made, words, TRAIN, recipe=recipe, categories=len(NAMES), max_length=32, seed=3)


@given(st.integers(1, 600), st.integers(0, 600))
def test_a_bucket_holds_its_rows_and_is_no_longer_than_it_must(tokens: int, more: int) -> None:
    longest = tokens + more
    length = graphs.bucket(tokens, longest=longest)
    assert tokens <= length <= -(-longest // 8) * 8
    assert length in graphs.LENGTHS or length in (tokens, -(-longest // 8) * 8)


def test_lengths_between_which_a_card_sees_no_difference_share_a_shape() -> None:
    wide = [graphs.bucket(tokens, longest=200, least=100) for tokens in (1, 17, 96, 97, 140, 200)]
    assert wide == [96, 96, 96, 128, 192, 200]
    assert graphs.bucket(5, longest=20, least=100) == 24  # no longer than the longest row


def test_a_small_card_is_busy_with_fewer_tokens() -> None:
    base = {"layers": 12, "weights": 85_000_000}
    large = graphs.idle(**base, products=2, tflops=989)
    assert graphs.idle(**base, products=3, tflops=989) < large
    assert 0 < graphs.idle(**base, products=2, tflops=65) < large / 10
    assert graphs.idle(**base, products=2, tflops=0) == 0  # a card that is not known


def test_a_plan_of_attention_is_for_shapes_that_come_often() -> None:
    assert not graphs.worth_plans([80] * 1692, epochs=1)
    assert graphs.worth_plans([80] * 1692, epochs=6)
    assert not graphs.worth_plans([40] * 1692 + [80] * 1692, epochs=6)
    assert not graphs.worth_plans([], epochs=3)


@given(st.integers(1, 100), st.integers(0, 100))
def test_rows_are_filled_up_to_a_power_of_two_or_the_most(rows: int, more: int) -> None:
    filled = graphs.fixed_rows(rows, most=rows + more)
    assert (
        rows <= filled <= rows + more
        and (filled == rows + more or filled & (filled - 1) == 0)
        and filled < 2 * rows + 1
    )


def test_fixed_shapes_have_the_gradients_of_any_shape(tiny_model: Path) -> None:
    """Dummy rows and padding add nothing: eager, on a CPU too."""
    changes = {"dropout": 0.0, "classifier_dropout": 0.0, "batch_size": 5}
    found = []
    for fixed in (False, True):
        made = training(tiny_model, **changes)
        for part in made.model.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        made.graphs = graphs.Graphs() if fixed else None
        if fixed:
            made.graphs.reason = "asked for"  # compute as it comes
            made.padded = [graphs.bucket(length, longest=32) for length in made.lengths]
            shapes = [part.shape for part in made.micro_batch([0, 1, 2], 1.0)]
            assert shapes == [(4, 16), (4, 16), (4, len(NAMES)), (4,)]
        made._clear()
        made.gradients(made.rows(0))
        found.append({name: part.grad.clone() for name, part in made.trained.items()})
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6)


def test_dummy_rows_weigh_nothing_and_attend_to_something() -> None:
    ids, mask, targets, weights = graphs.fill_up(
        np.array([[5, 6]]), np.array([[1, 1]]), np.array([[1.0, 0.0]], dtype=np.float32),
        np.array([0.5], dtype=np.float32), rows=3, length=4, pad=1,
    )  # fmt: skip
    assert ids.tolist() == [[5, 6, 1, 1], [1] * 4, [1] * 4]
    assert mask.tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]
    assert targets.sum(axis=1).tolist() == [1, 1, 1] and weights.tolist() == [0.5, 0, 0]


def test_without_a_gpu_nothing_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    held, total = graphs.Graphs(), torch.zeros(1)
    for _ in range(graphs.WARM + 2):
        held.run("add", total.add_, torch.ones(1))
    assert total.item() == graphs.WARM + 2 and not len(held) and held.reason == "no CUDA"


@ON_GPU
@pytest.mark.parametrize("method", ["lora", "full"])
def test_what_is_captured_is_what_is_computed(tiny_model: Path, method: str) -> None:
    """Dropout included, which draws the same numbers in both."""
    scores = []
    for captured in (False, True):
        made = training(tiny_model, method=method, epochs=12, learning_rate=1e-3)
        assert made.graphs is not None
        if not captured:
            made.graphs.reason = "asked for"
        with made.shortened():
            for step in range(made.total):
                made.step(step)
        assert bool(len(made.graphs)) == captured
        words = load.tokenizer(str(tiny_model))
        scores.append(encode.logits(made.model, words, TRAIN.texts, max_length=32, half=adapters.half()))
    np.testing.assert_allclose(scores[1], scores[0], atol=2e-2)


@ON_GPU
def test_work_that_cannot_be_captured_is_done_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    held, total = graphs.Graphs(), torch.zeros(1, device="cuda")

    def work(more: torch.Tensor) -> None:
        total.add_(more * (1 if total.item() >= 0 else 2))  # waits for the GPU

    for _ in range(graphs.WARM + 3):
        held.run("add", work, torch.ones(1, device="cuda"))
    assert total.item() == graphs.WARM + 3 and held.reason and "not captured" in capsys.readouterr().err
    torch.manual_seed(0)
    assert torch.rand(3, device="cuda").isfinite().all()  # random numbers are drawn as ever


def test_what_is_captured() -> None:
    assert adapters.captures("lora", False) and adapters.captures("full", False)
    assert not adapters.captures("qlora", False) and not adapters.captures("lora", True)


@ON_GPU
def test_what_is_fetched_late_is_what_each_text_gives_alone(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small batches, begun before the one before them is fetched."""
    monkeypatch.setattr(encode, "budget_on", lambda device, tokens: batching.Budget(40))
    model, words = load.encoder(str(tiny_model), precision="fp32"), load.tokenizer(str(tiny_model))
    texts = [f"{text} {'кружка ' * (number % 5)}" for number, text in enumerate(list(TRAIN.texts) * 3)]
    embed = encode.Embedder(model, words, pooling.Pooling(("mean",)), [], model.config.hidden_size, 32)
    alone = np.concatenate([embed([text]) for text in texts])
    np.testing.assert_allclose(embed(texts), alone, atol=1e-5)


@ON_GPU
def test_a_shape_is_captured_when_it_is_met_again() -> None:
    held, total = graphs.Graphs(), torch.zeros(1, device="cuda")
    for number in range(graphs.WARM):
        held.run(("warm", number), total.add_, torch.zeros(1, device="cuda"))
    for _ in range(3):
        held.run("again", total.add_, torch.ones(1, device="cuda"))
    assert len(held) == 1 and total.item() == 3


@ON_GPU
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_products_of_16_bits_are_added_to_32(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    grad, one, other = (torch.randn(shape, device="cuda") for shape in ((40, 24), (64, 40), (64, 24)))
    one, other = one.to(kind).t(), other.to(kind)
    expected = grad + one.float() @ other.float()
    kernels.add_product(grad, one, other)
    torch.testing.assert_close(grad, expected, rtol=2e-2, atol=2e-2)

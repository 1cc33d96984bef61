"""Layers written out are transformers' and peft's own: the same answers, gradients and files."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tsirius.models import adapters, kernels, layers, load

IDS = torch.tensor([[0, 7, 8, 9, 2], [0, 9, 2, 1, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """In 32-bit floats, wherever the tests run."""
    monkeypatch.setattr(load, "device", lambda: torch.device("cpu"))


def made(model: Path, method: Any, *, dropout: float = 0.0) -> Any:
    torch.manual_seed(0)
    result = adapters.build(
        str(model), names=["a", "b", "c"], method=method, r=3, alpha=6, dropout=dropout, classifier_dropout=0.0,
        gradient_checkpointing=False,
    )  # fmt: skip
    for part in result.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = dropout if dropout else 0.0
        if isinstance(part, torch.nn.LayerNorm):
            torch.nn.init.normal_(part.weight, 1.0, 0.1)
    for name, part in result.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(part, std=0.1)
    return result.train()


def learned(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Scores, and the gradients of what is trained."""
    model.zero_grad()
    scores = model(input_ids=IDS, attention_mask=MASK).logits
    scores.square().sum().backward()
    return scores.detach(), {name: part.grad.clone() for name, part in model.named_parameters() if part.requires_grad}


@pytest.mark.parametrize("method", ["lora", "full"])
def test_scores_and_gradients_are_those_of_the_library(tiny_model: Path, method: str) -> None:
    model = made(tiny_model, method)
    before = learned(model)
    with layers.shortened(model, half=None, when=True) as held:
        assert held is not None
        within = learned(model)
    after = learned(model)
    for scores, gradients in (within, after):
        torch.testing.assert_close(scores, before[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(gradients, before[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_gradients_that_are_there_are_added_to_where_they_are(tiny_model: Path, method: str) -> None:
    model = made(tiny_model, method)
    once = learned(model)[1]
    model.zero_grad()
    with layers.shortened(model, half=None, when=True) as held:
        assert held is not None
        held.gather()
        trained = {name: part for name, part in model.named_parameters() if part.requires_grad}
        for part in trained.values():
            part.grad = torch.zeros_like(part) if part.grad is None else part.grad
        places = {name: part.grad.data_ptr() for name, part in trained.items()}
        for _ in range(2):
            model(input_ids=IDS, attention_mask=MASK).logits.square().sum().backward()
    assert places == {name: part.grad.data_ptr() for name, part in trained.items()}
    found = {name: part.grad for name, part in trained.items()}
    torch.testing.assert_close(found, {name: 2 * grad for name, grad in once.items()}, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_product_is_added_to_a_gradient(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    grad, one, other = torch.randn(4, 6), torch.randn(4, 5).to(kind), torch.randn(5, 6).to(kind)
    expected = grad + one.float() @ other.float()
    kernels.add_product(grad, one, other)
    torch.testing.assert_close(grad, expected, rtol=2e-2, atol=2e-2 if kind == torch.bfloat16 else 1e-6)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_what_a_step_changes_is_seen_once_it_is_refreshed(tiny_model: Path, method: str) -> None:
    model = made(tiny_model, method)
    with layers.shortened(model, half=None, when=True) as held:
        assert held is not None
        optimiser = torch.optim.AdamW([part for part in model.parameters() if part.requires_grad], lr=1e-2)
        before = learned(model)[0]
        optimiser.step()
        held.refresh()
        within = learned(model)[0]
        seen = learned(model.eval())[0]
    assert not torch.allclose(before, within, atol=1e-3)
    torch.testing.assert_close(learned(model)[0], within, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(seen, within, rtol=1e-5, atol=1e-5)


def test_plain_peft_loads_what_was_trained_so(tiny_model: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    model = made(tiny_model, "lora")
    with layers.shortened(model, half=None, when=True):
        model.save_pretrained(tmp_path)
        scores = learned(model.eval())[0]
    base, _ = load.base_classifier(str(tiny_model), names=["a", "b", "c"], dropout=None)
    given = {name.replace(".base_layer", "").replace("base_model.model.", ""): value
             for name, value in model.state_dict().items() if "LayerNorm" in name}  # fmt: skip
    base.load_state_dict(given, strict=False)
    plain = PeftModel.from_pretrained(base, tmp_path, is_trainable=True)
    torch.testing.assert_close(learned(plain.eval())[0], scores, rtol=1e-5, atol=1e-5)
    assert all(part.is_contiguous() for part in model.parameters())
    model.merge_and_unload()


@pytest.mark.parametrize("method", ["lora", "full"])
def test_with_dropout_the_gradients_are_those_of_finite_differences(tiny_model: Path, method: str) -> None:
    model = made(tiny_model, method, dropout=0.3).double()
    inside = [part for name, part in model.named_parameters() if part.requires_grad and ".layer." in name]
    with layers.shortened(model, half=None, when=True) as held:
        assert held is not None

        def total() -> torch.Tensor:
            torch.manual_seed(1)
            held.refresh()
            return model(input_ids=IDS, attention_mask=MASK).logits.square().sum()  # type: ignore[no-any-return]

        total().backward()
        for part in inside:
            way, step = torch.randn_like(part), 1e-5
            with torch.no_grad():
                slopes = []
                for sign in (1, -2):
                    part.add_(way, alpha=sign * step)
                    slopes.append(total())
                part.add_(way, alpha=step)
            found = (slopes[0] - slopes[1]) / (2 * step)
            torch.testing.assert_close((part.grad * way).sum(), found, rtol=1e-4, atol=1e-6)


def test_dropout_is_drawn_in_training_alone(tiny_model: Path) -> None:
    model = made(tiny_model, "lora", dropout=0.5)
    with layers.shortened(model, half=None, when=True):
        assert not torch.equal(learned(model)[0], learned(model)[0])
        assert torch.equal(learned(model.eval())[0], learned(model.eval())[0])


def test_so_many_are_kept_and_others_with_another_seed() -> None:
    torch.manual_seed(0)
    shape, seeds = (100, 300), torch.randint(-(2**31), 2**31, (12, 2), dtype=torch.int32)
    tables = [kernels.keeps(shape, kernels.Dropout(0.25, seed)).double() for seed in seeds]
    assert all(abs(table.mean() - 0.75) < 0.01 for table in tables)
    assert all((table.mean(dim=0) - 0.75).abs().max() < 0.2 for table in tables)
    found = torch.corrcoef(torch.stack(tables).flatten(1)) - torch.eye(len(tables))
    assert found.abs().max() < 0.03
    ones = kernels.dropped(torch.ones(shape), kernels.Dropout(0.25, seeds[0]))
    torch.testing.assert_close(ones.mean(), torch.tensor(1.0), rtol=0.02, atol=0)
    assert torch.equal(kernels.dropped(ones, kernels.NONE), ones)


def test_the_slope_of_gelu_is_its_derivative() -> None:
    states = torch.linspace(-4, 4, 33, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(torch.nn.functional.gelu(states).sum(), states)
    torch.testing.assert_close(kernels.gelu_slope(states.detach()), slope)

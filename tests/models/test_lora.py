"""The own LoRA layers are peft's: the same answers, gradients and files, with fewer kernels."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tsirius.models import adapters, load, lora

IDS = torch.tensor([[0, 7, 8, 9, 2], [0, 9, 2, 1, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """In 32-bit floats, wherever the tests run."""
    monkeypatch.setattr(load, "device", lambda: torch.device("cpu"))


def made(model: Path, *, dropout: float = 0.0) -> Any:
    torch.manual_seed(0)
    result = adapters.build(
        str(model), names=["a", "b", "c"], method="lora", r=4, alpha=8, dropout=dropout, classifier_dropout=0.0,
        gradient_checkpointing=False,
    )  # fmt: skip
    for part in result.modules():
        if isinstance(part, torch.nn.Dropout) and not dropout:
            part.p = 0.0
    for name, part in result.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(part, std=0.1)
    return result.train()


def learned(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Scores, and the gradients of what is trained."""
    model.zero_grad()
    scores = model(input_ids=IDS.to(load.device()), attention_mask=MASK.to(load.device())).logits
    scores.square().sum().backward()
    return scores.detach(), {name: part.grad.clone() for name, part in model.named_parameters() if part.requires_grad}


def test_scores_and_gradients_are_those_of_peft(tiny_model: Path) -> None:
    model = made(tiny_model)
    before = learned(model)
    with lora.shortened(model, when=True):
        within = learned(model)
    after = learned(model)
    for scores, gradients in (within, after):
        torch.testing.assert_close(scores, before[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(gradients, before[1], rtol=1e-4, atol=1e-5)


def test_query_key_and_value_are_one_product(tiny_model: Path) -> None:
    model = made(tiny_model)
    name_of = {id(part): name.rpartition(".")[2] for name, part in model.named_modules()}
    names = [sorted(name_of[id(layer)] for layer in group) for group in lora._groups(model)]
    layers = model.config.num_hidden_layers
    assert names.count(["key", "query", "value"]) == layers and names.count(["dense"]) == 3 * layers
    weights = [part for name, part in model.named_parameters() if ".layer.0." in name and "base_layer.weight" in name]
    with lora.shortened(model, when=True):
        assert len({part.untyped_storage().data_ptr() for part in weights}) == 4  # of 6 layers


def test_plain_peft_loads_what_was_trained_so(tiny_model: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    model = made(tiny_model)
    with lora.shortened(model, when=True):
        step = torch.optim.AdamW([part for part in model.parameters() if part.requires_grad], lr=1e-2)
        learned(model)
        step.step()
        model.save_pretrained(tmp_path)
        scores = learned(model.eval())[0]
    base, _ = load.base_classifier(str(tiny_model), names=["a", "b", "c"], dropout=None)
    plain = PeftModel.from_pretrained(base, tmp_path, is_trainable=True).to(load.device())
    torch.testing.assert_close(learned(plain.eval())[0], scores, rtol=1e-5, atol=1e-5)
    model.merge_and_unload()


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_the_gradients_are_those_of_finite_differences(layers: int, rate: float) -> None:
    torch.manual_seed(0)
    halves = [torch.randn(2, 5, dtype=torch.float64) for _ in range(layers)]
    halves += [torch.randn(3 + number, 2, dtype=torch.float64) for number in range(layers)]
    width = sum(3 + number for number in range(layers))
    weight, bias = torch.randn(width, 5, dtype=torch.float64), torch.randn(width, dtype=torch.float64)
    states = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)

    def product(given: torch.Tensor, *parts: torch.Tensor) -> Any:
        torch.manual_seed(1)
        return lora._Product.apply(given, weight, bias, rate, [0.5] * layers, *parts)

    assert torch.autograd.gradcheck(product, (states, *(half.requires_grad_() for half in halves)))


def test_dropout_is_drawn_in_training_alone(tiny_model: Path) -> None:
    model = made(tiny_model, dropout=0.5)
    with lora.shortened(model, when=True):
        assert not torch.equal(learned(model)[0], learned(model)[0])
        assert torch.equal(learned(model.eval())[0], learned(model.eval())[0])

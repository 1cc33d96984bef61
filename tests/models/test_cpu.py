"""Linear layers by oneDNN and by 8-bit integers compute what torch's do."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import torch

from tsirius.models import cpu


def layer(bias: bool) -> torch.nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Linear(96, 40, bias=bias)


def rows() -> torch.Tensor:
    return torch.randn(3, 7 + cpu.BLOCK, 96, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_onednn_computes_the_same(bias: bool) -> None:
    if not cpu._has_onednn():
        pytest.skip("this torch has no oneDNN")
    torch.testing.assert_close(cpu.PackedLinear(layer(bias))(rows()), layer(bias)(rows()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_16_bit_floats_come_close(bias: bool) -> None:
    if not cpu._has_onednn() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this torch or this processor has no bfloat16")
    exact = layer(bias)(rows())
    found = cpu.PackedLinear(layer(bias), dtype=torch.bfloat16)(rows())
    assert found.dtype == torch.float32
    assert 0 < (found - exact).norm() < 0.006 * exact.norm()


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("able", [True, False])
def test_16_bits_where_asked_for_and_multiplied(half: bool, able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not cpu._has_onednn():
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(cpu, "has_bfloat16", lambda: able)
    model = torch.nn.Module()
    model.base_model = torch.nn.Sequential(layer(True))
    cpu.packed(model, half=half)
    assert model.base_model[0].dtype == (torch.bfloat16 if half and able else torch.float32)


@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_integers_come_close(bias: bool) -> None:
    exact = layer(bias)(rows())
    error = cpu.Int8Linear(layer(bias))(rows()) - exact
    assert error.norm() < 0.006 * exact.norm()


@torch.inference_mode()
def test_integers_are_the_same_by_onednn_and_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    if not cpu._has_onednn_int8():
        pytest.skip("this torch or this processor has no 8-bit products of oneDNN")
    by_onednn = cpu.Int8Linear(layer(True))(rows())
    monkeypatch.setattr(cpu, "_has_onednn_int8", lambda: False)
    torch.testing.assert_close(cpu.Int8Linear(layer(True))(rows()), by_onednn, atol=1e-6, rtol=1e-5)


class Attention(torch.nn.Module):
    def __init__(self, width: int = 96, key: int = 96) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(2)
            self.query, self.value = torch.nn.Linear(width, 40), torch.nn.Linear(width, 24, bias=False)
            self.key, self.output = torch.nn.Linear(key, 40), torch.nn.Linear(40, 8)
        self.base_model = self


@pytest.mark.parametrize("change", [cpu.packed, cpu.quantised])
@torch.inference_mode()
def test_layers_side_by_side_compute_what_each_does(change: Callable[[Any], Any]) -> None:
    given, first, plain, changed = rows(), rows()[:, :1], Attention(), change(Attention())
    near = partial(torch.testing.assert_close, atol=0.02, rtol=0.01)
    for name in ("query", "key", "value"):
        near(getattr(changed, name)(given), getattr(plain, name)(given))
    for name, asked in [("key", given), ("query", first), ("value", given), ("query", given), ("value", first)]:
        near(getattr(changed, name)(asked), getattr(plain, name)(asked))
    near(changed.output(given[..., :40]), plain.output(given[..., :40]))


@torch.inference_mode()
def test_threads_that_share_layers_get_their_own() -> None:
    changed = cpu.quantised(Attention())
    texts = [torch.randn(4, 96, generator=torch.Generator().manual_seed(n)) for n in range(8)]

    def ask(given: torch.Tensor) -> list[torch.Tensor]:
        return [changed.query(given), changed.key(given), changed.value(given)]

    alone = [ask(given) for given in texts]
    with torch.inference_mode(), ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            for found, wanted in zip(pool.map(ask, texts), alone, strict=True):
                assert all(map(torch.equal, found, wanted))


def test_layers_that_read_other_widths_stay_apart() -> None:
    changed = cpu.quantised(Attention(key=32))
    assert isinstance(changed.key, cpu.Int8Linear)
    assert changed.key(torch.ones(1, 32)).shape == (1, 40)


@torch.inference_mode()
def test_one_large_activation_does_not_drown_the_rest() -> None:
    given, plain = rows(), layer(True)
    given[..., 5] = 200.0
    exact = plain(given)
    error = cpu.Int8Linear(plain)(given) - exact
    without = plain.weight.clone()
    without[:, 5] = 0
    small = torch.nn.functional.linear(given, without)
    assert (error - error.mean(dim=(0, 1))).norm() < 0.02 * small.norm()


@torch.inference_mode()
def test_a_row_of_integers_does_not_depend_on_the_others() -> None:
    coarse = cpu.Int8Linear(layer(True))
    assert torch.equal(coarse(rows())[2, -1], coarse(rows()[2, -1:])[0])


@torch.inference_mode()
def test_zeros_stay_zeros() -> None:
    assert torch.equal(cpu.Int8Linear(layer(False))(torch.zeros(2, 96)), torch.zeros(2, 40))


def test_without_onednn_the_model_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_has_onednn", lambda: False)
    model = object()
    assert cpu.packed(model) is model

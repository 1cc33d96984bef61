"""Linear layers by oneDNN and by 8-bit integers compute what torch's do."""

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

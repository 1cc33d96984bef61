"""Linear layers by oneDNN compute what torch's do."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import torch

from tsirius.errors import UserError
from tsirius.models import cpu


def layer(bias: bool) -> torch.nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Linear(96, 40, bias=bias)


def rows() -> torch.Tensor:
    return torch.randn(3, 263, 96, generator=torch.Generator().manual_seed(1))


needs_onednn = pytest.mark.skipif(not cpu.has_onednn(), reason="this torch has no operations of oneDNN")
"""Are they there? Whether they are right is for the tests to say."""


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_onednn_computes_the_same(bias: bool) -> None:
    torch.testing.assert_close(cpu.PackedLinear(layer(bias))(rows()), layer(bias)(rows()), atol=1e-5, rtol=1e-5)


@needs_onednn
def test_onednn_is_used_where_it_is_right_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpu.onednn_is_right()
    assert isinstance(packed(half=False), cpu.PackedLinear)
    right = cpu.PackedLinear.forward
    monkeypatch.setattr(cpu.PackedLinear, "forward", lambda self, given: right(self, given) * 1.01)
    assert not cpu.onednn_is_right()
    assert type(packed(half=False)) is torch.nn.Linear


@pytest.mark.skipif(not cpu.takes_bfloat16(), reason="oneDNN takes no bfloat16 on this processor")
@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_16_bit_floats_come_close(bias: bool) -> None:
    exact = layer(bias)(rows())
    found = cpu.PackedLinear(layer(bias), dtype=torch.bfloat16)(rows())
    assert found.dtype == torch.float32
    assert 0 < (found - exact).norm() < 0.006 * exact.norm()


def packed(*, half: bool) -> Any:
    model = torch.nn.Module()
    model.base_model = torch.nn.Sequential(layer(True))
    return cpu.packed(model, half=half).base_model[0]


@needs_onednn
@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("multiplies", [True, False])
@pytest.mark.parametrize("takes", [True, False])
def test_16_bits_where_asked_for_and_multiplied(
    half: bool, multiplies: bool, takes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is chosen, on any processor: the layer is a stand-in."""
    chosen = []

    class Layer(torch.nn.Module):
        def __init__(self, _: torch.nn.Linear, *, dtype: torch.dtype) -> None:
            super().__init__()
            chosen.append(dtype)

    monkeypatch.setattr(cpu, "onednn_is_right", lambda: True)
    monkeypatch.setattr(cpu, "_knows", lambda *instructions: multiplies)
    monkeypatch.setattr(cpu, "takes_bfloat16", lambda: takes)
    monkeypatch.setattr(cpu, "PackedLinear", Layer)
    packed(half=half)
    assert chosen == [torch.bfloat16 if half and multiplies and takes else torch.float32]


@needs_onednn
def test_16_bits_are_known_to_be_taken_or_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is torch's own on this processor; where it is no, 16 bits fall back, or are refused where forced."""
    weight = torch.ones(8, 16, dtype=torch.bfloat16)
    if cpu.takes_bfloat16():
        torch.ops.mkldnn._reorder_linear_weight(weight, None)
    else:
        with pytest.raises(RuntimeError, match="bf16 path needs the cpu support"):
            torch.ops.mkldnn._reorder_linear_weight(weight, None)
    monkeypatch.setattr(cpu, "takes_bfloat16", lambda: False)
    assert not cpu.has_bfloat16()
    assert packed(half=True).dtype == torch.float32
    with pytest.raises(UserError, match="this processor cannot multiply 16-bit floats") as refused:
        cpu.PackedLinear(layer(True), dtype=torch.bfloat16)
    assert "\n" not in str(refused.value)


class Attention(torch.nn.Module):
    def __init__(self, width: int = 96, key: int = 96) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(2)
            self.query, self.value = torch.nn.Linear(width, 40), torch.nn.Linear(width, 24, bias=False)
            self.key, self.output = torch.nn.Linear(key, 40), torch.nn.Linear(40, 8)
        self.base_model = self


@pytest.mark.parametrize("half", [False, True])
@torch.inference_mode()
def test_layers_side_by_side_compute_what_each_does(half: bool) -> None:
    given, first, plain, changed = rows(), rows()[:, :1], Attention(), cpu.packed(Attention(), half=half)
    near = partial(torch.testing.assert_close, atol=0.02, rtol=0.01)
    for name in ("query", "key", "value"):
        near(getattr(changed, name)(given), getattr(plain, name)(given))
    for name, asked in [("key", given), ("query", first), ("value", given), ("query", given), ("value", first)]:
        near(getattr(changed, name)(asked), getattr(plain, name)(asked))
    near(changed.output(given[..., :40]), plain.output(given[..., :40]))


@torch.inference_mode()
def test_threads_that_share_layers_get_their_own() -> None:
    changed = cpu.packed(Attention())
    texts = [torch.randn(4, 96, generator=torch.Generator().manual_seed(n)) for n in range(8)]

    def ask(given: torch.Tensor) -> list[torch.Tensor]:
        return [changed.query(given), changed.key(given), changed.value(given)]

    alone = [ask(given) for given in texts]
    with torch.inference_mode(), ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            for found, wanted in zip(pool.map(ask, texts), alone, strict=True):
                assert all(map(torch.equal, found, wanted))


@needs_onednn
@torch.inference_mode()
def test_layers_that_read_other_widths_stay_apart() -> None:
    changed = cpu.packed(Attention(key=32))
    assert isinstance(changed.key, cpu.PackedLinear)
    assert changed.key(torch.ones(1, 32)).shape == (1, 40)


def test_without_onednn_the_model_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "has_onednn", lambda: False)
    model = object()
    assert cpu.packed(model) is model

"""AdamW in one kernel takes torch's steps, and what is summed beside it is the sum."""

from typing import Any

import pytest
import torch

from tsirius.models import adamw, kernels

ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SHAPES = ((70, 100), (9,), (100, 16), (50, 60), (4096,))


def optimiser(device: str) -> tuple[list[Any], Any]:
    torch.manual_seed(0)
    parts = [torch.nn.Parameter(torch.randn(shape).to(device)) for shape in SHAPES]
    groups = [
        {"params": parts[:2], "lr": torch.tensor(1e-2, device=device), "weight_decay": 0.01},
        {"params": parts[2:], "lr": torch.tensor(1e-3, device=device), "weight_decay": 0.0},
    ]
    return parts, torch.optim.AdamW(groups, fused=True, capturable=device == "cuda")


def test_on_a_cpu_the_step_is_torchs() -> None:
    parts, made = optimiser("cpu")
    for part in parts:
        part.grad = torch.zeros_like(part)
    assert not adamw.fits(made)


@ON_GPU
def test_steps_are_torchs_and_copies_follow() -> None:
    (parts, own), (others, plain) = optimiser("cuda"), optimiser("cuda")
    for part in parts:
        part.grad = torch.zeros_like(part)
    wide, bias = (torch.zeros(shape, dtype=torch.bfloat16, device="cuda") for shape in ((100, 48), (20,)))
    copies = [(wide[:, 32:], parts[2]), (bias[3:12], parts[1])]
    assert adamw.fits(own)
    steps = adamw.AdamW(own, copies)
    for _ in range(5):
        for part, other in zip(parts, others, strict=True):
            given = torch.randn_like(part)
            part.grad.copy_(given)
            other.grad = given / 2.5
        steps.step(torch.tensor(2.5, device="cuda"))
        plain.step()
    torch.testing.assert_close(parts, others, rtol=1e-5, atol=1e-6)
    for part, other in zip(parts, others, strict=True):
        torch.testing.assert_close(own.state[part], plain.state[other], rtol=1e-5, atol=1e-6)
    assert all(torch.equal(mine, theirs.detach().bfloat16()) for mine, theirs in copies)
    assert not wide[:, :32].any() and not bias[:3].any() and not bias[12:].any()


@ON_GPU
def test_sums_on_a_gpu_are_those_on_a_cpu() -> None:
    torch.manual_seed(0)
    for rows, width in ((5, 9), (1000, 130), (8192, 64)):
        table = torch.randn(rows, width + 8).bfloat16()
        torch.testing.assert_close(
            kernels.column_sums(table.cuda()[:, :width]).cpu(),
            table.float()[:, :width].sum(dim=0),
            rtol=1e-4,
            atol=1e-3,
        )
    ids, grad = torch.randint(0, 7, (600,)), torch.randn(600, 300)
    ids[50:320] = 1
    for skipped in (None, 1):
        here, there = torch.ones(10, 300), torch.ones(10, 300, device="cuda")
        kernels.add_rows(here, ids, grad, skipped=skipped)
        kernels.add_rows(there, ids.cuda(), grad.cuda(), skipped=skipped)
        torch.testing.assert_close(there.cpu(), here, rtol=1e-4, atol=1e-4)


def test_rows_of_one_word_are_added_up() -> None:
    table = torch.zeros(3, 2)
    kernels.add_rows(table, torch.tensor([2, 0, 2, 1]), torch.arange(8.0).view(4, 2), skipped=1)
    assert table.tolist() == [[2, 3], [0, 0], [4, 6]]

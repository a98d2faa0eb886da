"""Reductions over clouds: the dense form, the ragged form and a plain loop are one."""

import pytest
import torch

from erlangen.nn.clouds import BatchNorm, cloud_matmul, cloud_max, cloud_mean, common_size, point_mlp

SIZES = [[5, 5, 5], [3, 7, 1], [4]]


def ragged(sizes: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    ptr = torch.tensor([0, *sizes]).cumsum(0)
    return torch.randn(int(ptr[-1]), 6, dtype=torch.float64, requires_grad=True), ptr


@pytest.mark.parametrize("sizes", SIZES)
def test_reductions_and_their_gradients(sizes: list[int]) -> None:
    values, ptr = ragged(sizes)
    pieces = values.split(sizes)
    loops = {
        cloud_max: torch.stack([piece.max(0).values for piece in pieces]),
        cloud_mean: torch.stack([piece.mean(0) for piece in pieces]),
    }
    for reduce, expected in loops.items():
        torch.testing.assert_close(reduce(values, ptr), expected)
        weights = torch.randn_like(expected)
        (gradient,) = torch.autograd.grad((reduce(values, ptr) * weights).sum(), values)
        (loop,) = torch.autograd.grad((expected * weights).sum(), values)
        torch.testing.assert_close(gradient, loop)


@pytest.mark.parametrize("sizes", SIZES)
def test_every_cloud_has_its_own_matrix(sizes: list[int]) -> None:
    values, ptr = ragged(sizes)
    matrices = torch.randn(len(sizes), 6, 4, dtype=torch.float64)
    loop = torch.cat([piece @ matrix for piece, matrix in zip(values.split(sizes), matrices, strict=True)])
    torch.testing.assert_close(cloud_matmul(values, matrices, ptr), loop)
    rows = values.unflatten(-1, (3, 2))
    small = torch.randn(len(sizes), 2, 2, dtype=torch.float64)
    loop = torch.cat([piece @ matrix for piece, matrix in zip(rows.split(sizes), small, strict=True)])
    torch.testing.assert_close(cloud_matmul(rows, small, ptr), loop)


def test_common_size() -> None:
    assert common_size(torch.tensor([0, 3, 6])) == 3
    assert common_size(torch.tensor([0, 3, 5])) is None


def test_a_single_row_is_normalised_by_what_is_known() -> None:
    norm = BatchNorm(4)
    norm(torch.randn(100, 4) * 3 + 1)
    mean = norm.running_mean.clone()
    row = torch.randn(1, 4)
    torch.testing.assert_close(norm(row), norm.eval()(row))
    assert torch.equal(norm.running_mean, mean)


def test_a_point_mlp_is_the_same_at_every_point() -> None:
    mlp = point_mlp([6, 8, 3], torch.nn.ReLU()).double().eval()
    values = torch.randn(10, 6, dtype=torch.float64)
    torch.testing.assert_close(mlp(values), torch.cat([mlp(value[None]) for value in values]))

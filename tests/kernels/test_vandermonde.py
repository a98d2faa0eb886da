"""S4D's convolution kernel, against the recurrence that it unrolls."""

import math

import pytest
import torch

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.kernels.vandermonde import example

BACKENDS = ["reference", "two_level"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 100])
def test_it_is_the_impulse_response_of_the_recurrence(backend, length):
    (coefficient, exponent, _), _ = example(torch.complex128, "cpu", 0)
    state, response = torch.ones_like(exponent), []
    for _ in range(length):
        response.append(2 * (coefficient * state).real.sum(1))
        state = exponent.exp() * state
    kernel = kernels.get("vandermonde", backend)(coefficient, exponent, length)
    torch.testing.assert_close(kernel, torch.stack(response, 1))


@pytest.mark.parametrize("backend", BACKENDS)
def test_pure_decay_and_pure_oscillation_have_their_closed_forms(backend):
    step = torch.arange(50, dtype=torch.float64)
    exponent = torch.tensor([[-0.1 + 0j], [0.3j]], dtype=torch.complex128)
    kernel = kernels.get("vandermonde", backend)(torch.ones_like(exponent), exponent, 50)
    torch.testing.assert_close(kernel, 2 * torch.stack([torch.exp(-0.1 * step), torch.cos(0.3 * step)]))


def test_large_phases_do_not_cost_two_level_its_precision():
    """At S4D's published size the naive product in float32 is the less exact one."""
    (coefficient, exponent, _), _ = example(torch.complex64, "cpu", 0, heads=8, roots=32, length=2048)
    true = kernels.get("vandermonde", "reference")(
        coefficient.to(torch.complex128), exponent.to(torch.complex128), 2048
    )
    errors = {}
    for backend in BACKENDS:
        found = kernels.get("vandermonde", backend)(coefficient, exponent, 2048)
        errors[backend] = ((found - true).abs().max() / true.abs().max()).item()
    assert errors["two_level"] < 5e-7
    assert errors["two_level"] < errors["reference"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_in_nothing_out(backend):
    kernel = kernels.get("vandermonde", backend)
    numbers = torch.ones(3, 2, dtype=torch.complex64)
    assert kernel(numbers, numbers, 0).shape == (3, 0)
    assert kernel(numbers[:0], numbers[:0], 5).shape == (0, 5)
    assert kernel(numbers[:, :0], numbers[:, :0], 5).abs().max() == 0


def test_mistakes_are_named():
    kernel = kernels.get("vandermonde", "two_level")
    numbers = torch.ones(3, 2, dtype=torch.complex64)
    with pytest.raises(UserError, match=r"coefficient \(3, 2\) and exponent \(2, 2\)"):
        kernel(numbers, numbers[:2], 4)
    with pytest.raises(UserError, match="must be complex"):
        kernel(numbers.real, numbers.real, 4)
    with pytest.raises(UserError, match="length=-1"):
        kernel(numbers, numbers, -1)
    assert math.isnan(kernel(numbers * math.nan, numbers, 4).sum())

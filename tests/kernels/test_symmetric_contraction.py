"""MACE's symmetric contraction, against sums over e3nn's couplings, character theory, and rotations."""

import math

import pytest
import torch
from e3nn import o3

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.geometry.rotations import random_orthogonal
from erlangen.geometry.wigner import rotate, wigner_blocks
from erlangen.kernels.symmetric_contraction import paths, symmetric_couplings

NODES, CHANNELS, SPECIES = 6, 3, 2


def contraction(lmax, lmax_out, correlation):
    return kernels.get("symmetric_contraction", lmax=lmax, lmax_out=lmax_out, correlation=correlation)


def arguments(generator, spec):
    x = torch.randn(NODES, (spec[0] + 1) ** 2, CHANNELS, generator=generator, dtype=torch.float64)
    weight = torch.randn(SPECIES, len(paths(*spec)), CHANNELS, generator=generator, dtype=torch.float64)
    return x, weight, torch.arange(NODES) % SPECIES


def couplings(lmax, order):
    """[(irrep, U)] of all chains of couplings, U (2l + 1, K, ..., K), sorted as e3nn sorts irreps: eq. (10) afresh."""
    size, eye = (lmax + 1) ** 2, torch.eye((lmax + 1) ** 2)
    inputs = [o3.Irrep(degree, (-1) ** degree) for degree in range(lmax + 1)]
    if order == 1:
        return [(ir, eye[ir.l**2 : (ir.l + 1) ** 2]) for ir in inputs]
    found = []
    for left, U in couplings(lmax, order - 1):
        for ir in inputs:
            for out in left * ir:
                C = o3.wigner_3j(out.l, left.l, ir.l) * math.sqrt(out.dim)
                wide = torch.zeros(out.dim, left.dim, size)
                wide[:, :, ir.l**2 : (ir.l + 1) ** 2] = C
                found.append((out, torch.einsum("oab,a...->o...b", wide, U)))
    return sorted(found, key=lambda pair: pair[0])


def explicit(x, weight, species, lmax, lmax_out, correlation):
    """Eq. (11) without any symmetry: every U contracted with every factor."""
    place, out = 0, []
    for degree in range(lmax_out + 1):
        total = torch.zeros(NODES, 2 * degree + 1, CHANNELS)
        for order in range(1, correlation + 1):
            for ir, U in couplings(lmax, order):
                if ir != o3.Irrep(degree, (-1) ** degree):
                    continue
                value = U.expand(NODES, CHANNELS, *U.shape)
                for _ in range(order):
                    value = torch.einsum("nc...k,nkc->nc...", value, x)
                total = total + weight[species, place].unsqueeze(1) * value.mT
                place += 1
        out.append(total)
    assert place == weight.shape[1]
    return torch.cat(out, 1)


@pytest.mark.parametrize("spec", [(0, 0, 3), (1, 1, 3), (2, 1, 3), (2, 2, 2), (1, 3, 2), (1, 0, 4)])
def test_it_is_the_sum_over_symmetrised_clebsch_gordan_couplings(default_float64, generator, spec):
    args = arguments(generator, spec)
    expected = explicit(*args, *spec)
    found = contraction(*spec)(*args)
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()


def test_the_number_of_weights_is_that_of_mace():
    """MACE with degrees up to 3 and scalar messages: 1, 4 and 23 weights for each element and channel."""
    counts = [sum(len(path.degrees) == order for path in paths(3, 0, 3)) for order in (1, 2, 3)]
    assert counts == [1, 4, 23]


def multiplicity(lmax, out, order):
    """How often degree `out` with the harmonics' parity occurs in the symmetric power: the mean of characters over O(3)."""
    angle = torch.arange(64, dtype=torch.float64) * (2 * math.pi / 64)

    def one(degree, power, improper):
        m = torch.arange(-degree, degree + 1, dtype=torch.float64)
        return torch.cos(power * angle[:, None] * m).sum(1) * (-1) ** (degree * power * improper)

    total = 0
    for improper in (0, 1):
        p1, p2, p3 = (sum(one(degree, k, improper) for degree in range(lmax + 1)) for k in (1, 2, 3))
        power = {1: p1, 2: (p1**2 + p2) / 2, 3: (p1**3 + 3 * p1 * p2 + 2 * p3) / 6}[order]
        total += ((1 - angle.cos()) * power * one(out, 1, improper)).mean() / 2
    return round(total.item(), 9)


@pytest.mark.parametrize("lmax", [1, 2, 3])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_basis_has_every_symmetric_coupling_once(lmax, order):
    for out in range(3):
        assert symmetric_couplings(lmax, out, order)[0].shape[1] == multiplicity(lmax, out, order)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_it_is_equivariant_under_rotations_and_reflections(generator, dtype, bound):
    spec = (3, 2, 3)
    x, weight, species = arguments(generator, spec)
    x, weight = x.to(dtype), weight.to(dtype)
    D = wigner_blocks(random_orthogonal(NODES, generator=generator).to(dtype), 3)
    turned = contraction(*spec)(rotate(x, D), weight, species)
    expected = rotate(contraction(*spec)(x, weight, species), D[:3])
    assert (turned - expected).abs().max() <= bound * expected.abs().max()


def test_scalars_alone_give_a_polynomial(generator):
    x, weight, species = arguments(generator, (0, 0, 3))
    w = weight[species].unsqueeze(2)
    torch.testing.assert_close(contraction(0, 0, 3)(x, weight, species), w[:, 0] * x + w[:, 1] * x**2 + w[:, 2] * x**3)


def test_no_nodes_give_no_rows_and_gradients_of_zero(generator):
    x, weight, species = arguments(generator, (2, 1, 3))
    weight.requires_grad_()
    out = contraction(2, 1, 3)(x[:0], weight, species[:0])
    assert out.shape == (0, 4, CHANNELS)
    out.sum().backward()
    assert weight.grad.abs().max() == 0


def test_wrong_arguments_are_named(generator):
    x, weight, species = arguments(generator, (2, 1, 2))
    kernel = contraction(2, 1, 2)
    for wrong in ((x[:, :4], weight, species), (x, weight[:, :-1], species), (x, weight, species[:-1])):
        with pytest.raises(UserError, match=r"give x \(nodes, 9, channels\), weight \(species, \d+ paths, channels\)"):
            kernel(*wrong)
    with pytest.raises(UserError, match="correlation=0; give the number of factors"):
        contraction(2, 1, 0)(x, weight, species)
    with pytest.raises(UserError, match="lmax must be >= 0"):
        contraction(2, -1, 2)(x, weight, species)
    with pytest.raises(UserError, match="species goes from 1 to 2; give indices from 0 to 1"):
        kernel(x, weight, species + 1)

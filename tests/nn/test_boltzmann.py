"""Machines small enough to sum over all their states, and convolutions against dense matrices built by a loop."""

import itertools
from copy import deepcopy

import pytest
import torch
from synthetic import randomize
from torch import Tensor

from erlangen.errors import UserError
from erlangen.nn.boltzmann import AssociativeMemory, ConvolutionalRBM

SHAPES = [(1, 2, 3, 2, 1), (2, 2, 1, 1, 1), (2, 3, 2, 2, 1), (1, 5, 1, 3, 2)]
"""channels, side, filters, size, stride: one place; single voxels; overlapping filters; a stride."""


def machine(*shape: int) -> ConvolutionalRBM:
    made = ConvolutionalRBM(*shape).double()
    randomize(made)
    return made


def states(*shape: int) -> Tensor:
    """All binary tensors of a shape."""
    count = torch.Size(shape).numel()
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=count)), dtype=torch.float64).view(-1, *shape)


def dense(rbm: ConvolutionalRBM) -> Tensor:
    """The weights (hidden units, visible units) of the same machine without convolution."""
    filters, channels = rbm.weight.shape[:2]
    matrix = torch.zeros(filters, *[rbm.places] * 3, channels, *[rbm.side] * 3, dtype=torch.float64)
    for place in itertools.product(range(rbm.places), repeat=3):
        for tap in itertools.product(range(rbm.size), repeat=3):
            x, y, z = (rbm.stride * start + step for start, step in zip(place, tap, strict=True))
            matrix[:, *place, :, x, y, z] = rbm.weight[:, :, *tap].detach()
    return matrix.flatten(4).flatten(0, 3)


def binary(*shape: int) -> Tensor:
    return torch.bernoulli(torch.full(shape, 0.5, dtype=torch.float64))


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_dense_machine_with_tied_weights(shape: tuple[int, ...]) -> None:
    rbm = machine(*shape)
    channels, side, filters = shape[:3]
    matrix, visible_bias = dense(rbm), rbm.visible_bias.flatten()
    hidden_bias = rbm.hidden_bias.repeat_interleave(rbm.places**3)
    v, h = binary(5, channels, side, side, side), binary(5, filters, *[rbm.places] * 3)
    flat, hidden = v.flatten(1), h.flatten(1)
    energy = -torch.einsum("nh,hv,nv->n", hidden, matrix, flat) - hidden @ hidden_bias - flat @ visible_bias
    torch.testing.assert_close(rbm.energy(v, h), energy)
    torch.testing.assert_close(rbm.hidden(v).flatten(1), flat @ matrix.T + hidden_bias)
    torch.testing.assert_close(rbm.visible(h).flatten(1), hidden @ matrix + visible_bias)


@pytest.mark.parametrize("shape", SHAPES)
def test_hidden_units_and_free_energy_are_those_of_all_states(shape: tuple[int, ...]) -> None:
    rbm = machine(*shape)
    channels, side, filters = shape[:3]
    h = states(filters, *[rbm.places] * 3)
    for v in binary(3, channels, side, side, side):
        energies = rbm.energy(v.expand(len(h), *v.shape), h)
        torch.testing.assert_close(rbm.free_energy(v[None])[0], -torch.logsumexp(-energies, 0))
        expected = torch.einsum("n,n...->...", (-energies).softmax(0), h)
        torch.testing.assert_close(rbm.hidden(v[None]).sigmoid()[0], expected)


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_visible_units_are_those_of_all_states(shape: tuple[int, ...]) -> None:
    rbm = machine(*shape)
    channels, side, filters = shape[:3]
    v = states(channels, side, side, side)
    for h in binary(2, filters, *[rbm.places] * 3):
        energies = rbm.energy(v, h.expand(len(v), *h.shape))
        expected = torch.einsum("n,n...->...", (-energies).softmax(0), v)
        torch.testing.assert_close(rbm.visible(h[None]).sigmoid()[0], expected)


def test_the_gradient_of_free_energies_is_that_of_the_likelihood() -> None:
    """With the model's own distribution in the negative phase, exactly; with samples of it, within their noise."""
    rbm = machine(1, 2, 3, 2, 1)
    data, everything = binary(6, 1, 2, 2, 2), states(1, 2, 2, 2)
    parameters = list(rbm.parameters())
    energies = rbm.free_energy(everything)
    likelihood = torch.autograd.grad(rbm.free_energy(data).mean() + torch.logsumexp(-energies, 0), parameters)
    chances = (-energies).softmax(0).detach()
    exact = torch.autograd.grad(rbm.free_energy(data).mean() - chances @ rbm.free_energy(everything), parameters)
    samples = everything[torch.multinomial(chances, 40000, replacement=True)]
    sampled = torch.autograd.grad(rbm.contrast(data, samples), parameters)
    assert min(gradient.abs().max() for gradient in likelihood) > 0.05
    for expected, one, other in zip(likelihood, exact, sampled, strict=True):
        torch.testing.assert_close(one, expected)
        torch.testing.assert_close(other, expected, rtol=0, atol=5 * 0.5 / 40000**0.5)


@pytest.mark.parametrize("shape", SHAPES)
def test_contrast_is_contrastive_divergence_by_hand(shape: tuple[int, ...]) -> None:
    """<v h> of the data minus that of the model, averaged over samples and places (visible biases: over one axis)."""
    rbm = machine(*shape)
    channels, side, filters = shape[:3]
    data, model = binary(4, channels, side, side, side), torch.rand(3, channels, side, side, side, dtype=torch.float64)
    weight, hidden_bias, visible_bias = torch.autograd.grad(rbm.contrast(data, model), list(rbm.parameters()))
    difference = torch.autograd.grad(rbm.free_energy(data).mean() - rbm.free_energy(model).mean(), rbm.weight)
    torch.testing.assert_close(weight, difference[0] / rbm.places**3)
    by_hand = torch.zeros_like(rbm.weight)
    for sign, v in ((-1, data), (1, model)):
        h = rbm.hidden(v).sigmoid()
        for place in itertools.product(range(rbm.places), repeat=3):
            field = v[:, :, *(slice(rbm.stride * at, rbm.stride * at + rbm.size) for at in place)]
            by_hand += sign * torch.einsum("nf,ncxyz->fcxyz", h[:, :, *place], field) / len(v) / rbm.places**3
    torch.testing.assert_close(weight, by_hand.detach())
    mean = lambda v: rbm.hidden(v).sigmoid().mean((0, 2, 3, 4))  # noqa: E731
    torch.testing.assert_close(hidden_bias, mean(model) - mean(data))
    torch.testing.assert_close(visible_bias, (model.mean(0) - data.mean(0)) / rbm.places)


def test_only_places_that_are_touched_count() -> None:
    rbm = machine(1, 8, 3, 4, 2)
    v = torch.zeros(2, 1, 8, 8, 8, dtype=torch.float64)
    v[0, 0, 0, 0, 0] = v[1, 0, 3, 3, 3] = 1
    where = rbm.touched(v)
    expected = torch.zeros(2, 1, 3, 3, 3, dtype=torch.bool)
    expected[0, 0, 0, 0, 0] = True
    expected[1, 0, :2, :2, :2] = True
    assert torch.equal(where, expected)
    model = torch.rand_like(v)
    _, hidden_bias, _ = torch.autograd.grad(rbm.contrast(v, model, where), list(rbm.parameters()))
    on = lambda v: rbm.hidden(v).sigmoid().movedim(1, -1)[where[:, 0]].mean(0)  # noqa: E731
    torch.testing.assert_close(hidden_bias, on(model) - on(v))


def test_sparsity_moves_hidden_biases_by_what_is_above_the_target() -> None:
    rbm = machine(1, 6, 2, 2, 2)
    v = binary(3, 1, 6, 6, 6)
    weight, hidden_bias, visible_bias = torch.autograd.grad(
        rbm.sparsity(v, 0.1), list(rbm.parameters()), allow_unused=True
    )
    assert weight is None and visible_bias is None  # noqa: PT018
    torch.testing.assert_close(hidden_bias, rbm.hidden(v).sigmoid().mean((0, 2, 3, 4)) - 0.1)
    where = torch.zeros(3, 1, 3, 3, 3, dtype=torch.bool)
    assert torch.autograd.grad(rbm.sparsity(v, 0.1, where), rbm.hidden_bias)[0].abs().max() == 0


@pytest.mark.parametrize(("size", "stride"), [(9, 1), (3, 2), (2, 3), (0, 1), (4, 0)])
def test_filters_must_cover_the_volume(size: int, stride: int) -> None:
    with pytest.raises(UserError, match="do not cover 8 cells"):
        ConvolutionalRBM(1, 8, 4, size, stride)


CLASSES, COPIES, FEATURES, HIDDEN = 3, 2, 3, 3


def memory(chains: int = 4) -> AssociativeMemory:
    made = AssociativeMemory(CLASSES, COPIES, FEATURES, HIDDEN, chains).double()
    randomize(made)
    return made


def joint() -> tuple[Tensor, Tensor]:
    """All states: visible units for every choice of every copy and all features, and hidden units."""
    rows = []
    for copies in itertools.product(range(CLASSES), repeat=COPIES):
        counts = [float(copies.count(name)) for name in range(CLASSES)]
        rows += [[*counts, *features] for features in itertools.product([0.0, 1.0], repeat=FEATURES)]
    visible, hidden = torch.tensor(rows, dtype=torch.float64), states(HIDDEN)
    return visible.repeat_interleave(len(hidden), 0), hidden.repeat(len(visible), 1)


def test_the_memorys_conditionals_are_those_of_all_states() -> None:
    net = memory()
    visible, hidden = joint()
    chances = (-net.energy(visible, hidden)).exp()
    for v in visible.unique(dim=0)[::5]:
        same = (visible == v).all(1)
        expected = (chances[same, None] * hidden[same]).sum(0) / chances[same].sum()
        torch.testing.assert_close(net.hidden(v[None]).sigmoid()[0], expected)
        ways = same.sum() / 2**HIDDEN  # how many choices of the copies have these counts
        torch.testing.assert_close(net.free_energy(v[None])[0], -(chances[same].sum() / ways).log())
    for h in states(HIDDEN):
        same = (hidden == h).all(1)
        expected = (chances[same, None] * visible[same]).sum(0) / chances[same].sum()
        label, features = net.visible(h[None])
        torch.testing.assert_close(COPIES * label.softmax(1)[0], expected[:CLASSES])
        torch.testing.assert_close(features.sigmoid()[0], expected[CLASSES:])


def test_the_label_is_inferred_as_from_all_states() -> None:
    net, features = memory(), binary(4, FEATURES)
    hidden = states(HIDDEN)
    for x, found in zip(features, net.label_logits(features).softmax(1), strict=True):
        chances = []
        for name in range(CLASSES):
            visible = net.units(torch.tensor([name]), x[None])
            assert visible[0, name] == COPIES
            chances.append((-net.energy(visible.expand(len(hidden), -1), hidden)).exp().sum())
        torch.testing.assert_close(found, torch.stack(chances) / sum(chances))


@pytest.mark.parametrize("fast", [False, True])
def test_chains_reach_the_distribution_of_all_states(fast: bool) -> None:
    net = memory(chains=4000)
    for buffer in (net.fast_weight, net.fast_hidden_bias, net.fast_visible_bias):
        buffer.normal_()
    reference = deepcopy(net)
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            parameter.add_(fast * getattr(net, f"fast_{name}"))
    visible, hidden = joint()
    chances = (-reference.energy(visible, hidden)).softmax(0).detach()
    found = torch.stack([net.go_on(1, fast) for _ in range(60)][30:]).mean((0, 1))
    expected = chances @ visible
    assert (expected - visible.mean(0)).abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=0.03)
    torch.testing.assert_close(net.chain.mean(0), chances @ hidden, rtol=0, atol=0.05)


def test_the_memorys_contrast_is_the_gradient_by_hand_and_fast_weights_follow_it() -> None:
    net = memory()
    net.fast_weight.normal_()
    before = net.fast_weight.clone()
    data, model = net.units(torch.tensor([0, 2]), binary(2, FEATURES)), net.go_on(2, fast=True)
    net.contrast(data, model, fast=True).backward()
    outer = lambda v, fast: net.hidden(v, fast).sigmoid().T @ v / len(v)  # noqa: E731
    gradient = outer(model, True) - outer(data, False)
    torch.testing.assert_close(net.weight.grad, gradient.detach())
    torch.testing.assert_close(net.visible_bias.grad, model.mean(0) - data.mean(0))
    net.learn_fast(0.1)
    torch.testing.assert_close(net.fast_weight, 0.95 * before - 0.1 * net.weight.grad)

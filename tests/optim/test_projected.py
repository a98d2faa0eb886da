"""AdamP and SGDP: the growth of scale-invariant weights by the paper's lemmas, and what is left without the projection."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from erlangen.optim.projected import SGDP, AdamP, projected

ADAM = {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-8}
PROJECTION = {"delta": 0.1, "wd_ratio": 0.1}


def adamp(params, **options) -> AdamP:
    return AdamP(params, **{**ADAM, **PROJECTION, "weight_decay": 0.0, "nesterov": False, **options})


def sgdp(params, **options) -> SGDP:
    return SGDP(params, **{"lr": 0.1, "momentum": 0.9, **PROJECTION, "weight_decay": 0.0, "nesterov": False, **options})


def run(make: Callable[..., Optimizer], steps: int = 6, target: torch.Tensor | None = None) -> list[torch.Tensor]:
    """The weights of 1 - cos(w, target), which does not depend on their length, after each step."""
    torch.manual_seed(3)
    w = nn.Parameter(torch.randn(4, 7, dtype=torch.float64))
    target = torch.randn(4, 7, dtype=torch.float64) if target is None else target
    optimizer = make([w])
    path = [w.detach().clone()]
    for _ in range(steps):
        optimizer.zero_grad()
        (1 - torch.cosine_similarity(w.flatten(), target.flatten(), dim=0)).backward()
        optimizer.step()
        path.append(w.detach().clone())
    return path


def gradient_at(w: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    w = w.clone().requires_grad_()
    return torch.autograd.grad(1 - torch.cosine_similarity(w.flatten(), target.flatten(), dim=0), w)[0]


def test_momentum_makes_a_weight_grow_and_the_projection_stops_it() -> None:
    """Lemma 2.2 for SGD with momentum, |w|^2 + sum 2 lr^2 beta^(t-k) |p_k|^2; with the projection lemma 2.1's form only."""
    torch.manual_seed(3)
    torch.randn(4, 7, dtype=torch.float64)
    target = torch.randn(4, 7, dtype=torch.float64)
    lr, beta = 0.1, 0.9
    path = run(lambda p: torch.optim.SGD(p, lr=lr, momentum=beta))
    momenta, expected = [], path[0].square().sum()
    for before, after in zip(path, path[1:], strict=False):
        momenta.append((before - after) / lr)
        past = sum(beta ** (len(momenta) - 1 - k) * p.square().sum() for k, p in enumerate(momenta[:-1]))
        expected = expected + lr**2 * momenta[-1].square().sum() + 2 * lr**2 * past
        torch.testing.assert_close(after.square().sum(), expected)

    path = run(sgdp)
    momentum = torch.zeros(4, 7, dtype=torch.float64)
    for before, after in zip(path, path[1:], strict=False):
        direction = before / before.norm()
        momentum = beta * momentum + gradient_at(before, target)
        update = momentum - direction * (direction * momentum).sum()
        torch.testing.assert_close(after, before - lr * update, rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(after.square().sum(), before.square().sum() + (lr * update).square().sum())


def test_projected_weights_stay_shorter() -> None:
    """The figure of the paper in small: with the same steps, momentum alone grows several times as much."""
    for plain, ours in (
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), sgdp),
        (lambda p: torch.optim.Adam(p, **ADAM), adamp),
    ):
        growth = [float(path[-1].norm() - path[0].norm()) for path in (run(plain, 60), run(ours, 60))]
        assert 0 < growth[1] < 0.5 * growth[0]


def test_the_update_is_orthogonal_to_the_weights_that_have_no_scale() -> None:
    torch.manual_seed(0)
    w, update = torch.randn(2, 5, 3, 2, 2, dtype=torch.float64)
    rows = w.flatten(1)
    noise = torch.randn_like(rows)
    by_row = (noise - rows * (noise * rows).sum(1, keepdim=True) / rows.square().sum(1, keepdim=True)).view_as(w)
    whole = torch.randn_like(w)
    whole = whole - w * (whole * w).sum() / w.square().sum()

    rest, ratio = projected(w, by_row, update, 0.1, 0.25)
    assert (rest * w).flatten(1).sum(1).abs().max() < 1e-7
    assert ratio == 0.25
    torch.testing.assert_close(rest, projected(w, by_row, rest, 0.1, 0.25)[0])

    rest, ratio = projected(w, whole, update, 0.1, 0.25)
    assert abs((rest * w).sum()) < 1e-7
    assert (rest * w).flatten(1).sum(1).abs().max() > 0.1
    assert ratio == 0.25

    rest, ratio = projected(w, w, update, 0.1, 0.25)
    assert torch.equal(rest, update)
    assert ratio == 1


def test_delta_is_how_orthogonal_is_orthogonal() -> None:
    """Eq. (12): |cos| below delta / sqrt(d), d the numbers of a row."""
    w = torch.eye(2, 9, dtype=torch.float64)
    across = torch.zeros(2, 9, dtype=torch.float64)
    across[:, 5] = 1
    for cosine, found in ((0.9 * 0.3 / math.sqrt(9), True), (1.1 * 0.3 / math.sqrt(9), False)):
        gradient = cosine * w + math.sqrt(1 - cosine**2) * across
        rest, ratio = projected(w, gradient, w, 0.3, 0.5)
        assert (ratio == 0.5) == found
        assert (rest.abs().max() < 1e-7) == found


@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_without_delta_it_is_adamw(decay: float) -> None:
    ours = run(lambda p: adamp(p, delta=0.0, weight_decay=decay), 12)
    theirs = run(lambda p: torch.optim.AdamW(p, **ADAM, weight_decay=decay), 12)
    torch.testing.assert_close(ours[-1], theirs[-1])


@pytest.mark.parametrize("nesterov", [False, True])
def test_without_delta_it_is_sgd(nesterov: bool) -> None:
    ours = run(lambda p: sgdp(p, delta=0.0, nesterov=nesterov), 12)
    theirs = run(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=nesterov), 12)
    torch.testing.assert_close(ours[-1], theirs[-1])


@pytest.mark.parametrize(("make", "decayed"), [(adamp, 0.01 * 0.2), (sgdp, 0.1 * 0.2 / (1 - 0.9))])
def test_weights_without_scale_decay_less(make: Callable[..., Optimizer], decayed: float) -> None:
    """By wd_ratio; vectors (biases, norms) decay as they are told."""
    for shape, ratio in (((3, 4), 0.1), ((12,), 1.0)):
        p = nn.Parameter(torch.randn(shape, dtype=torch.float64))
        before = p.detach().clone()
        p.grad = torch.zeros_like(p)  # orthogonal to anything
        make([p], weight_decay=0.2).step()
        torch.testing.assert_close(p.detach(), before * (1 - decayed * ratio))


@pytest.mark.parametrize("make", [adamp, sgdp])
def test_it_goes_on_from_its_state(make: Callable[..., Optimizer]) -> None:
    torch.manual_seed(0)
    w = nn.Parameter(torch.randn(3, 4))
    gradients = torch.randn(6, 3, 4)

    def step(optimizer: Optimizer, p: nn.Parameter, gradient: torch.Tensor) -> None:
        p.grad = gradient.clone()
        optimizer.step()

    optimizer = make([w], nesterov=True)
    for gradient in gradients[:3]:
        step(optimizer, w, gradient)
    twin = nn.Parameter(w.detach().clone())
    again = make([twin], nesterov=True)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for gradient in gradients[3:]:
        step(optimizer, w, gradient)
        step(again, twin, gradient)
    assert torch.equal(w, twin)


def test_bad_options_are_refused() -> None:
    w = [nn.Parameter(torch.ones(2, 2))]
    with pytest.raises(ValueError, match="delta=-1.0"):
        adamp(w, delta=-1.0)
    with pytest.raises(ValueError, match="betas"):
        adamp(w, betas=(1.0, 0.9))
    with pytest.raises(ValueError, match="momentum=1"):
        sgdp(w, momentum=1.0)

"""What users get wrong, given to every operation: one clear line, or a defined result, and never a wrong number."""

import pytest
import torch
from torch import Tensor

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.kernels.registry import find
from erlangen.kernels.wigner import conv_frames


def example(op):
    return find(op).example(find(op).dtypes[0], "cpu", 0)


OPS = kernels.ops()
CLOUDS = {"ball_query", "fps", "knn", "neighbor_list"}  # whose integers say where clouds begin
INDEXED = [
    op
    for op in OPS
    if op not in CLOUDS and any(isinstance(a, Tensor) and a.dtype == torch.int64 for a in example(op)[0])
]
EDGE_OPS = ["rotate_gather", "rotate_scatter", "so2_conv", "so2_depthwise"]


def number_places(args):
    return [i for i, a in enumerate(args) if isinstance(a, Tensor) and (a.is_floating_point() or a.is_complex())]


@pytest.mark.parametrize("op", OPS)
def test_two_precisions_are_refused(op):
    args, spec = example(op)
    places = number_places(args)
    if len(places) > 1:
        narrow = find(op).dtypes[1]
        args = [a.to(narrow) if i == places[-1] else a for i, a in enumerate(args)]
        with pytest.raises(UserError, match="give them one dtype"):
            kernels.get(op, **spec)(*args)


@pytest.mark.parametrize("op", [op for op in OPS if op != "linear"])  # which takes any
def test_an_axis_too_many_is_refused(op):
    args, spec = example(op)
    first = number_places(args)[0]
    args = [a.unsqueeze(0).expand(1, *a.shape) if i == first else a for i, a in enumerate(args)]
    with pytest.raises(UserError):
        kernels.get(op, **spec)(*args)


@pytest.mark.parametrize("op", INDEXED)
@pytest.mark.parametrize("wrong", [-1, 1000])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_an_index_out_of_range_is_refused_and_does_not_count_from_the_end(op, wrong, backend):
    args, spec = example(op)
    places = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.dtype == torch.int64]
    for place in places:
        for row in range(args[place].shape[0] if args[place].ndim == 2 else 1):
            index = args[place].clone()
            index.view(-1, index.shape[-1])[row, 0] = wrong
            with pytest.raises(UserError, match="give indices from 0 to"):
                kernels.get(op, backend, **spec)(*[index if i == place else a for i, a in enumerate(args)])


@pytest.mark.parametrize("op", sorted(CLOUDS))
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_positions_that_are_not_finite_are_refused(op, wrong):
    args, spec = example(op)
    pos = args[0].clone()
    pos[1, 2] = wrong
    with pytest.raises(UserError, match="not finite"):
        kernels.get(op, **spec)(pos, *args[1:])


@pytest.mark.parametrize("op", ["rotate_gather", "so2_conv", "so2_depthwise", "gather_scale_scatter"])
def test_a_nan_stays_with_those_who_receive_it(op):
    args, spec = example(op)
    x, index = args[0].clone(), args[1] if op != "gather_scale_scatter" else args[2]
    source = index if index.ndim == 1 else index[0]
    x[source[0]] = torch.nan
    out = kernels.get(op, "reference", **spec)(x, *args[1:])
    spoilt = out.isnan().flatten(1).any(1)
    receivers = source == source[0]
    if index.ndim == 2:
        receivers = torch.zeros(len(out), dtype=torch.bool).index_fill(0, index[1][receivers], True)
    assert torch.equal(spoilt, receivers)
    assert not spoilt.all()


@pytest.mark.parametrize("poles", [(0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, -1.0, 0.0), (1e-30, 1e-30, 0.0)])
@pytest.mark.parametrize("op", EDGE_OPS)
def test_edges_of_no_length_or_along_the_axis_have_finite_gradients(op, poles):
    """Two atoms in one place, and edges along the polar axis, through frames and Wigner matrices."""
    args, spec = example(op)
    place = next(i for i, name in enumerate(find(op).arguments) if name == "D")
    r = torch.randn(args[place].shape[0], 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    r[:2] = torch.tensor(poles, dtype=torch.float64)
    r.requires_grad_()
    D = kernels.get("wigner", "reference", lmax=spec["lmax"])(conv_frames(r))
    out = kernels.get(op, "reference", **spec)(*[D if i == place else a for i, a in enumerate(args)])
    (force,) = torch.autograd.grad(out.square().sum(), r, create_graph=True)
    (again,) = torch.autograd.grad(force.square().sum(), r)
    assert out.isfinite().all()
    assert force.isfinite().all()
    assert again.isfinite().all()
    assert force[2:].abs().max() > 0


@pytest.mark.parametrize("op", [*EDGE_OPS, "wigner", "spherical_harmonics"])
def test_a_negative_degree_is_refused(op):
    args, spec = example(op)
    with pytest.raises(UserError, match="lmax"):
        kernels.get(op, **(spec | {"lmax": -1}))(*args)


@pytest.mark.parametrize("op", EDGE_OPS)
def test_degrees_that_are_not_those_of_the_arguments_are_refused(op):
    args, spec = example(op)
    with pytest.raises(UserError, match=r"give|need"):
        kernels.get(op, **(spec | {"lmax": 1, "mmax": 1}))(*args)


@pytest.mark.parametrize("shapes", [((6, 4), (3, 5)), ((6, 5), (5,)), ((), (3, 5)), ((6, 5), (3, 5), (4,))])
def test_a_linear_layer_refuses_what_does_not_fit(shapes):
    with pytest.raises(UserError, match=r"linear: .* give "):
        kernels.get("linear")(*map(torch.ones, shapes))

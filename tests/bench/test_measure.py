"""The numerics gate: it passes what is right, in every derivative, and nothing else."""

from dataclasses import replace

import pytest
import torch

from erlangen import kernels
from erlangen.bench.case import MODES, Case, Competitor, Scale
from erlangen.bench.cases import cases
from erlangen.bench.cuda_graphs import record
from erlangen.bench.machine import Machine
from erlangen.bench.measure import measure
from erlangen.kernels import Cost

MACHINE = Machine(bandwidth=1e10, flops=1e11)
QUICK = Scale("cpu", quick=True)


class WrongGradient(torch.autograd.Function):
    """The cube, whose gradient lacks its factor."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0] ** 2


def cube(x):
    return x**3


def case_of(**competitors):
    return Case(
        op="cube",
        size="4 numbers",
        args=(torch.tensor([1.0, -2.0, 3.0, 0.5]),),
        reference=cube,
        competitors=[Competitor(name, lambda f=function: f) for name, function in competitors.items()],
        auto=next(iter(competitors)),
        cost=lambda out: Cost(flop=10, bytes=1000),
    )


def rows_of(case):
    return {row.competitor.name: row for row in measure(case, MACHINE, repetitions=3)}


def test_what_is_right_passes_in_every_mode_and_is_timed():
    row = rows_of(case_of(cube=cube))["cube"]
    assert list(row.modes) == list(MODES)
    for measured in row.modes.values():
        assert measured.passed
        assert measured.error < 1e-6
        assert measured.times.repetitions == 3
    assert row.modes[MODES[0]].share == pytest.approx(1e-7 / row.median(MODES[0]))


def test_a_wrong_value_gradient_or_number_fails():
    rows = rows_of(
        case_of(cube=cube, scaled=lambda x: 1.001 * x**3, gradient=WrongGradient.apply, nan=lambda x: x**3 * torch.nan)
    )
    assert [m.passed for m in rows["scaled"].modes.values()] == [False] * 3
    assert [m.passed for m in rows["gradient"].modes.values()] == [True, False, False]
    assert [m.passed for m in rows["nan"].modes.values()] == [False] * 3


def test_graphs_are_timed_beside_the_calls_or_say_why_not():
    def never(call):
        raise RuntimeError("capture: the stream was waited for\nand a long trace")

    (timed,) = measure(case_of(cube=cube), MACHINE, 3, record=lambda call: call)
    (refused,) = measure(case_of(cube=cube), MACHINE, 3, record=never)
    (alone,) = measure(case_of(cube=cube), MACHINE, 3)
    for mode in MODES:
        assert timed.modes[mode].graph.repetitions == 3
        assert refused.modes[mode].graph is None
        assert refused.modes[mode].no_graph == "capture: the stream was waited for"
        assert refused.modes[mode].times.repetitions == 3
        assert alone.modes[mode].to_dict()["graph"] is None
    assert timed.modes[MODES[0]].to_dict()["graph"]["median"] > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_recorded_call_computes_on_replay_what_it_computed():
    x, results = torch.randn(64, device="cuda", requires_grad=True), []
    replay = record(lambda: results.append(torch.autograd.grad((x**3).sum(), x)[0]))
    with torch.no_grad():
        x.fill_(2.0)
    replay()
    torch.testing.assert_close(results[-1], torch.full_like(x, 12.0))


def test_who_cannot_run_says_why_and_the_rest_is_measured():
    def breaks(x):
        raise RuntimeError("no such kernel\nand a long trace")

    rows = rows_of(case_of(cube=cube, broken=breaks))
    assert rows["broken"].failure == "RuntimeError: no such kernel"
    assert rows["broken"].modes == {}
    assert rows["cube"].median(MODES[0]) > 0


def test_layouts_are_taken_there_and_back_in_every_derivative():
    flipped = Competitor("flipped", lambda: cube, lambda x: (x.flip(0),), lambda out: out.flip(0))
    kept = Competitor("kept", lambda: cube, lambda x: (x.flip(0),))
    case = replace(case_of(cube=cube), competitors=[flipped, kept], auto="flipped")
    rows = rows_of(case)
    assert all(m.passed for m in rows["flipped"].modes.values())
    assert not any(m.passed for m in rows["kept"].modes.values())


@pytest.mark.parametrize("op", kernels.ops())
def test_every_competitor_of_every_operation_computes_the_same(op):
    """Ours to our tolerance, and to rounding e3nn's (whose Wigner matrices are not within it), PyG's, ase's."""
    compared = 0
    for case in cases(op, QUICK, degrees=(2,)):
        for row in measure(case, MACHINE, repetitions=2):
            assert not row.failure
            for mode, measured in row.modes.items():
                compared += measured.error is not None
                right = measured.passed if row.competitor.ours else (measured.error or 0) < 1e-4
                assert right, (case.name, row.competitor.name, mode, measured.error)
    assert compared >= 1


@pytest.mark.parametrize(
    "op", ["so2_depthwise", "so2_conv", "gaunt_product", "cg_product", "wigner", "spherical_harmonics"]
)
def test_e3nn_stands_beside_the_equivariant_operations(op):
    pytest.importorskip("e3nn")
    for case in cases(op, QUICK, degrees=(2,)):
        rivals = [c for c in case.competitors if c.name.startswith("e3nn")]
        assert any(c.restore is not None for c in rivals)
        for rival in rivals:
            assert rival.restore is not None or rival.remark


def test_paths_and_weights_are_those_of_the_product():
    (case,) = cases("gaunt_product", QUICK, degrees=(1,))
    assert (case.paths, case.weights) == (4, 0)  # 000, 011, 101, 110
    given, *_ = cases("so2_depthwise", QUICK, degrees=(1,))
    assert (given.paths, given.weights) == (6, 6 * 4)
    given, *_ = cases("so2_depthwise", QUICK, degrees=(2,))
    fewer = {(c.paths, c.weights) for c in given.competitors if c.restore is None}
    assert (given.paths, fewer) == (19, {(15, 60)})  # l2 <= 2 leaves out 4 of the 19 paths

"""Goals: ratios of medians in the right direction, of competitors that there are."""

import pytest
import torch

from erlangen.bench.case import MODES, Case, Competitor, Scale
from erlangen.bench.cases import cases
from erlangen.bench.goals import GOALS, Goal
from erlangen.bench.measure import Measured, Row
from erlangen.bench.show import goals_table
from erlangen.bench.timing import Times


def rows(error=0.0, **seconds):
    def row(name, median):
        times = Times(median, median, 0.0, 20)
        return Row(
            Competitor(name, lambda: None), {mode: Measured(0.0, False, error, 1e-6, times=times) for mode in MODES}
        )

    return [row(name, median) for name, median in seconds.items()]


def case(op, name="size"):
    return Case(op=op, size=name, args=(), reference=None, competitors=[], auto="fast")


def test_a_ratio_is_theirs_over_ours_and_the_other_way_round_for_overheads():
    measured = rows(fast=1.0, slow=10.0)
    assert Goal("op", "slow", 8.0).measured(case("op"), measured) == 10
    assert Goal("op", "slow", 8.0, at_most=True).measured(case("op"), measured) == 0.1
    assert Goal("op", "slow", 8.0).met(10.0)
    assert not Goal("op", "slow", 12.0).met(10.0)
    assert Goal("op", "slow", 1.5, at_most=True).met(0.1)
    assert not Goal("op", "slow", 1.5, at_most=True).met(2.0)


def test_what_was_not_timed_is_not_judged():
    assert Goal("op", "absent", 8.0).measured(case("op"), rows(fast=1.0)) is None
    assert goals_table([(case("op"), rows(fast=1.0))]) is None
    (cell,) = goals_table([(case("vandermonde"), rows(fast=1.0))]).columns[-1].cells
    assert cell == "not measured"


@pytest.mark.parametrize(
    ("ours", "error", "verdict"), [(1.0, 0.0, "met"), (3.0, 0.0, "missed"), (1.0, 1.0, "wrong numbers")]
)
def test_a_goal_is_met_only_with_right_numbers(ours, error, verdict):
    table = goals_table([(case("vandermonde"), rows(error=error, fast=ours, reference=20.0))])
    (cell,) = table.columns[-1].cells
    assert verdict in cell


@pytest.mark.parametrize("goal", GOALS, ids=str)
def test_every_goal_names_a_case_and_a_baseline_that_there_are(goal, monkeypatch):
    pytest.importorskip("e3nn")
    monkeypatch.setattr("erlangen.bench.case.no_compiler", lambda: None)
    monkeypatch.setattr("erlangen.bench.cases.with_e3nn.COMPILED", {"D given": 6, "end to end": 6})
    found = [c for c in cases(goal.op, Scale("cpu", quick=True), [goal.lmax or 2]) if goal.concerns(c)]
    assert found
    assert all(goal.baseline in [competitor.name for competitor in c.competitors] for c in found)


def test_no_compiled_e3nn_where_nothing_is_compiled():
    pytest.importorskip("e3nn")
    (made,) = cases("spherical_harmonics", Scale("cpu", quick=True), [1])
    assert [c.name for c in made.competitors if "e3nn" in c.name] == ["e3nn, eager"]
    assert torch.is_tensor(made.args[0])

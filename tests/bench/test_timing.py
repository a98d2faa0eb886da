"""Times: interleaved, marked where noisy and then repeated, with fewer calls of what is slow."""

import pytest
import torch

from erlangen.bench import timing
from erlangen.bench.machine import Machine
from erlangen.bench.timing import SavedBytes, Times, interleaved, peak_bytes, repeated
from erlangen.kernels import Cost


@pytest.fixture
def clock(monkeypatch):
    """Makes a call return the seconds it is to have taken, so that nothing here depends on the machine."""
    monkeypatch.setattr(timing, "seconds_of", lambda call: call())


def test_competitors_take_turns(clock):
    order = []
    calls = {name: lambda name=name: order.append(name) or 1.0 for name in "AB"}
    times = interleaved(calls, repetitions=3, warm_up=1)
    assert "".join(order) == "AB" * 4
    assert times["A"] == Times(median=1.0, minimum=1.0, iqr=0.0, repetitions=3)


def test_who_is_called_less_often_is_called_throughout(clock):
    order = []
    calls = {name: lambda name=name: order.append(name) or 1.0 for name in "AB"}
    interleaved(calls, {"A": 6, "B": 3}, warm_up=0)
    assert "".join(order) == "ABAABAABA"


def test_slow_calls_are_repeated_less(clock):
    times = repeated({"quick": lambda: 0.01, "slow": lambda: 0.5, "slower": lambda: 2.0}, 20)
    assert [t.repetitions for t in times.values()] == [20, 7, 4]


def test_noisy_rows_are_repeated_and_those_alone(clock):
    calls = {"calm": 0, "restless": 0}

    def calm():
        calls["calm"] += 1
        return 0.01

    def restless():
        calls["restless"] += 1
        return 0.01 if calls["restless"] > 50 or calls["restless"] % 4 == 0 else 0.02

    times = repeated({"calm": calm, "restless": restless}, 20)
    assert calls["calm"] == 1 + 25
    assert calls["restless"] == 1 + 3 * 25
    assert not times["restless"].noisy
    assert times["restless"].median == 0.01


def test_noise_is_a_median_far_above_the_minimum():
    assert Times.of([1.0, 1.0, 1.2, 1.2, 1.2]).noisy is False
    assert Times.of([1.0, 1.4, 1.4, 1.4, 1.4]).noisy is True


def test_peak_memory_is_the_most_held_at_one_time():
    megabyte = 1 << 20

    def call():
        for _ in range(3):
            torch.empty(4 * megabyte, dtype=torch.int8)
        first = torch.empty(megabyte, dtype=torch.int8)
        return first, torch.empty(2 * megabyte, dtype=torch.int8)

    assert peak_bytes(call) == 4 * megabyte


def test_saved_bytes_count_what_backward_needs_once():
    x = torch.ones(100, requires_grad=True)
    with SavedBytes() as saved:
        (x * x).sum()
    assert saved.bytes == 400


def test_a_machine_is_calibrated_and_the_slower_of_memory_and_arithmetic_is_the_floor():
    machine = Machine.calibrated("cpu")
    assert 1e8 < machine.bandwidth < 1e13
    assert 1e8 < machine.flops < 1e15
    known = Machine(bandwidth=10.0, flops=100.0)
    assert known.floor(Cost(flop=1000, bytes=10)) == 10
    assert known.floor(Cost(flop=10, bytes=1000)) == 100

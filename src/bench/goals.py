"""What the operations are to reach on one CPU thread, as ratios of medians within one run."""

from collections.abc import Sequence
from dataclasses import dataclass

from .case import MODES, Case
from .measure import Row

FORWARD, BACKWARD, _ = MODES


@dataclass(frozen=True)
class Goal:
    """`baseline` over what `kernels=auto` takes is at least `target`; with `at_most`, its inverse is at most that.

    `within` is what the case's name must have in it.
    """

    op: str
    baseline: str
    target: float
    lmax: int | None = None
    within: str = ""
    mode: str = BACKWARD
    at_most: bool = False

    def concerns(self, case: Case) -> bool:
        return case.op == self.op and self.lmax in (None, case.lmax) and self.within in case.name

    def measured(self, case: Case, rows: Sequence[Row]) -> float | None:
        """The ratio, or None where one of the two was not timed."""
        median = {row.competitor.name: row.median(self.mode) for row in rows}
        ours, theirs = median.get(case.auto), median.get(self.baseline)
        if ours is None or theirs is None:
            return None
        return ours / theirs if self.at_most else theirs / ours

    def met(self, ratio: float) -> bool:
        return ratio <= self.target if self.at_most else ratio >= self.target


def _by_degree(op: str, baseline: str, targets: dict[int, int], within: str = "") -> list[Goal]:
    return [Goal(op, baseline, float(target), lmax, within) for lmax, target in targets.items()]


GOALS = (
    *_by_degree("so2_depthwise", "e3nn uvu, l2 <= L, eager", {2: 12, 4: 35, 6: 50}, "D given, L"),
    *_by_degree("so2_depthwise", "e3nn uvu, l2 <= L, compiled", {2: 6, 4: 18, 6: 25}, "end to end"),
    *_by_degree("so2_conv", "e3nn FC, l2 <= L, eager", {2: 6, 4: 12}, "all m"),
    *_by_degree("wigner", "e3nn, eager", {2: 20, 4: 30, 6: 35}),
    *_by_degree("gaunt_product", "e3nn uuu, eager", {2: 4, 3: 9, 4: 12}),
    *_by_degree("gaunt_product", "fft", {2: 30, 3: 30, 4: 30}),
    Goal("geometric_product", "reference", 15.0, within="G(3, 0, 1)"),
    Goal("geometric_product", "x + y", 1.5, within="G(3, 0, 1)", mode=FORWARD, at_most=True),
    Goal("vandermonde", "reference", 15.0),
    # Not a weight a channel: to read it twice and to write its gradient alone takes memory a sixth of the reference's time.
    Goal("gather_scale_scatter", "reference", 8.0, within="one weight an edge"),
    Goal("segment_softmax", "PyG", 1.8),
    Goal("neighbor_list", "ase", 15.0, mode=FORWARD),
    Goal("neighbor_list", "raw vesin", 1.2, mode=FORWARD, at_most=True),
)

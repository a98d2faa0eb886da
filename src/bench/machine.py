"""What the machine can do, measured in the process that measures everything else."""

from dataclasses import dataclass

import torch

from ..kernels import Cost
from .timing import interleaved

COPIED = 1 << 26
SIDE = 1024


@dataclass(frozen=True)
class Machine:
    """Bytes a second that a copy moves, reads and writes together, and FLOP a second of a float32 matrix product."""

    bandwidth: float
    flops: float

    @classmethod
    def calibrated(cls, device: str) -> "Machine":
        """The best of 7 copies of 256 MB, and of 7 products of 1024 x 1024 matrices, with the threads that are set."""
        source = torch.ones(COPIED, device=device)
        target, square = torch.empty_like(source), torch.ones(SIDE, SIDE, device=device)
        calls = {"copy": lambda: target.copy_(source), "gemm": lambda: square @ square}
        times = interleaved(calls, repetitions=7, warm_up=2)
        return cls(2 * source.nbytes / times["copy"].minimum, 2 * SIDE**3 / times["gemm"].minimum)

    def floor(self, cost: Cost) -> float:
        """Seconds below which no implementation comes that reads its inputs from memory and does this arithmetic."""
        return max(cost.bytes / self.bandwidth, cost.flop / self.flops)

    def __str__(self) -> str:
        return f"copy {self.bandwidth / 1e9:.1f} GB/s, sgemm {self.flops / 1e9:.0f} GFLOP/s"

"""A benchmark that takes a while to make and leaves a mark whenever that is done."""

import os
import time

import numpy as np

from erlangen.datamodules.nbody import NBody


class CountedNBody(NBody):
    """The charged particles, made slowly; `made` in the data folder has a line for every time."""

    def simulate(self) -> dict[str, np.ndarray]:
        with (self.root / "made").open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(3)
        return super().simulate()

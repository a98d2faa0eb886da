"""IS2RS: how near relaxed structures come to the reference's, as fairchem's evaluator has it (core/modules/evaluator.py).

A structure's distance is the mean over its free atoms. ADwT is the share of structures whose distance is below a threshold,
averaged over thresholds from 0.01 Å to 0.5 Å (which is none of them) in steps of 0.001 Å.
"""

import numpy as np
from jaxtyping import Bool, Float

THRESHOLDS = np.arange(0.01, 0.5, 0.001)
"""Å"""


def nearest_image(
    difference: Float[np.ndarray, "atoms 3"], cell: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "atoms 3"]:
    """Differences of positions in a cell that is periodic along all its vectors, moved by lattice vectors to be short.

    As the evaluator does it, by whole numbers of each vector: in a very skewed cell another image may be nearer.
    """
    fractional = np.linalg.solve(cell.T, difference.T).T
    return (fractional - np.round(fractional)) @ cell


def mean_distance(
    pos: Float[np.ndarray, "atoms 3"],
    reference: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    free: Bool[np.ndarray, " atoms"],
) -> float:
    """Å, over the free atoms; 0 where there are none."""
    distances = np.linalg.norm(nearest_image(pos - reference, cell)[free], axis=1)
    return float(distances.mean()) if len(distances) else 0.0


def adwt(distances: Float[np.ndarray, " structures"]) -> float:
    """The average share of structures whose mean distance is below a threshold, from 0 to 1."""
    return float((distances[:, None] < THRESHOLDS).mean())

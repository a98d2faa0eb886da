"""erlangen: a benchmark harness that reproduces papers of geometric and equivariant deep learning."""

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from .models.paper import Paper

# said by newer versions of torch while PyG is imported: nothing that a user could mend
warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated", FutureWarning)


def load(run: "str | Path") -> "Paper":
    """The trained paper of a run's folder or checkpoint, in evaluation mode; it needs no data set."""
    from .runs.loading import load_run

    return load_run(run)[0]


def calculator(run: "str | Path", **options: Any) -> Any:
    """An ASE calculator with the trained paper of a run that predicts an energy (see ase_calculator.Calculator)."""
    from .ase_calculator import Calculator

    return Calculator(load(run), **options)

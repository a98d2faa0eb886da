"""A trained paper from its run, without the benchmark's data."""

from pathlib import Path
from typing import Any

from ..errors import UserError
from ..models.paper import Paper
from ..tasks.spec import Spec
from .assemble import build_paper
from .checkpoints import KEY, load
from .folder import RunFolder


def load_run(run: str | Path) -> tuple[Paper, dict[str, Any]]:
    """The paper in evaluation mode, and its configuration.

    Args:
        run: a run's folder (its best checkpoint, else its last), or a checkpoint.

    Raises:
        UserError: where there is no checkpoint, it is damaged, or it asks to build something untrusted. Packages of your
            own are trusted when the environment variable ERLANGEN_TRUST names them, separated by commas.
    """
    checkpoint = load(checkpoint_of(Path(run)))
    if KEY not in checkpoint:
        raise UserError(f"{run} is no checkpoint of erlangen: it holds no spec")
    config = checkpoint[KEY]["config"]
    paper = build_paper(config, Spec.from_dict(checkpoint[KEY]["spec"]))
    paper.load_state_dict(checkpoint["state_dict"])
    return paper.eval(), config


def checkpoint_of(run: Path) -> Path:
    """The checkpoint that a run's numbers are from."""
    if run.is_file():
        return run
    folder = RunFolder(run).checkpoints
    for name in ("best.ckpt", "last.ckpt"):
        if (folder / name).exists():
            return folder / name
    raise UserError(f"{run} has no checkpoint: give a run's folder (runs/…) or a .ckpt file")

"""How far a sweep has come: which of its jobs are missing, running or failed."""

from collections import Counter

from ..runs.manifest import Sweep
from .collect import read_run
from .document import Section, text


def sweep_section(sweep: Sweep) -> Section | None:
    """The jobs that are not finished, and how to finish them; None where all are."""
    runs = [(overrides, read_run(folder)) for overrides, folder in sweep.jobs]
    states = Counter(run.state for _, run in runs)
    left = [(overrides, run) for overrides, run in runs if run.state != "finished"]
    if not left:
        return None
    counts = ", ".join(f"{number} {state}" for state, number in states.most_common())
    rows = [
        [text(overrides), text(run.state), text("not started" if run.state == "missing" else run.detail)]
        for overrides, run in left
    ]
    return Section(
        f"Sweep {sweep.command}\n{len(runs)} job{'s' * (len(runs) > 1)}: {counts}",
        ["job", "state", "what is known"],
        rows,
        notes=[
            f"what is left: python train.py -m {sweep.command} resume=true",
            f"or forget the sweep: rm {sweep.path}",
        ],
    )

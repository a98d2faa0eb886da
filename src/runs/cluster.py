"""A job on a SLURM cluster: how it is sent there, and what it knows of itself when it runs."""

import atexit
import importlib.util
import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.fabric.plugins.environments import SLURMEnvironment

from ..errors import UserError

LAUNCHER = "hydra/launcher="
SIBLINGS = 5.0
"""Seconds that a failed task leaves to the others, which may be about to say why they fail too."""


def as_sweep(arguments: list[str]) -> list[str]:
    """The command line for Hydra, to which a single command that a launcher sends away is a sweep of one job.

    Raises UserError where the launcher is not installed.
    """
    chosen = [word.removeprefix(LAUNCHER) for word in arguments if word.startswith(LAUNCHER)]
    if not chosen or chosen[-1] == "basic":
        return arguments
    if chosen[-1] == "slurm" and not importlib.util.find_spec("submitit"):
        raise UserError(f"{LAUNCHER}slurm needs the package hydra-submitit-launcher: pip install 'erlangen[slurm]'")
    return arguments if {"-m", "--multirun"} & set(arguments) else [*arguments, "hydra.mode=MULTIRUN"]


def started_by_srun() -> bool:
    """Whether SLURM started this process and the other ranks of its run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it advises to use srun wherever that is installed
        return SLURMEnvironment.detect()


@contextmanager
def job_errors() -> Iterator[None]:
    """UserError, in one line, for a job that could not be sent or never came back."""
    try:
        yield
    except Exception as error:  # submitit is an extra, whose classes cannot be named here; others go on
        said = said_of_job(error)
        if said is None:
            raise
        raise UserError(said) from error


def said_of_job(error: Exception) -> str | None:
    """What submitit's errors mean; None for any other error."""
    if not type(error).__module__.startswith("submitit."):
        return None
    text = " ".join(str(error).split())
    lost = re.search(r"Job (\S+) .*?with path (\S+)_result.pkl .*?state: ([\w ]+)", text)
    if lost:
        return f"job {lost[1]} of the cluster ended without a result ({lost[3]}): see {lost[2]}_log.err"
    return f"the cluster does not take the job: {text}"


def restarts() -> int:
    """How often SLURM has started this job again: after a preemption, a node's failure, or because it asked for it."""
    return int(os.environ.get("SLURM_RESTART_COUNT", 0))


def job() -> str | None:
    """The number of this job, which it keeps when it is started again; None outside of a cluster."""
    return os.environ.get("SLURM_JOB_ID")


def requeue() -> str:
    """Asks SLURM to end this job and to start it again; why it does not, or "".

    Of a sweep's jobs just this one: the number of one of them is also that of all of them together.
    """
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    this = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else str(job())
    done = subprocess.run(["scontrol", "requeue", this], capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else ""


def going_on(config: dict[str, Any], began: str | None) -> dict[str, Any]:
    """The configuration of a job that was started again and finds what it began itself: it goes on with that.

    Args:
        config: as on the command line, which is the same every time.
        began: the job that began the run in this folder.
    """
    if restarts() and began == job():
        return {**config, "resume": True, "overwrite": False}
    return config


def fail_job() -> None:
    """Has this process end with exit code 1 where its exception is caught and sent home as a result (submitit).

    SLURM then knows that the job failed, and ends the tasks that wait for this one (SLURM_KILL_BAD_EXIT).
    """
    if "SUBMITIT_EXECUTOR" in os.environ:
        atexit.register(end_as_failed)


def end_as_failed() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    if int(os.environ.get("SLURM_NTASKS", 1)) > 1:
        time.sleep(SIBLINGS)
    os._exit(1)

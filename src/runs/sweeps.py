"""A sweep's job on several devices: it gets a process of its own, as if its command had been given alone.

Lightning starts the other ranks with the command line of this process, which in a sweep is that of the whole sweep: every
rank would run all of it. And a rank that fails takes the process that started it along, which must not be the sweep's.
"""

import os
import signal
import subprocess
import sys
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment

from ..errors import UserError
from .cluster import started_by_srun
from .folder import RunFolder


def needs_own_process(config: dict[str, Any]) -> bool:
    """Whether the current job belongs to a sweep and Lightning would start its other ranks."""
    if HydraConfig.get().mode != RunMode.MULTIRUN or str(config["trainer"]["devices"]) == "1":
        return False
    started_outside = (
        started_by_srun() or TorchElasticEnvironment.detect() or LightningEnvironment().creates_processes_externally
    )
    return not started_outside


def run_in_own_process(config: dict[str, Any]) -> dict[str, Any]:
    """Runs the current job by a command of its own and returns the contents of its result.json.

    Raises:
        UserError: where the command failed; it has said why.
    """
    job = subprocess.Popen(command(), env=dict(os.environ))
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        code = job.wait()
    finally:  # a sweep that is ended, by whatever, ends its job too
        job.terminate()
        job.wait()
        signal.signal(signal.SIGTERM, before)
    if code:
        overrides = " ".join(HydraConfig.get().overrides.task)
        raise UserError(f"the job {overrides} failed (exit code {code}), see what it printed above")
    return RunFolder.of(config).result


def command() -> list[str]:
    """The current job's command line, outside of any sweep."""
    hydra = HydraConfig.get()
    folders = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    places = [word for folder in folders for word in ("--config-dir", folder)]
    return [sys.executable, "-m", "erlangen.train", *places, *hydra.overrides.task, "hydra.mode=RUN"]

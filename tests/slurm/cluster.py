"""A SLURM of this machine's own, and what a test does with it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from runs.training_process import REPOSITORY, Training, clean_environment

HERE = Path(__file__).parent
TRAIN = f"{sys.executable} {REPOSITORY / 'train.py'}"
ONE = (
    "model=mlp",
    "model._target_=runs.slow.Slow",
    "model.hidden=[16]",
    "data=digits",
    "augment=crop_flip",
    "ema_decay=0.9",
    "trainer=cpu",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
)
"""Two epochs of 21 steps on one rank."""
TWO = (*ONE, "trainer=ddp", "trainer.accelerator=cpu")
"""Two epochs of 11 steps on two ranks."""
LAUNCH = (
    "hydra/launcher=slurm",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=1",
    "hydra.launcher.gpus_per_node=null",
)
"""The launcher, for nodes as small as ours."""


def wait_until(ready: Callable[[], bool], timeout: float, what: str) -> None:
    until = time.monotonic() + timeout
    while not ready():
        assert time.monotonic() < until, f"not after {timeout} s: {what}"
        time.sleep(0.2)


class Cluster:
    """Two nodes, n1 and n2 (up.sh).

    Args:
        folder: holds all of it while it is up.
        port: of the first of five that it listens on.
    """

    def __init__(self, folder: Path, port: int):
        self.folder, self.port = folder, port

    def up(self) -> None:
        subprocess.run([HERE / "up.sh", self.folder, str(self.port)], check=True, timeout=120)

    def down(self) -> None:
        subprocess.run([HERE / "down.sh", self.folder], check=True, timeout=60)

    def train(self, runs: Path, *options: str) -> Training:
        """`python train.py …` at a user's prompt."""
        return Training(runs, runs, *options, environment=self.environment)

    @property
    def environment(self) -> dict[str, str]:
        """A user's; the nodes' names do not resolve, and all ranks meet on this machine."""
        return clean_environment() | {
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "MASTER_ADDR": "127.0.0.1",
        }

    def __call__(self, *command: str) -> str:
        """What a command of SLURM's prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def sbatch(self, log: Path, command: str, *options: str) -> str:
        """Queues a script of one line; its job's number."""
        log.parent.mkdir(parents=True, exist_ok=True)
        always = ("--parsable", "--requeue", "--open-mode=append", "--mem=1000", f"--output={log}", "--wrap", command)
        return self("sbatch", *options, *always)

    def state(self, job: str) -> str:
        """RUNNING, PENDING, COMPLETED, …"""
        return self("squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job}")

    def restarts(self, job: str) -> int:
        shown = self("scontrol", "--oneliner", "show", "job", job)
        return int(shown.partition("Restarts=")[2].split()[0])

    def wait_for(self, job: str, state: str, log: Path, timeout: float = 120) -> None:
        try:
            wait_until(lambda: self.state(job) == state, timeout, f"job {job} {state}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {self.state(job)}\n{log.read_text()}") from None

    def processes(self, node: str) -> list[int]:
        """All that runs in the name of a node: its slurmd, what starts and watches jobs, and the jobs' own processes."""
        found = {int((self.folder / f"slurmd.{node}.pid").read_text())}
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):  # it has just ended
                here = path.read_bytes().split(b"\0")
                if (
                    f"SLURMD_NODENAME={node}".encode() in here
                    and f"SLURM_CONF={self.folder}/slurm.conf".encode() in here
                ):
                    found |= {int(path.parent.name), *stepd_of(path.parent)}
        return sorted(found)

    def ranks(self, node: str) -> list[int]:
        """The processes of a node that train."""
        return [
            process for process in self.processes(node) if b"submitit" in Path(f"/proc/{process}/cmdline").read_bytes()
        ]

    def start_slurmd(self, node: str) -> None:
        self("slurmd", "-N", node)


def sent_job(runs: Path) -> str:
    """The number of the job, or of the array of jobs, that the launcher sent."""
    (script,) = (runs / ".slurm").glob("*_submission.sh")
    return script.name.partition("_")[0]


def stepd_of(process: Path) -> set[int]:
    """The slurmstepd that started a process, if it was one."""
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    parent = Path("/proc") / status["PPid"]
    return {int(parent.name)} if (parent / "comm").read_text().startswith("slurmstepd") else set()


def send(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)

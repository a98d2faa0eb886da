"""What a user mistypes ends in one line that says what would be right, and exit code 1."""

import subprocess
import sys
from pathlib import Path

import pytest
from runs.command import Command
from runs.training_process import REPOSITORY, clean_environment

MISTAKES = {
    "seed=abc": "seed",
    "seed=-1": "seed must be 0 or more, not -1",
    "sead=1": "no option sead (did you mean seed?)",
    "model=egn": "model can be .*egnn.*(did you mean egnn?)",
    "data=qm": "data can be .*qm9.*(did you mean qm9?)",
    "trainer=tpu": "trainer can be auto, cpu, ddp, fsdp, gpu",
    "model.chanels=8": "no option model.chanels (did you mean channels?); model has .*layers",
    "optimizer.momentum=0.9": "no option optimizer.momentum.*optimizer has .*lr",
    "trainer.precision=8-bit": "trainer.precision must be one of 32-true, .*not '8-bit'",
    "trainer.precision=16-mixed": "bf16-mixed",
    "trainer.max_epochs=many": "max_epochs of Trainer must be int, not 'many'",
    "trainer.max_epochs=0": "trainer.max_epochs=0 leaves nothing to train",
    "trainer.accelerator=abacus": "invalid accelerator name",
    "optimizer.lr=high": "lr of Adam must be float, not 'high'",
    "optimizer.lr=-1": "optimizer: Invalid learning rate: -1",
    "schedule_update=never": "schedule_update must be step or epoch",
    "ema_decay=2": "ema_decay must be at least 0 and below 1",
    "kernels.default=fast": "choose one of auto, reference",
    "data.targets=[gab]": "no target 'gab'; it has mu, .*gap",
    "data.split=random": "no split 'random'; it has cormorant, dimenet, equiformer",
    "data.train_size=0": "data.train_size must lie between 1 and 100000",
    "data.batch_size=0": "must be at least 1, not 0",
    "checkpoint.every_n_steps=0": "checkpoint.every_n_steps must be 1 or more",
    "checkpoint.every_n_steps=often": "every_n_steps",
    "resume=perhaps": "resume",
    "head=ball": "head can be .*none",
    "model=[": "override_grammar",
    "seed": "seed",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_says_what_would_be_right(command: Command, mistake: str) -> None:
    code, _, err = command("trainer=cpu", "data.train_size=60", "data.val_size=20", "data.test_size=20", mistake)
    assert code == 1
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    at = 0
    for part in MISTAKES[mistake].split(".*"):
        assert part in line[at:], line
        at = line.index(part, at) + len(part)


def test_the_traceback_is_shown_on_demand(command: Command) -> None:
    with pytest.raises(Exception, match="no target 'gab'"):
        command("data.targets=[gab]", "debug=true")


def test_a_real_process_says_it_in_one_line_too(tmp_path: Path) -> None:
    line = [sys.executable, str(REPOSITORY / "train.py"), "data.split=random", f"paths.runs={tmp_path}"]
    done = subprocess.run(line, env=clean_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr == "error: data.split: QM9 has no split 'random'; it has cormorant, dimenet, equiformer\n"
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []

"""erlangen COMMAND …: every command beside training reads runs that training wrote."""

import importlib
import os
import sys

from .errors import UserError

COMMANDS = {
    "train": "train a paper on a benchmark (the same as python train.py)",
    "evaluate": "score a run's checkpoint again",
    "predict": "predict for structures of your own",
    "plan": "what a training would take: memory, steps, device-hours",
    "report": "measured beside published, over seeds",
    "certify": "measure the symmetries and gradients that a run promises",
    "bench": "time kernels and training",
    "analyse": "compare what trained runs represent",
    "preview": "draw a sample of every class of a benchmark",
    "papers": "what is implemented, and for which benchmarks",
}


def main() -> None:
    """Hands over to one module a command; a UserError ends in one line and exit code 1."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see train.py
    name, arguments = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("--help", [])
    if name in ("-h", "--help"):
        print("usage: erlangen COMMAND …   (erlangen COMMAND --help says more; --debug shows tracebacks)\n")
        print("\n".join(f"  {command:10} {text}" for command, text in COMMANDS.items()))
        return
    if name not in COMMANDS:
        sys.exit(f"error: there is no command {name}; there are {', '.join(COMMANDS)}")
    if name == "train":
        train(arguments)
        return
    try:
        importlib.import_module(f".{name}", __package__).main([a for a in arguments if a != "--debug"])
    except UserError as error:
        if "--debug" in arguments:
            raise
        sys.exit(f"error: {error}")


def train(arguments: list[str]) -> None:
    """Runs `python -m erlangen.train`, so that the processes of a parallel run can be started in the same way."""
    os.execv(sys.executable, [sys.executable, "-m", "erlangen.train", *arguments])


if __name__ == "__main__":
    main()

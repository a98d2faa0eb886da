"""The command line of `erlangen bench`."""

import argparse
from pathlib import Path

from .train import bench_train


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "erlangen bench", description="Time training and kernels beside their alternatives."
    )
    parser.add_argument("what", choices=("train",), help="train: molecules/s of a paper's published configuration")
    parser.add_argument("--data", default="data", help="the folder that holds data sets")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path, help="a file for the raw times")
    options = parser.parse_args(arguments)
    bench_train(options.data, options.repetitions, options.threads, options.json)

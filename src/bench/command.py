"""The command line of `erlangen bench`."""

import argparse
from pathlib import Path

from ..errors import UserError
from ..kernels import ops
from .expressivity import bench_expressivity
from .hyperbolic import bench_hyperbolic
from .operations import DEGREES, QUICK_DEGREES, bench_operations
from .scaling import bench_scaling
from .train import bench_train
from .train_kernels import bench_train_kernels
from .train_products import BENCHMARKS, bench_train_products
from .train_published import bench_train_published


def main(arguments: list[str]) -> None:
    """`bench train …` and `scaling …` time training, `expressivity …` and `hyperbolic …` compare; all else are operations."""
    if arguments[:2] == ["train", "products"]:
        _train_products(arguments[2:])
    elif arguments[:2] == ["train", "kernels"]:
        _train_kernels(arguments[2:])
    elif arguments[:2] == ["train", "published"]:
        _train_published(arguments[2:])
    elif arguments[:1] == ["train"]:
        _train(arguments[1:])
    elif arguments[:1] == ["scaling"]:
        _scaling(arguments[1:])
    elif arguments[:1] == ["expressivity"]:
        _expressivity(arguments[1:])
    elif arguments[:1] == ["hyperbolic"]:
        _hyperbolic(arguments[1:])
    else:
        _operations(arguments)


def _train(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "erlangen bench train",
        description="Molecules/s of EGNN's published configuration, beside a dense EGNN. `erlangen bench train products` "
        "compares networks that differ in a tensor product, `erlangen bench train kernels` one network's kernels, "
        "`erlangen bench train published` EGNN and PONITA with the order of operations of their published code.",
    )
    parser.add_argument("--data", default="data", help="the folder that holds data sets")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path, help="a file for the raw times")
    options = parser.parse_args(arguments)
    bench_train(options.data, options.repetitions, options.threads, options.json)


def _train_products(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "erlangen bench train products",
        description="Training steps/s, parameters and memory of MACE, TFN and EquiformerV2 with each of their tensor products.",
    )
    parser.add_argument("--data", default="data", help="the folder that holds data sets")
    parser.add_argument("--benchmarks", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS))
    parser.add_argument("--lmax", type=int, nargs="+", default=[2], help="highest degrees L of the features (2)")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="a file for all that was measured")
    options = parser.parse_args(arguments)
    if min(options.batch_size, options.threads, *options.lmax) < 1 or options.repetitions < 2:
        raise UserError("bench train products: --repetitions takes whole numbers from 2 on, all others from 1 on")
    bench_train_products(
        options.data,
        options.benchmarks,
        options.lmax,
        options.batch_size,
        options.repetitions,
        options.threads,
        options.json,
    )


def _train_kernels(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "erlangen bench train kernels",
        description="Training steps/s and memory of one network with kernels=auto beside kernels=reference.",
    )
    parser.add_argument("options", nargs="+", metavar="OPTION", help="as of train.py: model=equiformer data=oc20 …")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="a file for all that was measured")
    options = parser.parse_args(arguments)
    if min(options.batch_size, options.threads) < 1 or options.repetitions < 2:
        raise UserError("bench train kernels: --repetitions takes whole numbers from 2 on, all others from 1 on")
    bench_train_kernels(options.options, options.batch_size, options.repetitions, options.threads, options.json)


def _train_published(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "erlangen bench train published",
        description="Training steps/s and memory of EGNN or PONITA on trajectories beside their published code's order of "
        "operations.",
    )
    parser.add_argument(
        "options", nargs="+", metavar="OPTION", help="as of train.py: experiment=egnn_nbody compile=true …"
    )
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="a file for all that was measured")
    options = parser.parse_args(arguments)
    if options.threads < 1 or options.repetitions < 2:
        raise UserError("bench train published: --repetitions takes whole numbers from 2 on, --threads from 1 on")
    bench_train_published(options.options, options.repetitions, options.threads, options.json)


def _scaling(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "erlangen bench scaling",
        description="Samples/s of EGNN's published configuration on one process and on several, one thread each.",
    )
    parser.add_argument("--data", default="data", help="the folder that holds data sets")
    parser.add_argument("--processes", type=int, nargs="+", default=[2])
    parser.add_argument("--batches", type=int, default=20, help="steps of a run")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", type=Path, help="a file for every run's number")
    options = parser.parse_args(arguments)
    bench_scaling(options.data, options.processes, options.batches, options.repetitions, options.json)


def _expressivity(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "erlangen bench expressivity",
        description="What tensor products can compute, measured by rank in float64, and what they cost at one thread.",
    )
    parser.add_argument("--lmax", type=int, nargs="+", default=[1, 2, 3, 4], help="degrees L to measure (1 2 3 4)")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument(
        "--output", type=Path, default=Path("runs/bench"), help="a folder for expressivity.json and .png"
    )
    options = parser.parse_args(arguments)
    bench_expressivity(options.lmax, options.repetitions, options.output)


def _hyperbolic(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "erlangen bench hyperbolic", description="Layers of HCNN and Poincaré ResNet beside their Euclidean twins."
    )
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: a look, not a measurement")
    parser.add_argument("--json", type=Path, help="a file for the raw times")
    options = parser.parse_args(arguments)
    if options.repetitions < 2 or options.threads < 1:
        raise UserError("bench hyperbolic: --repetitions takes whole numbers from 2 on, --threads from 1 on")
    bench_hyperbolic(options.repetitions, options.threads, options.quick, options.json)


def _operations(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "erlangen bench",
        description="Every backend of the operations beside e3nn and others: numbers checked first, then time, memory and "
        "the share of what the machine could do. `erlangen bench train --help` is about training.",
        epilog=f"operations: {', '.join(ops())}",
    )
    parser.add_argument("op", nargs="*", metavar="OP", help="operations; all if none is named")
    parser.add_argument("--lmax", type=int, nargs="+", help="degrees L to measure (1 2 3 4 6, or 1 2 with --quick)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--quick", action="store_true", help="small sizes and three repetitions: a look, not a measurement"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/bench"), help="a folder for results.json and plots")
    options = parser.parse_args(arguments)
    degrees = options.lmax or (QUICK_DEGREES if options.quick else DEGREES)
    if min(degrees) < 1 or options.threads < 1:
        raise UserError("bench: --lmax and --threads take whole numbers from 1 on")
    bench_operations(options.op, degrees, options.threads, options.quick, options.output)

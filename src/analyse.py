"""erlangen analyse NAME RUN RUN…: what trained runs have in common."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from .datamodules.base import DataModule
from .errors import UserError
from .evidence.document import Section, text
from .evidence.render import console, print_sections
from .models.paper import Paper
from .nn.probes import Probe, ridge
from .nn.relative import relative
from .runs.assemble import build_data
from .runs.loading import load_run

PENALTY = 1e-3
"""Of the decoders' weights, for each sample."""


@dataclass(frozen=True)
class Encoded:
    """What a run's frozen network makes of the same samples."""

    name: str
    train: Float[Tensor, "train channels"]
    test: Float[Tensor, "test channels"]
    anchors: Float[Tensor, "anchors channels"]

    def relative(self) -> "Encoded":
        """All of them as seen from the anchors."""
        seen = (relative(z, self.anchors) for z in (self.train, self.test, self.anchors))
        return Encoded(self.name, *seen)


def stitching(runs: list[str], anchors: int, samples: int, seed: int, device: str) -> Section:
    """Zero-shot stitching (arXiv:2209.15430, section 5): a linear decoder of one run reads the encoder of another.

    Args:
        runs: folders or checkpoints of classifiers on one benchmark.
        anchors: training samples, the same for all runs, that all others are seen from.
        samples: training samples for the decoders.
        seed: draws the anchors.
        device: where to encode.
    """
    papers = [load_run(run) for run in runs]
    data = build_data(papers[0][1])
    for run, (paper, _) in zip(runs, papers, strict=True):
        check(run, paper, data)
    rows = torch.randperm(len(data.splits["train"]), generator=torch.Generator().manual_seed(seed))
    chosen, learned = rows[:anchors], rows[:samples]
    if len(rows) < anchors:
        raise UserError(f"--anchors={anchors}: there are only {len(rows)} training samples")
    target = data.spec.targets[0]
    label, truth = labels(data, "train", learned), labels(data, "test", torch.arange(len(data.splits["test"])))
    encoded = [
        encode(Path(run).name, paper.to(device), data, learned, chosen)
        for run, (paper, _) in zip(runs, papers, strict=True)
    ]
    tables = [accuracies(kind, label, truth, target.classes) for kind in ([e.relative() for e in encoded], encoded)]
    cells = [
        [text(reader.name), text(of.name), *(text(shown(table[i][j])) for table in tables)]
        for i, of in enumerate(encoded)
        for j, reader in enumerate(encoded)
    ]
    title = (
        f"Zero-shot stitching on {data.spec.benchmark}: test accuracy in %, {anchors} anchors, {data.spec.source} data"
    )
    columns = ["decoder trained on", "reads", "relative", "absolute"]
    return Section(title, columns, cells, numeric=frozenset({2, 3}))


def check(run: str, paper: Paper, data: DataModule) -> None:
    """Raises UserError for a run without features, without classes or on other data."""
    if (paper.spec.benchmark, paper.spec.split) != (data.spec.benchmark, data.spec.split):
        raise UserError(
            f"{run} is a run on {paper.spec.benchmark} ({paper.spec.split}), and the first on {data.spec.benchmark}"
        )
    if not hasattr(paper.network, "features"):
        raise UserError(f"{run}: {type(paper).__name__} has no features to compare")
    if len(paper.spec.targets) != 1 or not paper.spec.targets[0].classes:
        raise UserError(f"{run}: stitching compares classifiers, and {paper.spec.benchmark} has no classes")


def labels(data: DataModule, split: str, indices: Int[Tensor, " samples"]) -> Int[Tensor, " samples"]:
    return data.splits[split][indices.numpy()][data.spec.targets[0].name]


@torch.inference_mode()
def encode(
    name: str, paper: Paper, data: DataModule, learned: Int[Tensor, " train"], chosen: Int[Tensor, " anchors"]
) -> Encoded:
    """The features of training, test and anchor samples, in float64."""

    def features(split: str, indices: Int[Tensor, " samples"]) -> Float[Tensor, "samples channels"]:
        batches = (data.splits[split][part.numpy()] for part in indices.split(data.eval_batch_size))
        return torch.cat([paper.network.features(batch.to(paper.device)).double().cpu() for batch in batches])

    everything = torch.arange(len(data.splits["test"]))
    return Encoded(name, features("train", learned), features("test", everything), features("train", chosen))


def accuracies(
    encoded: list[Encoded], label: Int[Tensor, " train"], truth: Int[Tensor, " test"], classes: int
) -> list[list[float | None]]:
    """[encoder][decoder] -> per cent of the test samples; None where the decoder cannot read so many channels."""
    aims = 2.0 * one_hot(label, classes) - 1
    decoders = [ridge(one.train, aims, PENALTY) for one in encoded]

    def score(of: Encoded, reader: Encoded, decoder: Probe) -> float | None:
        if of.test.shape[1] != reader.test.shape[1]:
            return None
        return 100 * float((decoder(of.test).argmax(-1) == truth).double().mean())

    return [[score(of, *pair) for pair in zip(encoded, decoders, strict=True)] for of in encoded]


def shown(accuracy: float | None) -> str:
    return "other width" if accuracy is None else f"{accuracy:.2f}"


def main(arguments: list[str] | None = None) -> None:
    """The command line; `erlangen analyse --help` says more."""
    parser = argparse.ArgumentParser("erlangen analyse", description="Compare what trained runs represent.")
    parser.add_argument(
        "name", choices=("stitching",), help="stitching: decoders of one run read the encoder of another"
    )
    parser.add_argument("runs", nargs="+", help="folders or checkpoints of runs on one benchmark")
    parser.add_argument(
        "--anchors", type=int, default=300, help="samples that all others are seen from (published: 300)"
    )
    parser.add_argument("--samples", type=int, default=5000, help="training samples for the decoders")
    parser.add_argument("--seed", type=int, default=0, help="draws the anchors")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    if min(options.anchors, options.samples) < 1:
        raise UserError("--anchors and --samples must be 1 or more")
    section = stitching(options.runs, options.anchors, options.samples, options.seed, options.device)
    print_sections([section], console())

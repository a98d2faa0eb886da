"""erlangen bench hyperbolic: layers of HCNN and Poincaré ResNet beside the Euclidean layers that they generalise."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

from ..kernels import Kernels
from ..models.images.hcnn import LorentzStages
from ..models.images.poincare_resnet import PoincareStages
from ..models.images.resnet import ResidualStages
from ..nn.hyperbolic_lorentz import LorentzBatchNorm, LorentzConv2d
from ..nn.hyperbolic_poincare import PoincareBatchNorm, PoincareConv2d, PoincareReLU
from ..runs.console import console
from ..runs.folder import environment, write_json
from .timing import interleaved

GOAL = 3.0
"""So many times the twin's time, forward and backward, may a hyperbolic layer take."""
SIZES = {"HCNN": ((64, 32, 16), (256, 8, 16)), "Poincaré": ((8, 32, 128), (32, 8, 128))}
"""Channels, height and width, samples: an early and a late layer of the published networks."""


def bench_hyperbolic(repetitions: int, threads: int, quick: bool, json: Path | None) -> None:
    """Prints the time of a forward and backward pass of each layer, and of the networks, beside its twin's."""
    torch.set_num_threads(threads)
    table = Table(
        title=f"forward + backward in training, {threads} threads; goal: at most {GOAL:.0f}x", title_justify="left"
    )
    for column in ("what", "channels x h x w, samples", "ms", "twin's ms", "ratio", ""):
        table.add_column(column, justify="left" if column in ("what", "") else "right", no_wrap=column == "what")
    results: list[dict[str, Any]] = []
    for what, shape, ours, twin in pairs(quick):
        x = torch.randn(shape).contiguous(memory_format=torch.channels_last)
        times = interleaved({"ours": pass_of(ours, x), "twin": pass_of(twin, x)}, repetitions)
        ratio = times["ours"].median / times["twin"].median
        noisy = any(time.noisy for time in times.values())
        samples, *size = shape
        milliseconds = (f"{1e3 * times[name].median:.2f}" for name in ("ours", "twin"))
        remark = ", ".join(["met" if ratio <= GOAL else "missed"] + ["noisy"] * noisy)
        table.add_row(what, f"{' x '.join(map(str, size))}, {samples}", *milliseconds, f"{ratio:.2f}x", remark)
        row = {"what": what, "shape": shape, "ratio": ratio}
        results.append({**row, **{name: time.to_dict() for name, time in times.items()}})
    console.print(table)
    if json:
        write_json(json, {"threads": threads, "rows": results, **environment()})


def pairs(quick: bool) -> list[tuple[str, tuple[int, ...], nn.Module, nn.Module]]:
    """What is timed, on inputs of which shape, and its twin. A unit is a convolution, batch norm and ReLU."""
    found, choice = [], Kernels()
    for name, convolution, norm, relu, c in (
        ("HCNN", LorentzConv2d, LorentzBatchNorm, nn.ReLU, 1.0),
        ("Poincaré", PoincareConv2d, PoincareBatchNorm, partial(PoincareReLU, choice, 0.1), 0.1),
    ):
        for channels, size, samples in SIZES[name]:
            shape = (2 if quick else samples, channels, size, size)
            plain = partial(nn.Conv2d, channels, channels, 3, padding=1)
            layers = [convolution(choice, channels, channels, 3, 1, 1, c), norm(choice, channels, c)]
            found += [
                (f"{name} convolution", shape, layers[0], plain()),
                (f"{name} batch norm", shape, layers[1], nn.BatchNorm2d(channels)),
                (
                    f"{name} unit",
                    shape,
                    nn.Sequential(*layers, relu()),
                    nn.Sequential(plain(), nn.BatchNorm2d(channels), nn.ReLU()),
                ),
            ]
    for what, samples, stages, twin in (
        (
            "HCNN ResNet-18",
            16,
            partial(LorentzStages, choice, channels=64, shortcut="project", c=1.0, lr=0.1, momentum=0.9),
            64,
        ),
        ("Poincaré ResNet-20", 128, partial(PoincareStages, choice, channels=[8, 16, 32], c=0.1), 8),
    ):
        blocks = [2, 2, 2, 2] if twin == 64 else [3, 3, 3]
        shape = (2, 3, 8, 8) if quick else (samples, 3, 32, 32)
        found.append((what, shape, stages(3, blocks), ResidualStages(3, blocks, twin, "project")))
    return found


def pass_of(layer: nn.Module, x: Tensor) -> Callable[[], None]:
    """A forward and backward pass, with gradients by inputs and parameters."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    gradient = torch.randn_like(layer(x))

    def call() -> None:
        x.grad = None
        layer.zero_grad()
        layer(x).backward(gradient)

    return call

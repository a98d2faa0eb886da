"""erlangen preview data=…: a picture of a benchmark, a sample of every class, for a person to look at."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from .datamodules.contact_sheet import contact_sheet, image_sheet
from .errors import UserError
from .runs.assemble import build_data
from .runs.config import compose_config, resolved
from .runs.console import console

LOOKED_AT = 1024
"""Samples among which one of each class is sought."""


def preview(overrides: list[str], split: str, path: Path) -> int:
    """Draws one sample of each class, all its views where it has several.

    Args:
        overrides: as for train.py, e.g. ["data=3diebench"].
        split: "train", "val" or "test".
        path: of the PNG.

    Returns:
        How many samples were drawn.
    """
    datamodule = build_data(resolved(*compose_config(overrides)))
    if datamodule.modality not in ("views", "images", "points"):
        raise UserError(f"there is no picture of {datamodule.modality}; data of views, images and points can be drawn")
    samples = one_of_each_class(datamodule.splits[split])
    captions = {f"class {label}": sample for label, sample in sorted(samples.items())}
    if datamodule.modality == "points":
        contact_sheet({caption: sample.pos.numpy() for caption, sample in captions.items()}, path)
    else:
        image_sheet({caption: pictures(sample) for caption, sample in captions.items()}, path)
    return len(captions)


def one_of_each_class(dataset: Any) -> dict[int, Any]:
    """The first sample of every class, as a batch of one, by class."""
    found: dict[int, Any] = {}
    for index in range(min(len(dataset), LOOKED_AT)):
        sample = dataset[np.array([index])]
        found.setdefault(int(sample.label[0]), sample)
    return found


def pictures(sample: Any) -> np.ndarray:
    """(views, channels, height, width) of a batch of one."""
    return (sample.images[0] if "images" in sample else sample.image).numpy()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser("erlangen preview", description="Draw a sample of every class of a benchmark.")
    parser.add_argument("overrides", nargs="+", help="data=… and options, as for train.py")
    parser.add_argument("--split", choices=("train", "val", "test"), default="test")
    parser.add_argument("--output", type=Path, default=Path("preview.png"), help="the PNG to write")
    options = parser.parse_args(arguments)
    count = preview(options.overrides, options.split, options.output)
    console.print(f"{count} classes in {options.output}")

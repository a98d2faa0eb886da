"""Pictures at the end of a self-supervised run: retrieved neighbours, predicted rotations, embeddings that move."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from lightning.pytorch.loggers import Logger, WandbLogger
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from ..datamodules.base import DataModule
from ..evidence.plots import Parity, draw_all, parity
from ..evidence.view_plots import Path2D, Shown, retrieved, trajectories
from ..models.paper import Paper
from ..tasks.capabilities import Acts
from ..tasks.frozen import PARTS, FrozenFeatures, GatheredViews, Views
from ..tasks.poses import euler_to_quaternion, geodesic_degrees
from ..tasks.representation import RepresentationTask
from .folder import RunFolder

ROWS, FOUND, PIXELS = 6, 5, 96
"""Queries, what each finds, and how large they are drawn."""
SEARCHED = {True: 48, False: 1000}
"""Test samples that are searched: objects with all their views, or single images."""
TURNED, STEPS, FRAMES, REFERENCE = 4, 25, [2, 12, 22], 32
"""Samples that turn, in how many steps, of which some are shown, and the samples whose deviation is the unit."""


def draw_views(paper: Paper, datamodule: DataModule, task: FrozenFeatures, folder: RunFolder) -> list[Path]:
    """Draws retrieval.png, rotation.png and trajectories.png into a run's plots/; what cannot be drawn is a warning.

    Args:
        paper: trained.
        datamodule: whose test samples are looked at.
        task: scored on the test split.
        folder: the run's.
    """
    paper.eval()
    with torch.inference_mode():
        return draw_all(
            folder,
            {
                "retrieval": lambda _, path: draw_retrieval(paper, datamodule, task, path),
                "rotation": lambda _, path: draw_rotations(task, path),
                "trajectories": lambda _, path: draw_trajectories(paper, datamodule, path),
            },
        )


def log_pictures(loggers: list[Logger], pictures: list[Path]) -> None:
    """Sends them to Weights & Biases, where that is the logger."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            for path in pictures:
                logger.log_image(f"plots/{path.stem}", [str(path)])


class Searched(NamedTuple):
    """Test samples with their pictures."""

    views: Views
    pictures: Float[Tensor, "samples views channels height width"]


def search(paper: Paper, datamodule: DataModule) -> Searched:
    """The first test samples, represented."""
    dataset, posed = datamodule.splits["test"], "latents" in datamodule.spec.fields
    gathered, pictures = GatheredViews(), []
    for indices in np.array_split(np.arange(min(SEARCHED[posed], len(dataset))), 8):
        batch = dataset[indices]
        gathered.update({name: value.cpu() for name, value in paper.predict(batch.to(paper.device)).items()}, batch)
        small = interpolate(batch.images.flatten(0, 1), PIXELS, mode="bilinear", antialias=True)
        pictures.append(small.unflatten(0, batch.images.shape[:2]))
    return Searched(gathered.gathered(), torch.cat(pictures))


def draw_retrieval(paper: Paper, datamodule: DataModule, task: FrozenFeatures, path: Path) -> bool:
    searched = search(paper, datamodule)
    found = [f"nearest {n}" for n in range(1, FOUND + 1)]
    if isinstance(task, RepresentationTask):
        rows, right = (
            pose_rows(searched, task),
            "the view that was asked for, by the first view and the rotation from there",
        )
        retrieved(rows, ["seen first", "asked for", *found], right, path)
    else:
        retrieved(label_rows(searched), ["asked with", *found], "of the same class", path)
    return True


def pose_rows(searched: Searched, task: RepresentationTask) -> list[list[Shown]]:
    """The first view of an object and the rotation from there ask for its second; all views but the first may answer."""
    views, pictures = searched
    part = PARTS["equi"] if "equi" in views.present else PARTS["all"]
    queries, candidates = task.predictions(views, part)
    poses, count = euler_to_quaternion(views.latents[..., :3]), views.latents.shape[1]
    rows = []
    for sample in spaced(len(pictures)):
        found = nearest(queries[sample, 1], candidates.flatten(0, 1), without=sample * count)
        wanted = poses[sample, 1]
        row = [
            Shown(pictures[sample, 0].numpy(), angles(views.latents[sample, 0])),
            Shown(pictures[sample, 1].numpy(), angles(views.latents[sample, 1])),
        ]
        for index in found.tolist():
            other, view = divmod(index, count)
            away = float(geodesic_degrees(poses[other, view][None], wanted[None]))
            caption = f"{angles(views.latents[other, view])}\n{away:.0f}° away"
            row.append(Shown(pictures[other, view].numpy(), caption, right=(other, view) == (sample, 1)))
        rows.append(row)
    return rows


def label_rows(searched: Searched) -> list[list[Shown]]:
    """The test images nearest to each of some; right are those of its class."""
    (parts, label, _), pictures = searched
    features = parts["all"][:, 0]
    rows = []
    for sample in spaced(len(pictures)):
        found = nearest(features[sample], features, without=sample).tolist()
        hits = [Shown(pictures[i, 0].numpy(), f"class {label[i]}", bool(label[i] == label[sample])) for i in found]
        rows.append([Shown(pictures[sample, 0].numpy(), f"class {label[sample]}"), *hits])
    return rows


def spaced(samples: int) -> list[int]:
    """A few samples of all."""
    return np.linspace(0, samples - 1, min(ROWS, samples)).astype(int).tolist()


def nearest(query: Float[Tensor, " channels"], keys: Float[Tensor, "rows channels"], without: int) -> Int[Tensor, " k"]:
    """The rows at the least angle, one left out."""
    similarity = normalize(keys, dim=-1) @ normalize(query, dim=-1)
    similarity[without] = -torch.inf
    return similarity.topk(FOUND).indices


def angles(latents: Float[Tensor, " latents"]) -> str:
    """Of the rotation, about x, y and z."""
    return ", ".join(f"{round(value)}°" for value in torch.rad2deg(latents[:3]).tolist())


def draw_rotations(task: FrozenFeatures, path: Path) -> bool:
    """False where no rotation was asked for."""
    if not isinstance(task, RepresentationTask) or task.rotations is None:
        return False
    predicted, true = (values.cpu().numpy() for values in task.rotations)
    panels = [Parity(f"rotation, {name}", "", predicted[:, i], true[:, i]) for i, name in enumerate("wxyz")]
    parity(panels, path)
    return True


def draw_trajectories(paper: Paper, datamodule: DataModule, path: Path) -> bool:
    turning = datamodule.turning(TURNED, STEPS)
    batch = turning.batch.to(paper.device)
    outputs = {name: value.cpu() for name, value in paper.represent(batch).items()}
    pictures = interpolate(turning.batch.images.flatten(0, 1), PIXELS, mode="bilinear", antialias=True)
    frames = pictures.unflatten(0, batch.images.shape[:2])[:, FRAMES].numpy()
    spread = reference_spread(paper, datamodule)
    parts = {}
    for part in Views(outputs, turning.batch.label).present.values():
        measured = outputs[part] / spread[part]
        parts[part] = [plane(measured[i], None, frames[i]) for i in range(len(measured))]
    if isinstance(paper, Acts) and "latents" in turning.batch:
        moved = {name: value.cpu() for name, value in paper.predict(batch).items()}
        parts["embedding, equivariant"] = predicted_paths(moved, frames)
    trajectories(parts, turning.degrees.numpy(), turning.words, path)
    return True


def predicted_paths(outputs: Mapping[str, Tensor], frames: np.ndarray) -> list[Path2D]:
    """Of a paper that acts on its latent space."""
    measured, predicted = outputs["embedded_equivariant"], outputs["predicted_equivariant"]
    scale = measured.flatten(0, 1).var(0).sum().sqrt()
    return [plane(measured[i] / scale, predicted[i] / scale, frames[i]) for i in range(len(measured))]


def reference_spread(paper: Paper, datamodule: DataModule) -> dict[str, float]:
    """The deviation of each part over the views of some test samples: a part that stays put has a short path beside it."""
    dataset = datamodule.splits["test"]
    batch = dataset[np.arange(min(REFERENCE, len(dataset)))].to(paper.device)
    parts = {name: value.flatten(0, 1) for name, value in paper.represent(batch).items() if value.shape[-1]}
    return {name: float(value.var(0).sum().sqrt().clamp(min=1e-12)) for name, value in parts.items()}


def plane(
    measured: Float[Tensor, "steps channels"], predicted: Float[Tensor, "steps channels"] | None, frames: np.ndarray
) -> Path2D:
    """The two principal directions of a path, about its centre."""
    centre = measured.mean(0)
    axes = torch.linalg.svd(measured - centre, full_matrices=False).Vh[:2].mT
    seen = None if predicted is None else ((predicted - centre) @ axes).numpy()
    return Path2D(((measured - centre) @ axes).numpy(), seen, list(frames))

"""Whether a paper and a benchmark fit: asked before anything is downloaded, answered with what would fit."""

import functools
from typing import Any

import hydra

from ..datamodules.base import DataModule
from ..errors import UserError
from ..models.paper import Paper
from .assemble import build_data, check_trust
from .config import available, compose_config, group_file, resolved


def mismatch(paper: type[Paper], datamodule: DataModule) -> str:
    """Why a paper cannot be trained on a benchmark, or "" if it can."""
    datamodule = datamodule.offered_to(paper.modalities)
    if datamodule.modality not in paper.modalities:
        return f"works on {', '.join(sorted(paper.modalities))}, and the data are {datamodule.modality}"
    missing = [protocol.__name__ for protocol in datamodule.requires if not issubclass(paper, protocol)]
    if missing:
        return f"lacks what the benchmark asks for: {', '.join(missing)}"
    if lacking := paper.needs - set(datamodule.spec.fields):
        return f"needs {', '.join(sorted(lacking))}, which the data do not tell"
    if "cell" in datamodule.spec.fields and not paper.periodic:
        return "knows molecules only, and the data are periodic (the network would miss the neighbours across a cell's faces)"
    for target in datamodule.spec.targets:
        kind = f"{target.level}:{'class' if target.classes else target.irreps}"
        if not target.gradient_of and kind not in paper.outputs:
            return f"predicts {', '.join(sorted(paper.outputs))}, and {target.name} is {kind}"
    return ""


def check_pair(config: dict[str, Any]) -> None:
    """Raises UserError naming the partners of both where the model and the data of a configuration do not fit."""
    check_trust(config["model"])
    paper = hydra.utils.get_class(config["model"]["_target_"])
    datamodule = build_data(config)
    reason = mismatch(paper, datamodule)
    if reason:
        model, data = config["choices"]["model"], config["choices"]["data"]
        papers = [name for name in available("model") if not mismatch(model_class(name), datamodule)]
        raise UserError(
            f"model={model} does not fit data={data}: it {reason}. "
            f"model={model} fits data={', '.join(partners(model)) or '(none yet)'}; "
            f"data={data} fits model={', '.join(papers) or '(none yet)'}"
        )


def complete(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with what the pair of paper and benchmark needs and nobody chose.

    That is the augmentation by which the paper's views are made of data that have one image a sample.
    """
    views = build_data(config).spec.fields.get("images")
    if config["augment"] or views is None or views.shape[0] > 1:
        return config
    name = hydra.utils.get_class(config["model"]["_target_"]).views_by
    return {**config, "augment": group_file("augment", name), "choices": {**config["choices"], "augment": name}}


@functools.cache
def model_class(name: str) -> type[Paper]:
    """The class that conf/model/NAME.yaml builds."""
    cfg, _ = compose_config([f"model={name}"])
    return hydra.utils.get_class(cfg.model._target_)


def partners(model: str) -> list[str]:
    """The benchmarks that a model can be trained on."""
    paper = model_class(model)
    return [name for name in available("data") if not mismatch(paper, default_data(name))]


def default_data(name: str) -> DataModule:
    """The benchmark of conf/data/NAME.yaml, none of its data read."""
    return build_data(resolved(*compose_config([f"data={name}"])))

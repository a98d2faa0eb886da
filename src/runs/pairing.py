"""Whether a paper and a benchmark fit: asked before anything is downloaded, answered with what would fit."""

from typing import Any

import hydra

from ..datamodules.base import DataModule
from ..errors import UserError
from ..models.paper import Paper
from ..tasks.spec import Spec
from .config import available, compose_config


def target_class(group: str, name: str) -> type:
    """The class that conf/GROUP/NAME.yaml builds."""
    cfg, _ = compose_config([f"{group}={name}"])
    return hydra.utils.get_class(cfg[group]._target_)


def mismatch(paper: type[Paper], datamodule: type[DataModule]) -> str:
    """Why the classes do not fit, or "" if they do."""
    if datamodule.modality not in paper.modalities:
        return f"works on {', '.join(sorted(paper.modalities))}, and the data are {datamodule.modality}"
    missing = [protocol.__name__ for protocol in datamodule.requires if not issubclass(paper, protocol)]
    return f"lacks what the benchmark asks for: {', '.join(missing)}" if missing else ""


def partners(model: str) -> list[str]:
    """The benchmarks whose modality and demands `model` meets."""
    paper = target_class("model", model)
    return [name for name in available("data") if not mismatch(paper, target_class("data", name))]


def check_pair(config: dict[str, Any]) -> None:
    """Raises UserError naming the partners of both where they do not fit each other."""
    paper, datamodule = group_class(config, "model"), group_class(config, "data")
    reason = mismatch(paper, datamodule)
    if reason:
        model, data = config["choices"]["model"], config["choices"]["data"]
        papers = [m for m in available("model") if not mismatch(target_class("model", m), datamodule)]
        raise UserError(
            f"model={model} does not fit data={data}: it {reason}. "
            f"model={model} fits data={', '.join(partners(model)) or '(none yet)'}; "
            f"data={data} fits model={', '.join(papers) or '(none yet)'}"
        )


def check_targets(model: str, paper: type[Paper], spec: Spec) -> None:
    """Raises UserError where the benchmark asks for a kind of target that the paper cannot predict."""
    for target in spec.targets:
        kind = f"{target.level}:{'class' if target.classes else target.irreps}"
        if not target.gradient_of and kind not in paper.outputs:
            raise UserError(
                f"model={model} cannot predict {target.name} of {spec.benchmark}, a {kind}; it predicts "
                f"{', '.join(sorted(paper.outputs))}"
            )


def group_class(config: dict[str, Any], group: str) -> type:
    """The class that a resolved configuration will build for a group."""
    return hydra.utils.get_class(config[group]["_target_"])

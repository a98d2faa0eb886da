"""Wrong values are found before anything is built with them, and said in the words of the command line."""

import types
import typing
from typing import Any

import torch

from ..errors import UserError

PRECISIONS = ("32-true", "64-true", "bf16-mixed", "bf16-true", "16-mixed")
NUMBERS = (int, float, bool, torch.Tensor)


def check_options(config: dict[str, Any]) -> None:
    """Raises UserError for what would be refused late, or taken and not done."""
    if config["overwrite"] and config["resume"]:
        raise UserError("resume=true and overwrite=true contradict each other: give one of them")
    options = config["trainer"]
    precision, accelerator = options["precision"], options["accelerator"]
    if precision not in PRECISIONS:
        raise UserError(f"trainer.precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available())
    if precision == "16-mixed" and on_cpu:
        raise UserError("trainer.precision=16-mixed would silently compute in bfloat16 on a CPU: use bf16-mixed there")
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError(
            "trainer=gpu: torch sees no GPU here; use trainer=cpu, or a CUDA build of torch (make setup CUDA=1)"
        )
    for name in ("max_epochs", "limit_train_batches", "accumulate_grad_batches"):
        if options[name] == 0:
            raise UserError(f"trainer.{name}=0 leaves nothing to train")
    if config["schedule_update"] not in ("step", "epoch"):
        raise UserError(f"schedule_update must be step or epoch, not {config['schedule_update']!r}")
    if config["ema_decay"] is not None and not 0 <= config["ema_decay"] < 1:
        raise UserError(f"ema_decay must be at least 0 and below 1, not {config['ema_decay']}")


def check_passes(optimizer: type[torch.optim.Optimizer], trainer: dict[str, Any]) -> None:
    """Raises UserError where an optimiser that evaluates a step's loss more than once (SAM) could not do so."""
    if getattr(optimizer, "passes", 1) == 1:
        return
    name = optimizer.__name__
    if trainer["accumulate_grad_batches"] != 1:
        raise UserError(
            f"optimizer={name} evaluates every batch twice, and batches accumulated over steps are gone by then: use "
            "trainer.accumulate_grad_batches=1 and a larger data.batch_size"
        )
    if trainer["precision"] == "16-mixed":
        raise UserError(f"optimizer={name} cannot scale the losses of two passes: use trainer.precision=bf16-mixed")


def check_values(target: type | Any, options: dict[str, Any]) -> None:
    """Raises UserError for a word where the annotations of `target` ask for numbers: `model.layers=many`."""
    annotations = typing.get_type_hints(getattr(target, "__init__", target))
    for name, value in options.items():
        if isinstance(value, str) and name in annotations:
            wanted = alternatives(annotations[name])
            if wanted and wanted <= {*NUMBERS, type(None)}:
                kinds = " or ".join(kind.__name__ for kind in NUMBERS[:-1] if kind in wanted)
                raise UserError(f"{name} of {target.__name__} must be {kinds}, not {value!r}")


def alternatives(annotation: Any) -> set[Any]:
    """The members of a union, or the annotation itself."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return {part for member in typing.get_args(annotation) for part in alternatives(member)}
    return {annotation}

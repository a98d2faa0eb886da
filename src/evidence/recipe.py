"""Whether a run follows a published recipe, and how configurations differ, in words."""

from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from inspect import signature
from typing import Any

from ..runs.config import INCIDENTAL

# Neither says how something is computed, or where, or how it is watched; none of them changes what is learned.
INDIFFERENT = frozenset(
    {
        *INCIDENTAL,
        "seed",
        "kernels",
        "compile",
        "deterministic",
        "data.eval_batch_size",
        "data.num_workers",
        "data.source",  # auto or official in the configuration; what it was is in the result
        *(
            f"trainer.{key}"
            for key in (
                "accelerator",
                "devices",
                "num_nodes",
                "strategy",
                "default_root_dir",
                "log_every_n_steps",
                "num_sanity_val_steps",
                "enable_model_summary",
                "enable_checkpointing",
                "enable_progress_bar",
                "use_distributed_sampler",
            )
        ),
    }
)


def departures(
    run: dict[str, Any], world_size: int, published: dict[str, Any], indifferent: Iterable[str] = ()
) -> list[str]:
    """Where a run leaves the published recipe, e.g. ["model.layers 4 (published 7)"]; [] where it follows it.

    Batch size, accumulated batches and processes count together, as samples a step.

    Args:
        run, published: resolved configurations.
        world_size: processes of the run.
        indifferent: further options that do not matter, e.g. "data.reader".
    """
    ignored = INDIFFERENT | frozenset(indifferent)
    run, published = completed(run), completed(published)
    mine, theirs = samples_per_step(run, world_size), samples_per_step(published, processes(published))
    found = list(compare(run, published, ignored | {"data.batch_size", "trainer.accumulate_grad_batches"}))
    if mine != theirs:
        found.append(("samples per step", mine, theirs))
    return [f"{path} {shown(value)} (published {shown(other)})" for path, value, other in found]


def samples_per_step(config: dict[str, Any], world_size: int) -> int | None:
    """How many samples one step of the optimiser sees."""
    size = config["data"].get("batch_size")
    return size and size * config["trainer"]["accumulate_grad_batches"] * world_size


def processes(config: dict[str, Any]) -> int:
    """How many processes a configuration asks for by number; one where it takes what a machine has."""
    trainer = config["trainer"]
    return trainer["num_nodes"] * (trainer["devices"] if isinstance(trainer["devices"], int) else 1)


def settings(configs: list[dict[str, Any]]) -> list[list[str]]:
    """What tells each of several configurations from the others, e.g. [["model.layers 4"], ["model.layers 7"]].

    What is null goes without saying: the others say what they have in its place.
    """
    ignored = frozenset({*INCIDENTAL, "seed", "trainer.default_root_dir"})
    configs = [completed(config) for config in configs]
    varying = {path for other in configs[1:] for path, _, _ in compare(configs[0], other, ignored)}
    found = [[(path, at(config, path)) for path in sorted(varying)] for config in configs]
    return [[f"{path} {shown(value)}" for path, value in pairs if value is not None] for pairs in found]


def completed(node: Any) -> Any:
    """A configuration with the options that its classes have got since it was written, at their defaults."""
    if not isinstance(node, dict):
        return node
    return defaults(node.get("_target_")) | {key: completed(value) for key, value in node.items()}


@cache
def defaults(target: str | None) -> dict[str, Any]:
    """A constructor's options that may be left out; none of a class of others, or one that is gone."""
    if not str(target).startswith(f"{__package__.partition('.')[0]}."):
        return {}
    module, _, name = target.rpartition(".")
    try:
        parameters = signature(getattr(import_module(module), name)).parameters.values()
    except (ImportError, AttributeError):
        return {}
    return {option.name: option.default for option in parameters if option.default is not option.empty}


def at(config: Any, path: str) -> Any:
    for key in path.split("."):
        config = config.get(key) if isinstance(config, dict) else None
    return config


def compare(a: Any, b: Any, ignored: frozenset[str], path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted path, value in a, value in b) wherever two containers differ; an option that is absent is null.

    Where two nodes build different classes, the options that only one of the classes has go without saying.
    """
    if path in ignored:
        return
    if not (isinstance(a, dict) and isinstance(b, dict)):
        if a != b:
            yield path, a, b
        return
    keys = [*a, *(key for key in b if key not in a)]
    if a.get("_target_") != b.get("_target_"):
        yield path, a, b
        keys = [key for key in a if key in b and key != "_target_"]
    for key in keys:
        yield from compare(a.get(key), b.get(key), ignored, f"{path}.{key}" if path else key)


def shown(value: Any) -> str:
    """A value as one would write it on the command line; a node by the class that it builds."""
    if isinstance(value, dict):
        return str(value["_target_"]).rpartition(".")[2] if "_target_" in value else "other options"
    if isinstance(value, list):
        return f"[{','.join(shown(item) for item in value)}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)

"""Which backend runs which operation: the choice that a run's config makes and a model passes on."""

import dataclasses
import logging

from ..errors import UserError
from .registry import find, ops

BACKENDS = ("auto", "reference", "compiled", "native", "triton", "cueq", "oeq")

log = logging.getLogger("erlangen")


class Kernels:
    """A choice of backend for every operation, and the record of what really ran.

    `default` holds for all operations, `ops` for single ones: `Kernels("auto", so2_conv="triton")`. A backend named for
    one operation must exist and be usable there, else UserError. A default other than `auto` does the same wherever the
    operation has such a backend; operations that have none follow `auto`, which picks the fastest usable backend and
    logs it. `ran` maps each operation that ran to its backends, for result.json.

        kernels: auto                                                  # in config: one file of conf/kernels
        python train.py kernels=compiled kernels.neighbor_list=vesin   # on the command line
    """

    def __init__(self, default: str = "auto", **ops: str | None):
        if default not in BACKENDS:
            raise UserError(f"kernels={default}: choose one of {', '.join(BACKENDS)}")
        self.default = default
        self.named = {op: backend for op, backend in ops.items() if backend is not None}
        self._ran: dict[str, set[str]] = {}
        for op, backend in self.named.items():
            candidates = ("auto", *find(op).candidates)
            if backend not in candidates:
                raise UserError(f"kernels.{op}={backend}: {op} has the backends {', '.join(candidates)}")

    def backend(self, op: str) -> str:
        """The backend to use for `op`, or `auto`."""
        if op in self.named:
            return self.named[op]
        return self.default if self.default in find(op).candidates else "auto"

    def record(self, op: str, backend: str) -> None:
        """Note that `backend` runs `op`; the first time, log what `auto` chose."""
        seen = self._ran.setdefault(op, set())
        if backend not in seen and self.backend(op) == "auto":
            log.info("kernels: auto chose %s for %s", backend, op)
        seen.add(backend)

    @property
    def ran(self) -> dict[str, str]:
        """{operation: backend} of what ran so far; several backends of one operation (devices, dtypes) by commas."""
        return {op: ", ".join(sorted(backends)) for op, backends in sorted(self._ran.items())}

    def __deepcopy__(self, memo: dict) -> "Kernels":
        """Copies of a model (averages, teachers) report to the same record."""
        return self

    def __repr__(self) -> str:
        return f"Kernels({', '.join([repr(self.default), *(f'{op}={name!r}' for op, name in self.named.items())])})"


def register_schema() -> None:
    """Give Hydra the schema of the config group `kernels`, which conf/kernels/*.yaml name in their defaults.

    It has a field for every operation, so that `kernels=auto kernels.so2_conv=triton` works on the command line and a
    misspelt operation is an error. Commands call it before they compose.
    """
    from hydra.core.config_store import ConfigStore

    fields = [
        ("_target_", str, f"{Kernels.__module__}.{Kernels.__qualname__}"),
        ("default", str, "auto"),
        *((op, str | None, None) for op in ops()),
    ]
    ConfigStore.instance().store(
        group="kernels", name="schema", node=dataclasses.make_dataclass("KernelsSchema", fields)
    )

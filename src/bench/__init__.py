"""erlangen bench: competitors timed in one process, side by side, with the numerics checked first."""

from .command import main

__all__ = ["main"]

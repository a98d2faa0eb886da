"""The package as a user gets it: everything ships, importing is light, and imports go down the house only."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = {"errors": 0, "geometry": 1, "kernels": 2, "nn": 3, "tasks": 3, "optim": 3, "models": 4, "datamodules": 4}
"""Floors of the house; whatever is not named here is a command, on floor 5. Parts of one floor may use each other."""
APART = {("models", "datamodules"), ("datamodules", "models")}
"""A paper and a benchmark meet through a spec and a batch only."""


def part_of(path: Path) -> str:
    """The folder (or file) of src/ that a file belongs to."""
    return path.relative_to(ROOT / "src").parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    """The parts of the package that a file imports, also inside its functions."""
    package = path.relative_to(ROOT / "src").parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = package[: len(package) - node.level + 1]
        names = [node.module] if node.module else [alias.name for alias in node.names]
        found |= {(*base, *name.split("."))[0] for name in names}
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "src").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_the_house(path: Path) -> None:
    here = part_of(path)
    for there in imported_parts(path) - {here}:
        assert FLOORS.get(there, 5) <= FLOORS.get(here, 5), f"{here} imports {there}, which stands above it"
        assert (here, there) not in APART, f"{here} imports {there}: they meet through a spec and a batch only"


def test_importing_the_package_is_light() -> None:
    code = "import sys, erlangen; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_the_wheel_holds_every_package_config_and_published_result(tmp_path: Path) -> None:
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    shipped = set(zipfile.ZipFile(wheel).namelist())
    sources = {f"erlangen/{path.relative_to(ROOT / 'src')}" for path in (ROOT / "src").rglob("*.py")}
    configs = {f"erlangen/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    published = {f"erlangen/{path.relative_to(ROOT)}" for path in (ROOT / "published").glob("*.yaml")}
    assert sources | configs | published <= shipped

"""The error of a grid network falls with the grid's resolution, and keeps to its bound."""

from io import BytesIO
from typing import Any

import pytest
from models.atoms.so3_networks import S2EF, batch

from erlangen.evidence.grids import draw_resolutions, error_by_resolution, has_grid
from erlangen.models.paper import Paper
from erlangen.runs.assemble import build_paper
from erlangen.runs.config import compose_config, resolved
from erlangen.runs.pairing import model_class
from tests.synthetic import randomize


def built(model: str, *overrides: str) -> tuple[Paper, dict[str, Any]]:
    tiny = (f"model.{key}={value}" for key, value in model_class(model).tiny.items())
    config = resolved(*compose_config([f"model={model}", "kernels=reference", *tiny, *overrides]))
    paper = build_paper(config, S2EF)
    randomize(paper)
    return paper.double().eval(), config


# eSCN's heads read the sphere at points of their own, which stay as they are
@pytest.mark.parametrize(("model", "gain"), [("equiformer_v2", 100), ("escn", 1)])
def test_finer_grids_err_less_and_all_keep_their_bound(model: str, gain: float) -> None:
    paper, config = built(model, "model.activation=s2")
    rows = error_by_resolution(paper, config, batch(2), draws=1)
    errors = [row["error"] for row in rows]
    assert errors[0] > gain * errors[-1] > 0
    assert all(row["error"] <= row["bound"] for row in rows)
    assert config["model"]["resolution"] in {None, *(row["resolution"] for row in rows)}
    picture = BytesIO()
    draw_resolutions({"before training": rows}, picture)
    assert picture.getvalue().startswith(b"\x89PNG")


def test_what_needs_no_grid_has_no_curve() -> None:
    assert not has_grid(built("equiformer_v2", "model.activation=gate")[0])
    assert not has_grid(built("egnn")[0])

"""erlangen analyse stitching: frozen encoders, decoders of other runs."""

import re
from pathlib import Path

import pytest
import torch

from erlangen.analyse import Encoded, accuracies, main
from erlangen.errors import UserError
from erlangen.runs.config import compose_config, resolved
from erlangen.train import train


def run(folder: Path, *overrides: str) -> str:
    options = ["data=digits", "trainer=cpu", "optimizer.lr=5e-3", f"paths.runs={folder}", f"paths.data={folder}"]
    train(resolved(*compose_config([*options, *overrides])))
    return str(max(folder.iterdir(), key=lambda path: path.stat().st_mtime))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two seeds of one network, and another of another width."""
    folder = tmp_path_factory.mktemp("runs")
    small, wide = ("model=mlp", "model.hidden=[48]", "trainer.max_epochs=4"), ("model.hidden=[64]",)
    return [run(folder, *small, "seed=1"), run(folder, *small, "seed=2"), run(folder, *small, *wide)]


def table(capsys: pytest.CaptureFixture) -> list[list[str]]:
    lines = capsys.readouterr().out.splitlines()
    return [re.split(r"\s{2,}", line.strip()) for line in lines if line.strip().startswith("mlp_digits")]


def test_decoders_read_encoders_that_they_have_never_seen(
    runs: list[str], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a run both ways work; across runs the relative one still does, and the absolute one guesses."""
    monkeypatch.setenv("COLUMNS", "160")
    main(["stitching", *runs, "--anchors", "200", "--device", "cpu"])
    rows = table(capsys)
    assert len(rows) == 9
    for decoder, encoder, relative, absolute in rows:
        if decoder == encoder:
            assert float(relative) > 85
            assert float(absolute) > 85
        else:
            assert float(relative) > 40
            widths = {Path(path).name: "64" if path == runs[2] else "48" for path in runs}
            if widths[decoder] == widths[encoder]:
                assert float(absolute) < 45
            else:
                assert absolute == "other width"


def test_a_turned_copy_is_read_as_well_as_the_original() -> None:
    label, truth = torch.arange(600) % 4, torch.arange(200) % 4
    centres = 2 * torch.randn(4, 12, dtype=torch.float64)
    train, test = (centres[y] + torch.randn(len(y), 12, dtype=torch.float64) for y in (label, truth))
    turn = 0.3 * torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64)).Q
    one = Encoded("one", train, test, train[:50])
    two = Encoded("two", train @ turn, test @ turn, train[:50] @ turn)
    seen = accuracies([one.relative(), two.relative()], label, truth, 4)
    assert seen[0][0] > 95
    assert seen[0][0] == seen[0][1] == seen[1][0] == seen[1][1]
    plain = accuracies([one, two], label, truth, 4)
    assert plain[0][0] == plain[1][1] > 95
    assert max(plain[0][1], plain[1][0]) < 80


def test_what_cannot_be_compared_is_refused(runs: list[str]) -> None:
    with pytest.raises(UserError, match="--anchors=5000: there are only 1293 training samples"):
        main(["stitching", *runs[:1], "--anchors", "5000"])
    with pytest.raises(UserError, match="must be 1 or more"):
        main(["stitching", *runs[:1], "--anchors", "0"])
    with pytest.raises(UserError, match="no checkpoint"):
        main(["stitching", "nowhere"])

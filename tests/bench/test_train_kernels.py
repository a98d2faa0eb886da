"""erlangen bench train kernels: one network with its fastest kernels beside their references."""

import json
from pathlib import Path

import pytest

from erlangen.bench import timing
from erlangen.bench.command import main
from erlangen.errors import UserError

OPTIONS = ["model=ponita", "model.layers=1", "model.channels=8", "model.basis=8", "data=qm9"]
OPERATIONS = "fibre_convolution", "gather_scale_scatter", "linear"


def test_a_table_and_a_file(qm9_root: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(timing, "TRIES", 1)  # noise does not matter here
    file = tmp_path / "times.json"
    words = [*OPTIONS, f"paths.data={qm9_root}", "--batch-size", "2", "--repetitions", "2", "--json", str(file)]
    main(["train", "kernels", *words])
    text = " ".join(capsys.readouterr().out.split())
    assert "training steps, qm9 (official), batches of 2, 1 threads; outputs equal to" in text
    assert all(f"{op}=" in text.split("auto: ")[1] for op in OPERATIONS)
    found = json.loads(file.read_text())
    assert found["options"][:5] == OPTIONS
    assert found["error"] < 1e-4
    assert found["reference"]["kernels"] == dict.fromkeys(OPERATIONS, "reference")
    for choice in ("auto", "reference"):
        assert found[choice]["times"]["median"] > 0
        assert found[choice]["peak_bytes"] >= found[choice]["saved_bytes"] > 0


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="--repetitions takes whole numbers from 2 on"):
        main(["train", "kernels", *OPTIONS, "--repetitions", "1"])

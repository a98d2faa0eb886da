"""erlangen bench train published: a paper beside the order of operations of its published code."""

import json
from pathlib import Path

import pytest
import torch
from synthetic import randomize, synthetic_batch

from erlangen.bench import timing
from erlangen.bench.command import main
from erlangen.bench.published_structure import as_published
from erlangen.errors import UserError
from erlangen.kernels import Kernels
from erlangen.models.atoms.egnn import EGNN
from erlangen.models.atoms.ponita import Ponita
from erlangen.runs.pairing import default_data

SMALL = [
    "model.layers=2",
    "model.channels=8",
    "data.train_size=8",
    "data.val_size=4",
    "data.test_size=4",
    "data.batch_size=2",
]


@pytest.mark.parametrize("name", ["egnn", "ponita"])
def test_both_orders_give_the_same_outputs_and_gradients(name: str) -> None:
    spec = default_data("nbody").spec
    choice = Kernels("reference")
    papers = {
        "egnn": lambda: EGNN(spec, choice, 2, 8, False, True, 0.0),
        "ponita": lambda: Ponita(spec, choice, 2, 8, 6, 12, 3, 2, 1.0, True, False),
    }
    network = papers[name]().double().network
    randomize(network)
    batch = synthetic_batch(spec, 3).apply(lambda a: a.double() if a.is_floating_point() else a)
    found = []
    for form in (network, as_published(network)):
        position = form(batch)["position"]
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        found.append((position, torch.autograd.grad(position.square().sum(), parameters, allow_unused=True)))
    (ours, by_ours), (published, by_published) = found
    torch.testing.assert_close(ours, published, rtol=1e-10, atol=1e-12)
    assert (ours - batch.pos).abs().max() > 1e-3
    for one, other in zip(by_ours, by_published, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_a_table_and_a_file(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(timing, "TRIES", 1)  # noise does not matter here
    file = tmp_path / "times.json"
    words = ["experiment=egnn_nbody", *SMALL, f"paths.data={tmp_path}"]
    main(["train", "published", *words, "--repetitions", "2", "--json", str(file)])
    text = " ".join(capsys.readouterr().out.split())
    assert "as published" in text
    assert "1.00x" in text
    found = json.loads(file.read_text())
    assert found["error"] < 1e-4
    assert found["erlangen"]["kernels"]["segment_sum"] == "reference"
    assert all(found[name]["times"]["median"] > 0 for name in ("as published", "erlangen"))


def test_other_papers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="choose egnn or ponita"):
        main(["train", "published", "model=gnn", "data=nbody", *SMALL[2:], f"paths.data={tmp_path}"])


def test_networks_of_molecules_are_refused(qm9_root: Path) -> None:
    with pytest.raises(UserError, match="choose trajectories"):
        main(
            [
                "train",
                "published",
                "model=ponita",
                "data=qm9",
                "model.layers=1",
                "model.channels=8",
                f"paths.data={qm9_root}",
            ]
        )


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="--repetitions takes whole numbers from 2 on"):
        main(["train", "published", "experiment=egnn_nbody", "--repetitions", "1"])

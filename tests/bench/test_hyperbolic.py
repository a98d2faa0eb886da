"""erlangen bench hyperbolic: every layer beside a twin of the same shapes."""

import json

import pytest
import torch

from erlangen.bench.command import main
from erlangen.bench.hyperbolic import pairs, pass_of
from erlangen.errors import UserError


def test_twins_take_and_give_the_same_shapes() -> None:
    for what, shape, ours, twin in pairs(quick=True):
        x = torch.randn(shape)
        assert ours(x).shape == twin(x).shape, what


def test_a_pass_leaves_gradients_of_inputs_and_parameters() -> None:
    layer = torch.nn.Conv2d(2, 2, 3)
    call = pass_of(layer, torch.randn(1, 2, 4, 4))
    call()
    first = layer.weight.grad.clone()
    call()
    torch.testing.assert_close(layer.weight.grad, first)


def test_a_table_and_a_file(capsys, tmp_path) -> None:
    main(["hyperbolic", "--quick", "--repetitions", "2", "--json", str(tmp_path / "times.json")])
    text = capsys.readouterr().out
    for word in ("HCNN unit", "Poincaré batch norm", "goal: at most 3x"):
        assert word in " ".join(text.split())
    rows = json.loads((tmp_path / "times.json").read_text())["rows"]
    assert len(rows) == 14
    assert all(row["ratio"] == pytest.approx(row["ours"]["median"] / row["twin"]["median"]) for row in rows)


def test_mistakes_are_one_line() -> None:
    with pytest.raises(UserError, match="--repetitions takes whole numbers from 2 on"):
        main(["hyperbolic", "--repetitions", "1"])

"""erlangen bench train products: networks that differ in a product alone, on the same batches."""

import json
from pathlib import Path

import pytest
import torch

from erlangen.bench import timing
from erlangen.bench.command import main
from erlangen.bench.train_products import BATCHES, VARIANTS, configuration, first_batches, prepared, training_step
from erlangen.datamodules.synthetic import slabs
from erlangen.errors import UserError
from erlangen.runs.assemble import build_data


@pytest.fixture
def few_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A miniature of OC20 that is made in a second, with a few frames."""
    sizes = {"train": 2, "val_id": 1, "val_ood_ads": 1, "val_ood_cat": 1, "val_ood_both": 1}
    monkeypatch.setattr(slabs, "SYSTEMS", sizes)


@pytest.mark.usefixtures("few_slabs")
@pytest.mark.parametrize("benchmark", ["qm9", pytest.param("oc20", marks=pytest.mark.slow)])
def test_a_table_and_a_file(benchmark: str, qm9_root: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(timing, "TRIES", 1)  # noise does not matter here
    root = qm9_root if benchmark == "qm9" else tmp_path
    options = ["--batch-size", "2", "--repetitions", "2", "--lmax", "1", "--json", str(tmp_path / "times.json")]
    main(["train", "products", "--data", str(root), "--benchmarks", benchmark, *options])
    text = " ".join(capsys.readouterr().out.split())
    source = "official" if benchmark == "qm9" else "miniature"
    assert f"training steps, {benchmark} ({source}), L = 1, batches of 2, 1 threads" in text
    for word in ("symmetric contraction", "Gaunt powers", "Clebsch-Gordan", "Gaunt Selfmix", "1.00x", "kept"):
        assert word in text
    found = json.loads((tmp_path / "times.json").read_text())
    assert found["batch_size"] == 2
    rows = {row["variant"]["network"] + ", " + row["variant"]["product"]: row for row in found["rows"]}
    assert list(rows) == [variant.name for variant in VARIANTS]
    for name, row in rows.items():
        assert row["steps_per_second"] == pytest.approx(1 / row["times"]["median"])
        assert row["samples_per_second"] == pytest.approx(2 / row["times"]["median"])
        assert row["peak_bytes"] > 0
        assert row["saved_bytes"] > 0
        assert ("gaunt_product" in row["kernels"]) == ("Gaunt" in name), name
    assert "symmetric_contraction" in rows["MACE, symmetric contraction"]["kernels"]
    assert "symmetric_contraction" not in rows["MACE, Gaunt powers"]["kernels"]
    assert rows["MACE, Gaunt powers"]["parameters"] < rows["MACE, symmetric contraction"]["parameters"]
    assert rows["EquiformerV2, none"]["parameters"] < rows["EquiformerV2, Gaunt Selfmix"]["parameters"]


def test_variants_of_a_network_differ_in_the_option_alone(qm9_root: Path) -> None:
    for variant in VARIANTS:
        first = next(other for other in VARIANTS if other.network == variant.network)
        configs = [configuration(v, "qm9", 2, str(qm9_root)) for v in (first, variant)]
        changed = {key for key, value in configs[0]["model"].items() if configs[1]["model"][key] != value}
        assert changed == (set() if variant is first else {variant.option.partition("=")[0]})
        assert configs[0]["data"] == configs[1]["data"]


def test_a_step_trains_and_batches_are_the_same_for_all(qm9_root: Path) -> None:
    config = configuration(VARIANTS[1], "qm9", 1, str(qm9_root))
    datamodule = build_data(config)
    batches = first_batches(datamodule, 3)
    assert len({tuple(batch.id.tolist()) for batch in batches}) == BATCHES
    assert [b.id.tolist() for b in first_batches(datamodule, 3)] == [b.id.tolist() for b in batches]
    paper = prepared(config, datamodule)
    before = [p.clone() for p in paper.parameters()]
    training_step(paper, iter(batches))()
    assert any(not torch.equal(p, old) for p, old in zip(paper.parameters(), before, strict=True))


def test_mistakes_are_one_line() -> None:
    for option in (("--repetitions", "1"), ("--batch-size", "0"), ("--lmax", "2", "0"), ("--threads", "0")):
        with pytest.raises(UserError, match="bench train products: --repetitions takes whole numbers from 2 on"):
            main(["train", "products", *option])

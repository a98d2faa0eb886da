"""What published/ says can be looked up, composed and measured here."""

from pathlib import Path

import pytest
from evidence.run_folders import composed

from erlangen.errors import UserError
from erlangen.evidence.published import Published, load_published
from erlangen.runs.assemble import build_data
from erlangen.runs.config import available
from erlangen.runs.pairing import model_class

ALL = load_published()


@pytest.mark.parametrize("row", ALL, ids=lambda row: f"{row.paper}-{row.benchmark}-{row.metric}")
def test_a_published_result_belongs_to_an_experiment_that_measures_it(row: Published):
    assert row.experiment in available("experiment")
    recipe = row.recipe()
    assert (recipe["choices"]["model"], recipe["choices"]["data"]) == (row.paper, row.benchmark)
    assert model_class(row.paper).arxiv == row.arxiv
    datamodule = build_data(recipe)
    assert (datamodule.spec.split, datamodule.spec.subset) == (row.split, False)
    assert datamodule.task.units[row.metric] == row.unit
    assert row.where


def test_no_source_says_two_things_of_one_recipe():
    keys = [(row.paper, row.experiment, row.metric, row.overrides, row.where) for row in ALL]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("target", ["gap", "homo", "lumo", "mu", "alpha", "r2", "zpve", "U0", "U", "H", "G", "Cv"])
def test_the_recipe_of_egnn_on_qm9_is_the_one_of_the_paper(target: str):
    (row,) = [row for row in ALL if (row.paper, row.metric) == ("egnn", f"mae_{target}")]
    recipe = row.recipe()
    assert recipe["model"] == {
        "_target_": "erlangen.models.atoms.egnn.EGNN",
        "layers": 7,
        "channels": 128,
        "attention": True,
        "update_coordinates": False,
        "cutoff": 6.0,  # of periodic cells only
    }
    rate = 1e-3 if target in ("gap", "homo", "lumo") else 5e-4
    assert recipe["data"]["targets"] == [target]
    assert (recipe["data"]["split"], recipe["data"]["batch_size"]) == ("cormorant", 96)
    assert (recipe["optimizer"]["lr"], recipe["optimizer"]["weight_decay"]) == (rate, 1e-16)
    assert recipe["optimizer"]["_target_"].endswith(".Adam")
    assert recipe["schedule"]["_target_"].endswith(".Cosine")
    assert (recipe["schedule_update"], recipe["trainer"]["max_epochs"]) == ("epoch", 1000)


def test_an_override_on_the_command_line_beats_the_experiment():
    assert composed(("experiment=egnn_qm9", "schedule_update=step", "seed=3"))["schedule_update"] == "step"


GOOD = """
paper: egnn
arxiv: "2102.09844"
protocols:
  - benchmark: qm9
    split: cormorant
    experiment: egnn_qm9
    common: {better: lower, where: Table 5, origin: secondary, confidence: verified}
    results:
      - {metric: mae_gap, value: 48, unit: meV}
"""


def test_a_result_may_say_otherwise_than_its_protocol(tmp_path: Path):
    (tmp_path / "egnn.yaml").write_text(
        GOOD + "      - {metric: mae_U, value: 1e-1, unit: eV, confidence: recollected}\n"
    )
    gap, internal = load_published(tmp_path)
    assert (gap.value, gap.confidence, gap.overrides) == (48.0, "verified", ())
    assert (internal.value, internal.confidence, internal.where) == (0.1, "recollected", "Table 5")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("value: 48", "value: about 48", "value must be a number"),
        ("unit: meV", "units: meV", "has units"),
        (", unit: meV", "", "lacks unit"),
        ("verified", "certain", "confidence must be verified or recollected"),
        ("better: lower", "better: smaller", "better must be lower or higher"),
        ('"2102.09844"', "2102.09844", "must stand in quotes"),
        ("    experiment: egnn_qm9\n", "", "lacks experiment"),
        ("protocols:", "protocol:", "there is no protocols"),
    ],
)
def test_a_file_that_breaks_the_format_is_refused(tmp_path: Path, old: str, new: str, complaint: str):
    assert old in GOOD
    (tmp_path / "egnn.yaml").write_text(GOOD.replace(old, new))
    with pytest.raises(UserError, match=complaint) as caught:
        load_published(tmp_path)
    assert "egnn.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)

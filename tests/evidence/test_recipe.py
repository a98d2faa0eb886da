"""A published number stands beside a run only as far as the run followed its recipe."""

import pytest
from evidence.run_folders import PUBLISHED_GAP, SUBSET, composed

from erlangen.evidence.recipe import departures, settings

PUBLISHED = composed(PUBLISHED_GAP)


def run_departures(*overrides: str, world_size: int = 1) -> list[str]:
    return departures(composed((*PUBLISHED_GAP, *overrides)), world_size, PUBLISHED)


@pytest.mark.parametrize(
    "override",
    [
        "seed=7",
        "trainer=gpu",
        "trainer.devices=2",
        "trainer.log_every_n_steps=1",
        "data.num_workers=4",
        "data.eval_batch_size=32",
        "compile=true",
        "deterministic=true",
        "logger=wandb",
        "checkpoint.every_n_steps=5",
        "paths.runs=elsewhere",
    ],
)
def test_where_and_how_it_ran_is_no_part_of_a_recipe(override: str):
    assert run_departures(override) == []


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.layers=4", "model.layers 4 (published 7)"),
        ("model.attention=false", "model.attention false (published true)"),
        ("data.targets=[homo]", "data.targets [homo] (published [gap])"),
        ("data.split=dimenet", "data.split dimenet (published cormorant)"),
        ("data.train_size=500", "data.train_size 500 (published null)"),
        ("optimizer.lr=5.0e-4", "optimizer.lr 0.0005 (published 0.001)"),
        ("trainer.max_epochs=3", "trainer.max_epochs 3 (published 1000)"),
        ("trainer.precision=bf16-mixed", "trainer.precision bf16-mixed (published 32-true)"),
        ("ema_decay=0.999", "ema_decay 0.999 (published null)"),
        ("data.batch_size=32", "samples per step 32 (published 96)"),
        ("trainer.accumulate_grad_batches=4", "samples per step 384 (published 96)"),
    ],
)
def test_a_departure_is_named_with_both_values(override: str, words: str):
    assert run_departures(override) == [words]


def test_samples_per_step_count_over_processes_and_accumulated_batches():
    assert run_departures(world_size=4) == ["samples per step 384 (published 96)"]
    assert run_departures("data.batch_size=24", world_size=4) == []
    assert run_departures("data.batch_size=48", "trainer.accumulate_grad_batches=2") == []


def test_a_recipe_for_many_devices_counts_them():
    published = composed(("experiment=equiformer_v2_oc20_2m",))  # 16 devices with batches of 4
    assert departures(published, 16, published) == []
    assert departures(published, 1, published) == ["samples per step 4 (published 64)"]
    one = composed(
        ("experiment=equiformer_v2_oc20_2m", "trainer.devices=1", "trainer.num_nodes=1", "data.batch_size=64")
    )
    assert departures(one, 1, published) == []


def test_another_class_is_named_without_the_options_that_only_one_of_them_has():
    words = run_departures("optimizer=sgd", "optimizer.lr=1.0e-3", "optimizer.weight_decay=1.0e-16")
    assert words == ["optimizer SGD (published Adam)"]
    assert run_departures("schedule=multistep") == ["schedule MultiStep (published Cosine)"]


def test_an_option_of_a_later_version_counts_as_null():
    older = {key: value for key, value in composed(PUBLISHED_GAP).items() if key != "ema_decay"}
    assert departures(older, 1, PUBLISHED) == []
    assert departures({**older, "symmetrize": {"_target_": "a.b.FrameAveraging", "frames": 8}}, 1, PUBLISHED) == [
        "symmetrize FrameAveraging (published null)"
    ]


def test_a_protocol_may_name_what_does_not_matter_to_it():
    run = composed((*PUBLISHED_GAP, "data.reader=archive"))
    assert departures(run, 1, PUBLISHED) == ["data.reader archive (published qm9pack)"]
    assert departures(run, 1, PUBLISHED, ["data.reader"]) == []


def test_settings_name_only_what_tells_runs_apart():
    small, large = composed((*SUBSET, "model.layers=2")), composed((*SUBSET, "model.layers=3", "seed=9"))
    assert settings([small, large]) == [["model.layers 2"], ["model.layers 3"]]
    assert settings([small]) == [[]]


def test_an_option_of_a_later_version_counts_as_its_constructors_default():
    recipe = composed(("experiment=gwl_mace",))
    model = {key: value for key, value in recipe["model"].items() if key != "product"}
    assert departures({**recipe, "model": model}, 1, recipe) == []
    other = {**recipe, "model": {**recipe["model"], "product": "gaunt"}}
    assert departures(other, 1, recipe) == ["model.product gaunt (published cg)"]
    assert settings([other, {**recipe, "model": model}]) == [["model.product gaunt"], ["model.product cg"]]


def test_classes_that_are_gone_or_of_others_have_no_defaults():
    for target in ("erlangen.models.gone.Gone", "os.system"):
        run = {**PUBLISHED, "model": {**PUBLISHED["model"], "_target_": target}}
        assert departures(run, 1, run) == []

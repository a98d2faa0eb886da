"""What a user of `erlangen bench` sees."""

import json

import pytest
from machine import needs_c

from erlangen.bench import scaling
from erlangen.bench.command import main
from erlangen.bench.machine import Machine
from erlangen.errors import UserError


@pytest.fixture(autouse=True)
def _known_machine(monkeypatch):
    """Calibrated already: tests/bench/test_timing.py does it once."""
    monkeypatch.setattr(Machine, "calibrated", lambda device: Machine(bandwidth=1e10, flops=1e11))


def run(capsys, tmp_path, *arguments):
    main([*arguments, "--quick", "--output", str(tmp_path / "out")])
    return capsys.readouterr().out, json.loads((tmp_path / "out" / "results.json").read_text())


@needs_c
def test_a_table_a_file_and_no_plot_without_degrees(capsys, tmp_path):
    text, results = run(capsys, tmp_path, "segment_softmax")
    assert "segment_softmax, 50 edges, 2 heads; 1 thread, copy 10.0 GB/s, sgemm 100 GFLOP/s" in text
    for word in ("forward ms", "double ms", "peak MB", "% of floor", "reference", "native", "PyG", "auto"):
        assert word in text
    assert "nothing is compiled here" in text
    assert not list((tmp_path / "out").glob("*.png"))
    (case,) = results.values()
    assert case["threads"] == 1
    assert {"device", "versions"} <= case["environment"].keys()
    assert case["rivals"]["ase"]
    ours = case["competitors"]["native"]["forward + backward"]
    assert ours["passed"] is True
    assert 0 < ours["times"]["minimum"] <= ours["times"]["median"]
    assert ours["peak"] > 0


def test_times_are_drawn_against_the_degree(capsys, tmp_path):
    text, results = run(capsys, tmp_path, "gaunt_product", "--lmax", "1", "2")
    assert [case["lmax"] for case in results.values()] == [1, 2]
    assert "paths" in text
    assert (tmp_path / "out" / "gaunt_product.png").read_bytes().startswith(b"\x89PNG")


def test_results_are_added_to_what_was_measured_before(capsys, tmp_path):
    run(capsys, tmp_path, "fps")
    _, results = run(capsys, tmp_path, "knn")
    assert {case["op"] for case in results.values()} == {"fps", "knn"}


def test_activations_print_their_error_beside_the_declared_bound(capsys, tmp_path):
    text, _ = run(capsys, tmp_path, "s2_activation", "--lmax", "2")
    assert "equivariance error in float64 against resolution" in text
    assert text.count("below") == 5
    assert "above" not in text


def test_mistakes_are_one_line(tmp_path):
    with pytest.raises(UserError, match="no operation 'segment_sun'; did you mean segment_sum"):
        main(["segment_sun", "--output", str(tmp_path)])
    with pytest.raises(UserError, match="no operation 'zzz'; there are ball_query, "):
        main(["zzz", "--output", str(tmp_path)])
    with pytest.raises(UserError, match="whole numbers from 1 on"):
        main(["wigner", "--lmax", "0", "--output", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_scaling_compares_with_one_process(capsys, tmp_path, monkeypatch):
    measured = {1: iter((100.0, 90.0, 110.0)), 2: iter((180.0, 170.0, 190.0))}
    monkeypatch.setattr(scaling, "throughput", lambda root, runs, processes, batches: next(measured[processes]))
    main(["scaling", "--processes", "2", "--json", str(tmp_path / "scaling.json")])
    text = capsys.readouterr().out
    assert "1.80x" in text
    assert "90%" in text
    found = json.loads((tmp_path / "scaling.json").read_text())
    assert found["ratio"] == {"1": 1.0, "2": 1.8}
    assert found["samples_per_second"]["2"] == [180.0, 170.0, 190.0]
    with pytest.raises(UserError, match="--batches at least 5"):
        main(["scaling", "--batches", "2"])


@pytest.mark.slow
def test_scaling_measures_what_a_run_says_of_itself(qm9_root, tmp_path):
    assert scaling.throughput(str(qm9_root), tmp_path / "runs", 2, 5) > 1
    with pytest.raises(UserError, match="bench scaling: .* failed"):
        scaling.throughput(str(qm9_root), tmp_path / "file" / "more", 1, 10_000)  # more than QM9 has

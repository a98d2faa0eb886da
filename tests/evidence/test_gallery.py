"""A report shows what a run has drawn itself."""

import base64

from evidence.run_folders import SUBSET, Runs

from erlangen.evidence.collect import build_tables, find_runs, group_runs
from erlangen.evidence.gallery import table_pictures


def test_the_pictures_of_a_self_supervised_run_are_shown(runs: Runs) -> None:
    folder = runs.finished(*SUBSET)
    (folder / "plots").mkdir()
    (folder / "plots" / "trajectories.png").write_bytes(b"a picture")
    groups, _ = group_runs(find_runs([runs.path]))
    (table,) = build_tables(groups, [])
    shown = {caption.partition(": ")[2]: picture for caption, picture in table_pictures(table)}
    assert base64.b64decode(shown["embeddings while the input turns, seed 1"]) == b"a picture"
    assert "what is retrieved, seed 1" not in shown

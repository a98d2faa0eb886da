"""QM9 as published: the molecules, the splits, the units, and a cache that cannot be wrong unnoticed."""

import hashlib
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from erlangen.datamodules.files.qm9 import TARGETS, read_xyz
from erlangen.datamodules.qm9 import ATOMREF, ELEMENTS, QM9, SIZES
from erlangen.errors import UserError

SPLIT_HASHES = {
    "cormorant": "0a938dc27f3364ca34f3ecfebf475246",
    "dimenet": "cdabcc5e13300f85c6180bbdc272a6c8",
    "equiformer": "4d4f5ed0df1bf5447f1370e560f68e80",
}
MEAN_AND_STD = {
    "mu": (2.67295, 1.50348),
    "alpha": (75.28119, 8.17383),
    "homo": (-6536.45, 597.74),
    "gap": (6858.49, 1284.17),
    "r2": (1189.41064, 280.47816),
    "zpve": (4056.94, 901.72),
    "U0": (-76116, 10324),
    "U": (-76581, 10415),
    "H": (-77018, 10489),
    "G": (-70837, 9498),
    "Cv": (31.62036, 4.06758),
}
"""Over all molecules, in our units, energies after their free atoms."""


def qm9(root: Path, **options) -> QM9:
    return QM9(
        **{
            "root": root,
            "seed": 1,
            "targets": ["gap"],
            "split": "cormorant",
            "batch_size": 96,
            "eval_batch_size": 256,
            **options,
        }
    )


@pytest.mark.parametrize("split", SIZES)
def test_splits_are_the_published_ones(qm9_root: Path, split: str) -> None:
    splits = qm9(qm9_root, split=split).splits
    test = np.sort(splits["test"].values("id")).astype("<i4")
    assert hashlib.md5(test.tobytes()).hexdigest() == SPLIT_HASHES[split]
    everyone = np.concatenate([part.values("id") for part in splits.values()])
    assert len(np.unique(everyone)) == len(everyone) == 130_831


def test_values_and_units_are_the_published_ones(qm9_root: Path) -> None:
    splits = qm9(qm9_root, targets=list(MEAN_AND_STD)).splits
    for name, (mean, std) in MEAN_AND_STD.items():
        values = np.concatenate([part.values(name) for part in splits.values()]).astype(np.float64)
        assert values.mean() == pytest.approx(mean, rel=1e-5)
        assert values.std(ddof=1) == pytest.approx(std, rel=1e-4)


def test_methane_is_methane(qm9_root: Path) -> None:
    """GDB 1: five atoms, U0 = -40.47893 Ha, less its free atoms, to float32 of the difference and not of the total."""
    splits = qm9(qm9_root, targets=["U0"]).splits
    part = next(part for part in splits.values() if 1 in part.values("id"))
    batch = part[np.flatnonzero(part.values("id") == 1)]
    assert sorted(batch.z.tolist()) == [1, 1, 1, 1, 6]
    atoms = dict(zip(ELEMENTS, ATOMREF["U0"], strict=True))
    expected = 1000 * (-40.47893 * 27.211386246 - atoms[6] - 4 * atoms[1])
    assert batch.U0.item() == pytest.approx(expected, abs=2e-3)
    bonds = (batch.pos[0] - batch.pos[1:]).norm(dim=-1)
    assert torch.allclose(bonds, torch.full((4,), 1.09), atol=0.01)


def test_cache_loads_in_under_a_second_and_collates_in_milliseconds(qm9_root: Path) -> None:
    _ = qm9(qm9_root).splits
    started = time.perf_counter()
    train = qm9(qm9_root).splits["train"]
    assert time.perf_counter() - started < 1.0
    order = np.random.default_rng(0).permutation(len(train))
    started = time.perf_counter()
    for step in range(20):
        train[order[96 * step : 96 * (step + 1)]]
    assert (time.perf_counter() - started) / 20 < 5e-3  # 0.2 ms on an idle core


def test_a_subset_says_so_and_is_disjoint(qm9_root: Path) -> None:
    data = qm9(qm9_root, train_size=500, test_size=100)
    assert data.spec.subset
    assert data.spec.split == "cormorant, 500 of 100000 train, 100 of 13083 test"
    assert not qm9(qm9_root).spec.subset
    full = qm9(qm9_root).splits
    assert set(data.splits["test"].values("id")) <= set(full["test"].values("id"))
    assert not set(data.splits["train"].values("id")) & set(full["test"].values("id"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": ["gab"]}, "no target 'gab'; it has mu, alpha"),
        ({"targets": []}, "at least one"),
        ({"split": "random"}, "no split 'random'; it has cormorant"),
        ({"train_size": 200_000}, "data.train_size must lie between 1 and 100000"),
        ({"reader": "pickle"}, "qm9pack or archive"),
    ],
)
def test_wrong_options_name_the_right_ones(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        qm9(tmp_path, **options)


WATER = (
    1.8511,
    6.31,
    -0.2928,
    0.0687,
    0.3615,
    19.0002,
    0.021375,
    -76.404702,
    -76.401867,
    -76.400922,
    -76.422349,
    6.002,
)
HEADER = "\t".join(map(str, ("gdb 3", 799.58812, 437.90386, 282.94545, *WATER)))
XYZ = f"""3
{HEADER}
O\t-0.0343604951\t 0.9775395708\t 0.0076015923\t-0.589706
H\t 0.0647664923\t 2.1*^-6\t 0.0015346341\t 0.294853
H\t 0.8717903737\t 1.3007924048\t 0.0006931336\t 0.294853
1671.4222\t3803.6305\t3907.698
O\tO
"""


def test_the_archives_format_with_mathematicas_exponents() -> None:
    elements, positions, values = read_xyz(XYZ, "dsgdb9nsd_000003.xyz")
    assert elements == ["O", "H", "H"]
    assert positions.shape == (9,)
    assert positions[4] == 2.1e-6
    assert values[TARGETS.index("gap")] == 0.3615
    assert tuple(values) == WATER
    with pytest.raises(UserError, match="dsgdb9nsd_000003.xyz is no molecule"):
        read_xyz(XYZ.replace("O\t-0.03", "O\tbroken", 1), "dsgdb9nsd_000003.xyz")

"""What an epoch over OC20's 134 million S2EF structures asks of one core: reading, planning the batches, a training step.

    python tools/s2ef_epoch.py results/s2ef_epoch.json

The structures are made on the spot, as large as OC20's are on average: 72 atoms of platinum (3 x 4 x 6, shaken) and one of
hydrogen. The network is EquiformerV2 with 31M parameters (arXiv:2306.12059, table 1) in the published S2EF recipe.
"""

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import lmdb
import numpy as np
import torch
from ase.build import add_adsorbate, fcc111

from erlangen.datamodules.atom_batches import AtomBatches
from erlangen.datamodules.files.aselmdb import AseStructures, pack, to_row
from erlangen.datamodules.files.structure import Structure
from erlangen.datamodules.structures import Part, StructureDataset
from erlangen.runs.assemble import build_data, build_paper
from erlangen.runs.config import compose_config, resolved
from erlangen.runs.folder import environment, write_json

FRAMES = 133_934_018
"""Structures in S2EF's split All (arXiv:2010.09990)."""
STORED = 2_000
OPTIONS = ["experiment=equiformer_v2_oc20_2m", "model=equiformer_v2_31m", "data.source=miniature", "kernels=reference"]


def structure(number: int) -> Structure:
    rng = np.random.default_rng(number)
    slab = fcc111("Pt", (3, 4, 6), vacuum=10.0)
    add_adsorbate(slab, "H", 1.0, "fcc")
    slab.pbc = True
    pos = (slab.positions + rng.normal(0, 0.1, slab.positions.shape)).round(8)  # as many digits as OC20's files have
    forces = rng.normal(0, 0.5, pos.shape).round(8)
    layer = slab.get_tags()  # 0 is the adsorbate, 1 the surface
    tags = np.select([layer == 0, layer == 1], [2, 1], 0)
    return Structure(slab.numbers, pos, slab.cell.array, tags, layer > 2, -300.5, -299.25, forces, sid=number, fid=0)


def write_shard(path: Path) -> StructureDataset:
    environment = lmdb.open(str(path), map_size=1 << 32, subdir=False, lock=False)
    with closing(environment), environment.begin(write=True) as transaction:
        for number in range(STORED):
            transaction.put(str(number + 1).encode(), pack(to_row(structure(number))))
        transaction.put(b"nextid", pack(STORED + 1))
    sizes = np.full(STORED, len(structure(0).z))
    return StructureDataset([Part(AseStructures(path), sizes, np.full(STORED, -1.25), None, 0)], forces=True, known=89)


def seconds(call: Callable[[], object], repetitions: int) -> list[float]:
    """Of the processor, for one thread: other processes of a busy machine count little."""
    found = []
    for _ in range(repetitions):
        began = time.process_time()
        call()
        found.append(time.process_time() - began)
    return found


def main(output: Path) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = write_shard(Path(folder) / "data.0000.aselmdb")
        stored = (Path(folder) / "data.0000.aselmdb").stat().st_size
        order = np.random.default_rng(0).permutation(STORED).reshape(-1, 8)
        read = seconds(lambda: [data[rows] for rows in order[:100]], 3)
        batch = data[[0]]
    sizes = np.random.default_rng(0).integers(20, 127, FRAMES, np.int16)
    plan = seconds(lambda: next(iter(AtomBatches(sizes, 8, None, seed=1, world_size=64))), 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB, of the whole process
    train = training_step(batch)
    (first,) = seconds(train, 1)
    step = seconds(train, int(np.clip(60 / first, 1, 5)))
    result = {
        "structures_read_per_second": 800 / statistics.median(read),
        "bytes_per_structure": stored / STORED,
        "planning_seconds": plan[0],
        "planning_peak_memory_mb": peak / 1e3,
        "atoms": int(batch.num_nodes),
        "training_step_seconds": {"all": step, "median": statistics.median(step)},
        "frames": FRAMES,
        "options": OPTIONS,
        **environment(),
    }
    write_json(output, result)
    print(output.read_text())


def training_step(batch) -> Callable[[], None]:
    """Forward, backward and AdamW's step for one structure."""
    config = resolved(*compose_config(OPTIONS))
    datamodule = build_data(config)
    paper = build_paper(config, datamodule.spec).train()
    optimizer = torch.optim.AdamW(paper.parameters(), config["optimizer"]["lr"])
    task = datamodule.task

    def step() -> None:
        optimizer.zero_grad()
        task.loss(paper(batch), batch, paper.normalizer).backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main(Path(sys.argv[1]))

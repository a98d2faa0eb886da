"""Structures and files of OC20's formats, made for tests."""

import pickle
from pathlib import Path
from typing import Any
from unittest import mock

import lmdb
import numpy as np
import torch
from torch_geometric.data import Data

from erlangen.datamodules.files.oc20_raw import write_pair
from erlangen.datamodules.files.structure import Structure


def structure(sid: int, atoms: int = 6, energy: float = -150.0, fid: int = 0) -> Structure:
    rng = np.random.default_rng([sid, fid])
    cell = np.diag([5.0, 6.0, 20.0]) + 0.1 * np.tri(3)
    return Structure(
        z=rng.choice([1, 6, 8, 29, 78], atoms),
        pos=np.round(rng.random((atoms, 3)) @ cell, 8),
        cell=cell,
        tags=np.arange(atoms) % 3,
        fixed=np.arange(atoms) % 3 == 0,
        energy=energy + sid,
        reference=energy + 0.5,
        forces=np.round(rng.normal(size=(atoms, 3)), 8),
        sid=sid,
        fid=fid,
    )


def raw_folder(folder: Path, files: int = 2, frames: int = 3) -> Path:
    folder.mkdir(parents=True)
    for number in range(files):
        write_pair(folder, str(number), [structure(frames * number + frame) for frame in range(frames)])
    return folder


def fields(one: Structure, names: str) -> dict[str, Any]:
    """The fields that fairchem's scripts write, under the names of one time or another."""
    found = {
        "cell": torch.tensor(one.cell).float()[None],
        "pos": torch.tensor(one.pos).float(),
        "atomic_numbers": torch.tensor(one.z).float(),
        "natoms": len(one.z),
        "tags": torch.tensor(one.tags),
        "fixed": torch.tensor(one.fixed).float(),
        "sid": one.sid,
        "fid": one.fid,
        "edge_index": torch.zeros(2, 5, dtype=torch.long),
    }
    energy, forces = one.energy - one.reference, torch.tensor(one.forces).float()
    if names == "is2re":
        return found | {"y_init": energy + 1, "y_relaxed": energy, "pos_relaxed": found["pos"] + 0.1}
    return found | (
        {"y": energy, "force": forces} if names == "old" else {"energy": np.float64(energy), "forces": forces}
    )


class FlatData:
    """An object of PyG 1: all of its state is one flat dictionary."""

    def __init__(self, **found: Any):
        self.__dict__.update({"x": None, "edge_attr": None, "y": None, **found})


FlatData.__module__, FlatData.__qualname__ = "torch_geometric.data.data", "Data"


def pickled(one: Structure, names: str, version: int) -> bytes:
    found = fields(one, names)
    if version == 2:
        return pickle.dumps(Data(**found), protocol=pickle.HIGHEST_PROTOCOL)
    with mock.patch("torch_geometric.data.data.Data", FlatData):
        return pickle.dumps(FlatData(**found), protocol=pickle.HIGHEST_PROTOCOL)


def write_lmdb(path: Path, values: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    environment = lmdb.open(str(path), subdir=False, map_size=1 << 26, lock=False)
    with environment.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key.encode(), value)
    environment.close()
    return path


def write_pickles(path: Path, structures: list[Structure], names: str = "new", version: int = 2) -> Path:
    values = {str(key): pickled(one, names, version) for key, one in enumerate(structures)}
    return write_lmdb(path, {**values, "length": pickle.dumps(len(structures))})

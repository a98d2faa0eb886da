"""Samples of different sizes in flat arrays: no Python object for any of them."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Int
from torch.utils.data import Dataset
from torch_geometric.data import Batch, Data


class RaggedDataset(Dataset):
    """Molecules, point sets or systems of particles, kept as concatenated arrays and collated from them.

    Args:
        ptr: where each sample's nodes begin, and their total number (samples + 1,).
        nodes: fields of the nodes, each (nodes, ...).
        graphs: fields of the samples, each (samples, ...).
        index: which samples belong to this split; all by default.

    `dataset[indices]` is a PyG `Batch` with those fields, `batch` and `ptr`.
    """

    def __init__(
        self,
        ptr: Int[np.ndarray, " samples_plus_1"],
        nodes: Mapping[str, np.ndarray],
        graphs: Mapping[str, np.ndarray],
        index: Int[np.ndarray, " split"] | None = None,
    ):
        self.ptr, self.nodes, self.graphs = ptr, nodes, graphs
        self.index = np.arange(len(ptr) - 1) if index is None else np.asarray(index)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, indices: np.ndarray | list[int]) -> Batch:
        rows = self.index[np.asarray(indices)]
        start, sizes = self.ptr[rows], self.ptr[rows + 1] - self.ptr[rows]
        ptr = np.concatenate([[0], np.cumsum(sizes)])
        where = np.repeat(start - ptr[:-1], sizes) + np.arange(ptr[-1])
        batch = Batch(
            _base_cls=Data, batch=torch.from_numpy(np.repeat(np.arange(len(rows)), sizes)), ptr=torch.from_numpy(ptr)
        )
        for name, values in self.nodes.items():
            batch[name] = torch.from_numpy(values[where])
        for name, values in self.graphs.items():
            batch[name] = torch.from_numpy(values[rows])
        batch._num_graphs = len(rows)
        return batch

    def values(self, name: str) -> np.ndarray:
        """A sample-level field over this split."""
        return self.graphs[name][self.index]

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
        edges: of samples that are graphs by themselves, where each sample's edges begin, and their total number
            (samples + 1,), and the edges (2, edges), row 0 the source, row 1 the destination, counted from the sample's
            first node.

    `dataset[indices]` is a PyG `Batch` with those fields, `batch` and `ptr`, and `edge_index` where there are edges.
    """

    def __init__(
        self,
        ptr: Int[np.ndarray, " samples_plus_1"],
        nodes: Mapping[str, np.ndarray],
        graphs: Mapping[str, np.ndarray],
        index: Int[np.ndarray, " split"] | None = None,
        edges: tuple[Int[np.ndarray, " samples_plus_1"], Int[np.ndarray, "2 edges"]] | None = None,
    ):
        self.ptr, self.nodes, self.graphs, self.edges = ptr, nodes, graphs, edges
        self.index = np.arange(len(ptr) - 1) if index is None else np.asarray(index)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, indices: np.ndarray | list[int]) -> Batch:
        rows = self.index[np.asarray(indices)]
        where, ptr = ranges(self.ptr, rows)
        batch = Batch(
            _base_cls=Data,
            batch=torch.from_numpy(np.repeat(np.arange(len(rows)), np.diff(ptr))),
            ptr=torch.from_numpy(ptr),
        )
        for name, values in self.nodes.items():
            batch[name] = torch.from_numpy(values[where])
        for name, values in self.graphs.items():
            batch[name] = torch.from_numpy(values[rows])
        if self.edges is not None:
            edge_ptr, edge_index = self.edges
            where, ends = ranges(edge_ptr, rows)
            batch.edge_index = torch.from_numpy(edge_index[:, where] + np.repeat(ptr[:-1], np.diff(ends)))
        batch._num_graphs = len(rows)
        return batch

    def values(self, name: str) -> np.ndarray:
        """A sample-level field over this split."""
        return self.graphs[name][self.index]


def ranges(
    ptr: Int[np.ndarray, " samples_plus_1"], rows: Int[np.ndarray, " chosen"]
) -> tuple[Int[np.ndarray, " places"], Int[np.ndarray, " chosen_plus_1"]]:
    """Where the elements of the samples `rows` stand, sample after sample, and the `ptr` of what they make up."""
    sizes = ptr[rows + 1] - ptr[rows]
    ends = np.concatenate([[0], np.cumsum(sizes)])
    return np.repeat(ptr[rows] - ends[:-1], sizes) + np.arange(ends[-1]), ends

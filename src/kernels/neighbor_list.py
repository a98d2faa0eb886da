"""Graphs over atoms and points: complete, or within a cutoff."""

import torch
from jaxtyping import Int
from torch import Tensor


def complete_graph(ptr: Int[Tensor, " graphs_plus_one"]) -> Int[Tensor, "2 edges"]:
    """Join every node to every other node of its graph: edge_index (2, edges), row 0 the source, row 1 the destination.

    `ptr` holds where each graph's nodes begin, and the number of nodes (PyG's `batch.ptr`). There are no self loops,
    and edges are sorted by destination, then source. A graph of one node has no edges.
    """
    sizes = ptr.diff()
    graph = torch.repeat_interleave(sizes)
    degree = (sizes - 1)[graph]
    first = degree.cumsum(0) - degree
    destination = torch.repeat_interleave(degree)
    source = ptr[:-1][graph[destination]] + torch.arange(len(destination), device=ptr.device) - first[destination]
    return torch.stack([source + (source >= destination), destination])

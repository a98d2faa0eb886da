"""Simplicial complexes on points: who is a simplex, and who is adjacent to whom, for many samples at once.

Faces come as masks over the nodes of a sample, shorter samples being padded: `pairs` (samples, n, n) and `triples`
(samples, n, n, n), true for rising indices only, each triple's pairs being true too.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from ..errors import UserError

Faces = tuple[Bool[Tensor, "samples n n"], Bool[Tensor, "samples n n n"]]


class Complex(NamedTuple):
    """The simplices of all samples, vertices first, then edges, then triangles.

    simplices: for each dimension d the nodes of its simplices, (count, d + 1), rising.
    kind (simplices,): the dimension of each; sample (simplices,): whose it is.
    edge_index (2, messages): row 0 sends to row 1: vertex to vertex, all pairs of a sample; edge to edge of a triangle that
        they share; simplex to its boundary, and the boundary to it.
    """

    simplices: list[Tensor]
    kind: Tensor
    sample: Tensor
    edge_index: Tensor


def vietoris_rips(
    pos: Float[Tensor, "nodes dim"], ptr: Int[Tensor, " samples_plus_1"], radius: float
) -> tuple[Tensor, Tensor]:
    """Pairs within `radius`, and triples of which all pairs are."""
    there, place = padding(ptr)
    padded = pos.new_zeros(*there.shape, pos.shape[1])
    padded[there] = pos[place[there]]
    near = (padded[:, :, None] - padded[:, None]).square().sum(-1) <= radius**2
    pairs = (near & there[:, :, None] & there[:, None]).triu(1)
    return pairs, pairs[:, :, :, None] & pairs[:, :, None] & pairs[:, None]


def hull_faces(pos: Float[Tensor, "nodes dim"], ptr: Int[Tensor, " samples_plus_1"]) -> tuple[Tensor, Tensor]:
    """Edges and triangles of each sample's convex hull.

    Raises UserError for points that have none, because they all lie in a hyperplane.
    """
    there, _ = padding(ptr)
    n = there.shape[1]
    pairs = torch.zeros(len(there), n, n, dtype=torch.bool)
    triples = torch.zeros(len(there), n, n, n, dtype=torch.bool)
    points = pos.detach().double().cpu().split(ptr.diff().tolist())
    for sample, x in enumerate(points):
        try:
            facets = torch.from_numpy(ConvexHull(x.numpy()).simplices).long().sort(1).values
        except QhullError:
            raise UserError(
                f"the {len(x)} points of sample {sample} of a batch lie in a hyperplane of {x.shape[1]} dimensions and "
                "have no hull: use model.lift=rips"
            ) from None
        i, j = facets[:, torch.combinations(torch.arange(facets.shape[1]))].flatten(0, 1).T
        pairs[sample, i, j] = True
        if facets.shape[1] > 2:
            i, j, k = facets[:, torch.combinations(torch.arange(facets.shape[1]), 3)].flatten(0, 1).T
            triples[sample, i, j, k] = True
    return pairs.to(pos.device), triples.to(pos.device)


def padding(
    ptr: Int[Tensor, " samples_plus_1"],
) -> tuple[Bool[Tensor, "samples n"], Int[Tensor, "samples n"]]:
    """Which places of (samples, largest size) are nodes, and which node (or, at other places, any number)."""
    sizes = ptr.diff()
    local = torch.arange(int(sizes.max()), device=ptr.device)
    return local < sizes[:, None], ptr[:-1, None] + local


def build_complex(faces: tuple[Tensor, Tensor], ptr: Int[Tensor, " samples_plus_1"], dimension: int) -> Complex:
    """Numbers the simplices of dimensions 0 to `dimension` (at most 2) and lists their adjacencies."""
    pairs, triples = faces
    nodes = int(ptr[-1])
    device = ptr.device
    there, _ = padding(ptr)
    itself = torch.eye(there.shape[1], dtype=torch.bool, device=device)
    sample, i, j = (there[:, :, None] & there[:, None] & ~itself).nonzero().T
    edge_index = [torch.stack([ptr[sample] + j, ptr[sample] + i])]
    simplices = [torch.arange(nodes, device=device)[:, None]]
    samples = [torch.repeat_interleave(ptr.diff())]
    if dimension >= 1:
        sample, i, j = pairs.nonzero().T
        edges = torch.stack([ptr[sample] + i, ptr[sample] + j], 1)
        number = nodes + torch.arange(len(edges), device=device)
        edge_index += both_ways(edges, number)
        simplices.append(edges)
        samples.append(sample)
    if dimension >= 2:
        number = pairs.new_zeros(pairs.shape, dtype=torch.long).masked_scatter(pairs, number)
        sample, i, j, k = triples.nonzero().T
        sides = torch.stack([number[sample, i, j], number[sample, i, k], number[sample, j, k]], 1)
        edge_index += both_ways(sides, nodes + len(edges) + torch.arange(len(sides), device=device))
        edge_index += [sides[:, [a, b]].T for a in range(3) for b in range(3) if a != b]
        simplices.append(torch.stack([ptr[sample] + i, ptr[sample] + j, ptr[sample] + k], 1))
        samples.append(sample)
    kind = torch.repeat_interleave(torch.tensor([len(x) for x in simplices], device=device))
    return Complex(simplices, kind, torch.cat(samples), torch.cat(edge_index, 1))


def both_ways(boundary: Int[Tensor, "simplices faces"], number: Int[Tensor, " simplices"]) -> list[Tensor]:
    """Messages between simplices, by their numbers, and the faces of their boundary."""
    face, whole = boundary.flatten(), number.repeat_interleave(boundary.shape[1])
    return [torch.stack([face, whole]), torch.stack([whole, face])]

"""How well a representation's view after a known rotation is found again: MRR, H@k, PRE, and nearest-neighbour classes."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

CHUNK = 1024
"""Queries compared at once with all candidates, to bound the memory."""
TOLERANCE = 1e-9
"""Cosines that differ by less are equal."""


class Places(NamedTuple):
    """For every query, how many candidates are nearer than the right one, and how many others are just as near."""

    better: Int[Tensor, "objects views"]
    equal: Int[Tensor, "objects views"]


def places(
    queries: Float[Tensor, "objects views channels"], candidates: Float[Tensor, "objects views channels"]
) -> Places:
    """Where, by cosine similarity, each view stands among its object's views when its predicted representation is asked for.

    The first view, from which all are predicted, is among the candidates and the queries, as in the authors' code: that is
    one free hit an object.
    """
    similarity = normalize(queries.double(), dim=-1) @ normalize(candidates.double(), dim=-1).mT
    own = similarity.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)
    better = (similarity > own + TOLERANCE).sum(-1)
    return Places(better, ((similarity - own).abs() <= TOLERANCE).sum(-1) - 1)


def retrieval(found: Places) -> dict[str, Float[Tensor, ""]]:
    """Mean reciprocal rank, and the parts of the queries found among the first one and five (Kipf et al., arXiv:1911.12247).

    Each is the expectation over the orders of equally near candidates: a collapsed representation, all of whose views are
    one, is at chance, and not where the sorting happens to leave it.
    """
    better, ties = found.better.double(), found.equal.double() + 1
    harmonic = torch.special.digamma(better + ties + 1) - torch.special.digamma(better + 1)
    first = {k: ((k - better).clamp(min=0).minimum(ties) / ties).mean() for k in (1, 5)}
    return {"mrr": (harmonic / ties).mean(), "h@1": first[1], "h@5": first[5]}


def pose_error(
    queries: Float[Tensor, "objects views channels"],
    candidates: Float[Tensor, "objects views channels"],
    rotations: Float[Tensor, "objects views 4"],
) -> Float[Tensor, ""]:
    """PRE: 1 - <q, q'>^2 of each view's rotation and that of the view of any object nearest to its prediction.

    0.627 for a nearest neighbour at random (arXiv:2302.10283, section 5.3).
    """
    keys, poses = normalize(candidates.flatten(0, 1), dim=-1), rotations.flatten(0, 1).double()
    nearest = [(chunk @ keys.mT).argmax(-1) for chunk in normalize(queries.flatten(0, 1), dim=-1).split(CHUNK)]
    return (1 - (poses * poses[torch.cat(nearest)]).sum(-1).square()).mean()


def neighbour_classes(
    queries: Float[Tensor, "queries channels"],
    bank: Float[Tensor, "bank channels"],
    labels: Int[Tensor, " bank"],
    classes: int,
    neighbours: int = 20,
    temperature: float = 0.07,
) -> Int[Tensor, " queries"]:
    """The heaviest class among the nearest of `bank`, each of which weighs exp(cosine / temperature) (arXiv:1805.01978)."""
    bank = normalize(bank, dim=-1)
    chosen = []
    for chunk in normalize(queries, dim=-1).split(CHUNK):
        similarity, index = (chunk @ bank.mT).topk(min(neighbours, len(bank)), dim=-1)
        votes = chunk.new_zeros(len(chunk), classes)
        votes.scatter_add_(1, labels[index], (similarity / temperature).exp())
        chosen.append(votes.argmax(-1))
    return torch.cat(chosen)


def effective_rank(features: Float[Tensor, "samples channels"]) -> Float[Tensor, ""]:
    """The exponential of the entropy of the centred features' singular values: 1 when they lie on a line (arXiv:2210.02885)."""
    centred = (features - features.mean(0)).double()
    values = (
        torch.linalg.eigvalsh(centred.mT @ centred).clamp(min=0).sqrt()
    )  # quicker than the singular values of all rows
    share = values / values.sum().clamp(min=1e-300)
    return torch.exp(torch.special.entr(share).sum())


def spread(features: Float[Tensor, "samples channels"]) -> Float[Tensor, ""]:
    """The standard deviation of the features scaled to unit length, in units of that on a sphere: 1 even, 0 collapsed."""
    unit = normalize(features.double(), dim=-1)
    return (unit.var(0, unbiased=False).sum()).sqrt()

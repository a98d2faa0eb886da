"""The network that makes an edge's weights from its length and from the elements at its ends."""

from itertools import pairwise

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear


class EdgeRadial(nn.Module):
    """Three linear layers with layer norm and SiLU between, on [basis(d), a source_z, a destination_z].

    The first layer acts on the tables of elements rather than on each edge: the same function at less cost.

    Args:
        elements: the size of both tables, into which z points.
        basis: how many functions of the distance come in.
        channels: of the embeddings and of both hidden layers.
        out_channels: how many weights come out.
    """

    def __init__(self, elements: int, basis: int, channels: int, out_channels: int):
        super().__init__()
        self.source = nn.Embedding(elements, channels)
        self.destination = nn.Embedding(elements, channels)
        for table in (self.source, self.destination):
            nn.init.uniform_(table.weight, -0.001, 0.001)
        self.sizes = [basis, channels, channels]
        layers: list[nn.Module] = []
        for wide, narrow in pairwise([sum(self.sizes), channels, channels]):
            layers += [nn.Linear(wide, narrow), nn.LayerNorm(narrow), nn.SiLU()]
        self.first, *rest = layers
        self.rest = nn.Sequential(*rest, nn.Linear(channels, out_channels))

    def forward(
        self,
        basis: Float[Tensor, "edges basis"],
        z: Int[Tensor, " nodes"],
        edge_index: Int[Tensor, "2 edges"],
    ) -> Float[Tensor, "edges out"]:
        of_basis, of_source, of_destination = self.first.weight.split(self.sizes, 1)
        source, destination = z[edge_index]
        hidden = linear(basis, of_basis, self.first.bias)
        hidden = hidden + linear(self.source.weight, of_source).index_select(0, source)
        return self.rest(hidden + linear(self.destination.weight, of_destination).index_select(0, destination))

"""EquiCaps: Predictor-Free Pose-Aware Pre-Trained Capsule Networks. Konstantinou et al.; arXiv:2506.09895.

The maps of a ResNet go to a projector of capsules with one layer of self-routing (Hahn, Pyeon, Kim; NeurIPS 2019). The
losses are invariance of the activations by cross-entropy with ME-MAX, and equivariance of the pose matrices, which the
known motion between two views multiplies: nothing is learned that predicts. VICReg's variance and covariance terms act on
both together. Weights and the target's gradient (none is stopped) are those of the authors' code, whose backbone also
starts with residual branches of zero. What is evaluated is the mean of the maps, before the projector; the activations
and the poses of the capsules are its invariant and equivariant parts here.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from ...errors import UserError
from ...geometry.rotations import quaternion_to_matrix
from ...nn.gather import gather
from ...nn.ssl_losses import regularization
from ...nn.standardize import Standardize
from ...tasks.poses import base_translation, euler_to_quaternion, object_translation, relative_rotation
from ...tasks.spec import Spec
from .self_supervised import SMALL, SelfSupervised, Views, make_backbone, two_views

MOTIONS = {"rotation": None, "object": object_translation, "base": base_translation}
"""What moves the poses: rotations alone, or translations too, in the object's frame or in the base's (3DIEBench-T)."""


class EquiCaps(SelfSupervised):
    """Capsules whose activations stay and whose pose matrices turn with the object.

    Args:
        spec: the benchmark's.
        blocks, channels: of the backbone, see JointEmbedding.
        capsules: how many, before and after the routing; published 32.
        motion: one of MOTIONS; the poses are 3 x 3 matrices for rotations alone, else 4 x 4.
        sim, equi_factor, std, cov: weights of the invariance, equivariance, variance and covariance terms; ME-MAX has 1.
    """

    title = "EquiCaps: Predictor-Free Pose-Aware Pre-Trained Capsule Networks"
    arxiv = "2506.09895"
    # of the variance term most stays, for the numbers of a unit pose cannot all have unit deviation
    tiny = {"blocks": [1, 1], "channels": 8, "capsules": 4, "std": 1.0}
    needs = frozenset({"latents"})
    network: "CapsuleNetwork"

    def __init__(
        self,
        spec: Spec,
        blocks: Sequence[int],
        channels: int,
        capsules: int,
        motion: str,
        sim: float,
        equi_factor: float,
        std: float,
        cov: float,
    ):
        super().__init__(spec)
        if motion not in MOTIONS:
            raise UserError(f"model.motion must be one of {', '.join(MOTIONS)}, not {motion!r}")
        if motion != "rotation" and spec.fields["latents"].shape[-1] != 10:
            raise UserError(
                f"model.motion={motion} needs translations, which {spec.benchmark} lacks: use data=3diebench_t"
            )
        self.sim, self.equi_factor, self.std, self.cov = sim, equi_factor, std, cov
        self.translation = MOTIONS[motion]
        self.network = CapsuleNetwork(spec, blocks, channels, capsules, 3 if motion == "rotation" else 4)

    def represent(self, batch: Any) -> dict[str, Views]:
        return self.parts(self(batch))

    def parts(self, outputs: Mapping[str, Tensor]) -> dict[str, Views]:
        """Activations in units of an even share, 1 / N: probes learn at a rate that is made for features of order one."""
        shares = outputs["invariant"] * self.network.capsules
        return {"all": outputs["representation"], "invariant": shares, "equivariant": outputs["equivariant"]}

    def between(
        self, source: Float[Tensor, "*batch latents"], target: Float[Tensor, "*batch latents"]
    ) -> Float[Tensor, "*batch size size"]:
        """M_source^-1 M_target, where M is the rotation R, or the rigid motion by R and t (object) or by R and R t (base)."""
        turn = quaternion_to_matrix(relative_rotation(source, target))
        if self.translation is None:
            return turn
        back = quaternion_to_matrix(euler_to_quaternion(source[..., :3])).mT
        shift = back @ self.translation(source, target)[..., None]
        last = turn.new_tensor([0, 0, 0, 1]).expand(*turn.shape[:-2], 1, 4)
        return torch.cat([torch.cat([turn, shift], -1), last], -2)

    def act(
        self, z: Float[Tensor, "*batch channels"], g: Float[Tensor, "*batch size size"]
    ) -> Float[Tensor, "*batch channels"]:
        """The poses multiplied by the matrix g, brought back to unit norm."""
        poses = z.unflatten(-1, (-1, *g.shape[-2:])) @ g.unsqueeze(-3)
        return unit_poses(poses).flatten(-3)

    def loss(self, batch: Any) -> Float[Tensor, ""]:
        outputs = self(batch)
        kept, moved = (two_views(gather(outputs[name])) for name in ("invariant", "equivariant"))
        latents = gather(batch.latents)
        predicted = self.act(moved[0], self.between(latents[:, 0], latents[:, 1]))
        loss = self.sim * cross_entropy(*kept) + self.equi_factor * mse_loss(predicted, moved[1])
        loss = loss + idleness(kept[0]) + idleness(kept[1])
        # both parts together, so that none holds what the other one has already
        joint = (torch.cat(view, -1) for view in ((kept[0], predicted), (kept[1], moved[1])))
        return loss + regularization(*joint, self.std, self.cov)


class CapsuleNetwork(nn.Module):
    """Views to representations, and to the activations and unit pose matrices of capsules.

    Args:
        spec, blocks, channels, capsules: see EquiCaps.
        size: of the pose matrices.
    """

    def __init__(self, spec: Spec, blocks: Sequence[int], channels: int, capsules: int, size: int):
        super().__init__()
        _, inputs, height, width = spec.fields["images"].shape
        small = max(height, width) <= SMALL
        self.size, self.capsules = size, capsules
        self.standardize = Standardize(inputs)
        self.backbone = make_backbone(inputs, blocks, channels, small)
        self.feature_channels = self.backbone.feature_channels
        self.invariant = make_capsules(self.feature_channels, capsules)
        self.equivariant = make_capsules(self.feature_channels, capsules * size**2)
        halvings = len(blocks) - 1 if small else len(blocks) + 1
        places = math.prod(-(-side // 2**halvings) for side in (height, width))
        self.routing = SelfRouting(places * capsules, capsules, size**2)

    def features(self, batch: Any) -> Views:
        """The representation of every view."""
        return self.maps(batch).mean((-2, -1)).unflatten(0, batch.images.shape[:2])

    def maps(self, batch: Any) -> Float[Tensor, "images channels rows columns"]:
        return self.backbone.maps(self.standardize(batch.images.flatten(0, 1)))

    def forward(self, batch: Any) -> dict[str, Tensor]:
        """The `representation`, the activations of the capsules as `invariant` and their poses, in a row, as `equivariant`."""
        maps = self.maps(batch)
        active = self.invariant(maps).sigmoid().flatten(1)
        # capsules one after the other, each at all its places
        poses = self.equivariant(maps).unflatten(1, (self.capsules, -1)).flatten(3).mT.flatten(1, 2)
        active, poses = self.routing(active, poses)
        poses = unit_poses(poses.unflatten(-1, (self.size, self.size))).flatten(1)
        outputs = {"representation": maps.mean((-2, -1)), "invariant": active, "equivariant": poses}
        return {name: value.unflatten(0, batch.images.shape[:2]) for name, value in outputs.items()}


class SelfRouting(nn.Module):
    """Every capsule shares itself out over all outputs by what its own pose says, without iterations (Hahn, Pyeon, Kim).

    c_ij = softmax_j (V_i u_i + b_i)_j,  a_j = sum_i c_ij a_i / sum_i a_i,  u_j = sum_i c_ij a_i W_ij u_i / sum_i c_ij a_i.

    The activations of the outputs are a distribution over them. They start even: V and b are zero.
    """

    def __init__(self, inputs: int, outputs: int, channels: int):
        super().__init__()
        self.outputs = outputs
        deviation = (2 / (outputs * channels**2)) ** 0.5
        self.poses = nn.Parameter(deviation * torch.randn(inputs, outputs * channels, channels))
        self.shares = nn.Parameter(torch.zeros(inputs, outputs, channels))
        self.bias = nn.Parameter(torch.zeros(inputs, outputs))

    def coefficients(self, u: Float[Tensor, "samples inputs channels"]) -> Float[Tensor, "samples inputs outputs"]:
        """c_ij, which add up to one over the outputs."""
        return (torch.einsum("ijc,sic->sij", self.shares, u) + self.bias).softmax(-1)

    def forward(
        self, a: Float[Tensor, "samples inputs"], u: Float[Tensor, "samples inputs channels"]
    ) -> tuple[Float[Tensor, "samples outputs"], Float[Tensor, "samples outputs channels"]]:
        given = self.coefficients(u) * a[..., None]
        received = given.sum(1)
        votes = torch.einsum("ioc,sic->sio", self.poses, u).unflatten(-1, (self.outputs, -1))
        poses = ((given / received[:, None])[..., None] * votes).sum(1)
        return received / a.sum(1, keepdim=True), poses


def cross_entropy(a: Float[Tensor, "samples capsules"], b: Float[Tensor, "samples capsules"]) -> Float[Tensor, ""]:
    """H(b, a) = -sum_j b_j log a_j, the mean over samples."""
    return -(b * a.log()).sum(-1).mean()


def idleness(a: Float[Tensor, "samples capsules"]) -> Float[Tensor, ""]:
    """ME-MAX: log N - H(mean a), 0 where all N capsules are active equally often."""
    return math.log(a.shape[-1]) - torch.special.entr(a.mean(0)).sum()


def unit_poses(poses: Float[Tensor, "*batch size size"]) -> Float[Tensor, "*batch size size"]:
    """Matrices of unit Frobenius norm."""
    return poses / torch.linalg.matrix_norm(poses, keepdim=True)


def make_capsules(inputs: int, outputs: int) -> nn.Sequential:
    """A convolution of 3 x 3 and batch norm: at every place of the maps, the activations or poses of capsules."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))

"""What makes RISurConv RISurConv: 14 properties against plain geometry, exact invariance, normals, and poor clouds."""

import math
import time
from collections.abc import Callable

import pytest
import torch
from point_clouds import NORMALS, SPEC, clouds, join, only
from synthetic import randomize
from torch import nn

from erlangen.errors import UserError
from erlangen.geometry.rotations import random_rotations
from erlangen.kernels import Kernels
from erlangen.models.points.risurconv import (
    Neighbors,
    OffsetAttention,
    RISurConv,
    around,
    cloud_axes,
    estimated_normals,
    spread,
    surface_properties,
)
from erlangen.tasks.point_classification import PointClassification, keyed_rotations, rotate_clouds

CHOICE = Kernels()
SMALL = {**RISurConv.tiny, "width": 8}
PUBLISHED = {
    "width": 32,
    "samples": [1024, 512, 256, 128],
    "neighbors": [8, 16, 32, 64],
    "normal_neighbors": 32,
    "encoder_layers": 3,
    "heads": 8,
    "encoder_dropout": 0.05,
    "dropout": 0.4,
}


def paper(spec=SPEC, **changes) -> RISurConv:
    made = RISurConv(spec, CHOICE, **{**SMALL, **changes}).double().eval()
    randomize(made)
    return made


def unit(v: torch.Tensor) -> torch.Tensor:
    length = v.norm()
    return v / length if length > 0 else v


def neighbourhoods(count: int, k: int, dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Offsets (count, k, 3), normals and axes of random neighbourhoods that their reference point belongs to."""
    generator = torch.Generator().manual_seed(0)
    offset, normal = (torch.randn(count, k, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    offset[:, 0] = 0
    axis = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return tuple(
        v.to(dtype) for v in (offset, nn.functional.normalize(normal, dim=-1), nn.functional.normalize(axis, dim=-1))
    )


def loop(offset, normal, axis, shift) -> torch.Tensor:
    """Neighbourhood after neighbourhood, in order around the axis, and triangle after triangle, from points."""
    rows = []
    for x, n, up in zip(offset, normal, axis, strict=True):
        order = ordered(x, up)
        x, n, k = x[order], n[order], len(order)
        for i in range(k):
            a, b, c = x[i], x[i - shift], x[(i + shift) % k]
            na, nb, nc = n[i], n[i - shift], n[(i + shift) % k]
            pa, pb, pc, ba, ac = unit(a), unit(b), unit(c), unit(a - b), unit(c - a)
            first = [a.norm(), pa @ up, -pa @ na, pa @ pb, pb @ up, -pb @ nb, -pb @ ba, -ba @ na, ba @ nb]
            second = [pc @ pa, pc @ ac, ac @ nc, pa @ nc, torch.linalg.cross(pc, pa) @ torch.linalg.cross(pb, pa)]
            rows.append(torch.stack(first + second))
    return torch.stack(rows).unflatten(0, offset.shape[:2])


def ordered(x: torch.Tensor, up: torch.Tensor) -> list[int]:
    """The neighbours' order by the angle, clockwise seen from the tip of `up`, to the one farthest from the axis."""
    flat = [v - (v @ up) * up for v in x]
    reference = max(flat, key=lambda v: float(v.norm()))
    angles = []
    for v in flat:
        cosine = float(v @ reference)
        sine = float(torch.linalg.cross(v, reference) @ up)
        angle = math.atan2(sine, cosine) if v is not reference else 0.0
        angles.append(math.pi if float(v.norm()) < 1e-9 else angle % (2 * math.pi))
    return sorted(range(len(x)), key=angles.__getitem__)


def properties(offset, normal, axis, shift) -> torch.Tensor:
    order = around(offset, axis)[..., None].expand(-1, -1, 3)
    return surface_properties(offset.gather(1, order), normal.gather(1, order), axis, shift)


def test_published_size() -> None:
    """The authors' code counts 13,963,080 parameters: with an encoder layer that it never calls, and 2,688 biases before
    batch norms. Beside it our own count, layer by layer."""
    with torch.device("meta"):
        count = sum(p.numel() for p in RISurConv(SPEC, CHOICE, **PUBLISHED).parameters())

    def mlp(*widths: int) -> int:  # a matrix, and the scale and shift of its batch norm
        return sum(a * b + 2 * b for a, b in zip(widths, widths[1:], strict=False))

    def attention(c: int) -> int:
        return 2 * c * (c // 4) + c * c + c + mlp(c, c)

    encoder_layer = 4 * (512 * 512 + 512) + 512 * 2048 + 2048 + 2048 * 512 + 512 + 4 * 512
    widths = [0, 32, 64, 128, 256, 512]
    expected = 5 * (mlp(14, 32, 64) + attention(64)) + sum(attention(c) for c in widths[1:])
    expected += sum(mlp(64 + i, o) for i, o in zip(widths, widths[1:], strict=False))
    expected += 3 * encoder_layer + mlp(512, 256, 128) + 128 * 40 + 40
    assert count == expected
    biases = 5 * 64 + 2 * sum(widths) + 256 + 128
    assert count + encoder_layer + biases == 13_963_080


@pytest.mark.parametrize("shift", [1, 2])
def test_properties_are_plain_geometry(shift: int) -> None:
    given = neighbourhoods(12, 7)
    torch.testing.assert_close(properties(*given, shift), loop(*given, shift), rtol=1e-9, atol=1e-9)


def test_feature_extraction_is_much_faster_than_a_loop_over_neighbourhoods() -> None:
    """Neighbours, their order and their properties for 256 reference points: beside one neighbourhood at a time, where even
    its triangles are computed together."""
    torch.set_num_threads(1)
    batch = clouds([1024])
    pos, normal = batch.pos.float(), nn.functional.normalize(batch.normal.float(), dim=-1)
    centers = torch.arange(256)
    neighbors, ptr, query_ptr = Neighbors(CHOICE, 16), batch.ptr, torch.tensor([0, 256])

    def all_together() -> torch.Tensor:
        near = neighbors(pos, ptr, pos[centers], query_ptr)
        return properties(pos[near] - pos[centers][:, None], normal[near], normal[centers], 1)

    def one_by_one() -> torch.Tensor:
        rows = []
        for center in centers.tolist():
            near = (pos - pos[center]).norm(dim=1).topk(16, largest=False).indices
            given = (pos[near] - pos[center])[None], normal[near][None], normal[center][None]
            rows.append(properties(*given, 1)[0])
        return torch.stack(rows)

    torch.testing.assert_close(all_together(), one_by_one(), rtol=1e-4, atol=1e-4)
    assert 3 * seconds(all_together) < seconds(one_by_one)


def seconds(function: Callable[[], object]) -> float:
    """The fastest of three calls."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_properties_do_not_turn(dtype: torch.dtype, limit: float) -> None:
    offset, normal, axis = neighbourhoods(200, 16, dtype)
    turn = random_rotations(generator=torch.Generator().manual_seed(1)).to(dtype)
    turned = properties(offset @ turn.T, normal @ turn.T, axis @ turn.T, 1)
    before = properties(offset, normal, axis, 1)
    assert before.std(dim=(0, 1)).min() > 0.05, "none of the 14 is constant"
    assert (turned - before).abs().max() < limit


def test_the_reference_point_and_copies_have_a_place_in_the_order() -> None:
    x = torch.tensor([[0, 0, 0], [1, 0, 0.0], [0, 1, 0], [0, -1, 0], [0, 0, 3], [2, 0, 1], [2, 0, 1], [-1, 0, 0]])
    up = torch.tensor([[0.0, 0, 1]])
    # from +x clockwise seen from above: -y; then -x with all that lies on the axis; then +y
    assert around(x[None], up).tolist() == [[1, 5, 6, 3, 0, 4, 7, 2]]
    assert around(x.flip(0)[None], up).tolist() == [[1, 2, 6, 4, 0, 3, 7, 5]]


def test_estimated_normals_of_a_sphere_point_outward() -> None:
    pos = nn.functional.normalize(clouds([400]).pos, dim=-1) + 5
    ptr = torch.tensor([0, 400])
    normals = estimated_normals(pos, ptr, Neighbors(CHOICE, 12)(pos, ptr, pos, ptr))
    assert ((normals * (pos - 5)).sum(-1) > 0.9).all()


@pytest.mark.parametrize("shape", ["line", "place"])
def test_where_there_is_no_normal_it_is_zero(shape: str) -> None:
    line = torch.linspace(-1, 1, 20, dtype=torch.float64)[:, None] * torch.tensor([1.0, 2, -1], dtype=torch.float64)
    pos, ptr = (line if shape == "line" else torch.ones_like(line)), torch.tensor([0, 20])
    assert not estimated_normals(pos, ptr, Neighbors(CHOICE, 5)(pos, ptr, pos, ptr)).any()


def test_the_axis_of_a_cloud_turns_with_it_and_keeps_its_side() -> None:
    generator = torch.Generator().manual_seed(2)
    offset = torch.randn(50, 30, 3, generator=generator, dtype=torch.float64) * torch.tensor([3.0, 2, 1])
    offset = offset - offset.mean(1, keepdim=True)
    turn = random_rotations(50, generator=generator)
    axes = cloud_axes(offset)
    turned = cloud_axes(offset @ turn.mT)
    torch.testing.assert_close(turned, (turn @ axes[..., None])[..., 0])
    torch.testing.assert_close(cloud_axes(-offset), -axes)


def test_attention_is_its_equations() -> None:
    layer = OffsetAttention(8).double().eval()
    randomize(layer)
    h = torch.randn(3, 5, 8, dtype=torch.float64)
    for x, out in zip(h, layer(h), strict=True):
        scores = layer.query(x) @ layer.key(x).T
        soft = torch.stack([row.exp() / row.exp().sum() for row in scores])
        mixed = torch.stack(
            [sum(soft[i, j] * layer.value(x)[i] for i in range(5)) / soft[:, j].sum() for j in range(5)]
        )
        torch.testing.assert_close(out, x + layer.out(x - mixed))


def test_later_layers_sample_what_farthest_point_sampling_would() -> None:
    """Its order is its own: sampled from its result it takes the first points again, so that one pass serves all layers."""
    net, batch = paper().network, clouds([60, 45])
    rows = spread(net.fps, batch.pos, batch.ptr, 32)
    far = (batch.pos[:60] - batch.pos[:60].mean(0)).norm(dim=-1).argmax()
    assert rows[0, 0] == far
    pos, ptr = batch.pos[rows].flatten(0, 1), torch.tensor([0, 32, 64])
    again = net.fps(pos, ptr, torch.tensor([12, 12])).view(2, 12)
    assert torch.equal(again, torch.tensor([[0], [32]]) + torch.arange(12))


@pytest.mark.parametrize("spec", [SPEC, NORMALS])
def test_accuracy_cannot_depend_on_rotations(spec) -> None:
    """Boxes of all proportions, as in the protocols z/z and z/SO(3): the same logits, each cloud turned by its own rotation."""
    net, batch = paper(spec), clouds([80] * 12)
    side = torch.arange(len(batch.pos)) % 3
    sizes = torch.rand(12, 3, dtype=torch.float64)[batch.batch] + 0.2
    face = nn.functional.one_hot(side, 3).bool()
    sign = batch.pos.sign()
    batch.pos = torch.where(face, sign, batch.pos.tanh()) * sizes
    batch.normal = torch.where(face, sign, 0)
    turned = rotate_clouds(batch, spec, keyed_rotations("so3", (0,), batch.id))
    before, after = net(batch)["label"], net(turned)["label"]
    assert before.std(0).max() > 1e-3
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)


def test_a_mirror_image_is_another_shape() -> None:
    net, batch = paper(NORMALS), clouds([50])
    mirrored = batch.clone()
    mirror = torch.tensor([-1.0, 1, 1], dtype=torch.float64)
    mirrored.pos, mirrored.normal = batch.pos * mirror, batch.normal * mirror
    before, after = net(batch)["label"], net(mirrored)["label"]
    assert (before - after).abs().max() > 1e-3 * before.std()


@pytest.mark.parametrize("spec", [SPEC, NORMALS])
def test_the_order_of_points_does_not_matter(spec) -> None:
    net, batch = paper(spec), clouds([60])
    order = torch.randperm(60)
    torch.testing.assert_close(net(batch)["label"], net(only(batch, order))["label"], rtol=1e-9, atol=1e-9)


def test_clouds_of_any_size_in_one_batch() -> None:
    net = paper()
    batches = [clouds([size], seed=size) for size in (1, 2, 5, 17, 60)]
    torch.testing.assert_close(net(join(batches))["label"], torch.cat([net(batch)["label"] for batch in batches]))


@pytest.mark.parametrize("rows", [[0], [0] * 30, [0, 1] * 20, list(range(5)), list(range(20)) * 3])
@pytest.mark.parametrize("spec", [SPEC, NORMALS])
def test_poor_clouds_have_outputs_and_gradients(rows: list[int], spec) -> None:
    """One point, one place, a line, fewer points than neighbours, every point several times: alone and turned."""
    net = paper(spec)
    batch = only(clouds([30]), torch.tensor(rows))
    turned = rotate_clouds(batch, spec, keyed_rotations("so3", (1,), batch.id))
    torch.testing.assert_close(net(turned)["label"], net(batch)["label"], rtol=1e-8, atol=1e-8)
    net.train()(batch)["label"].sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


def test_an_empty_cloud_is_refused() -> None:
    with pytest.raises(UserError, match="cloud 1 of this batch has no points"):
        paper()(clouds([20, 0, 20]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"samples": [12, 24]}, "never more samples than before"),
        ({"neighbors": [4]}, "one of each for every layer"),
        ({"heads": 5}, "model.heads=5 does not divide"),
    ],
)
def test_wrong_sizes_are_said(changes: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        paper(**changes)


@pytest.mark.slow
def test_one_step_at_the_published_width() -> None:
    full = RISurConv(NORMALS, CHOICE, **PUBLISHED)
    full.task = PointClassification(NORMALS, "none")
    batch = clouds([1024] * 4)
    batch.pos, batch.normal = batch.pos.float(), nn.functional.normalize(batch.normal.float(), dim=-1)
    before = {name: p.detach().clone() for name, p in full.named_parameters()}
    optimizer = torch.optim.Adam(full.parameters(), lr=1e-3)
    full.training_step(batch, 0).backward()
    optimizer.step()
    assert all(p.grad.isfinite().all() for p in full.parameters())
    still = {name for name, p in full.named_parameters() if torch.equal(p, before[name])}
    # the one reference point of the last layer attends to nothing but itself
    assert still == {f"network.layers.4.between.{name}.weight" for name in ("query", "key")}

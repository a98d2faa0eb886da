"""The rasteriser and the scene against what geometry and optics say."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from erlangen.datamodules.files.off import Mesh
from erlangen.datamodules.synthetic.cad_parts import ellipsoid
from erlangen.datamodules.synthetic.renderer import (
    CAMERA_DISTANCE,
    CAMERA_THETA,
    FIELD_OF_VIEW,
    FLOOR,
    ColouredMesh,
    Lens,
    euler_matrices,
    hue_to_rgb,
    look_at_origin,
    rasterise,
    render,
    spherical,
)

NOTHING = Mesh(np.full((3, 3), 1e-3), np.array([[0, 1, 2]]))
"""A triangle too small to be seen."""


def ball(radius: float) -> Mesh:
    return ellipsoid((0, 0, 0), (radius, radius, radius))


def camera() -> Lens:
    place = spherical(CAMERA_DISTANCE, np.array([CAMERA_THETA]), np.array([np.pi / 2]))
    return Lens(*look_at_origin(place), np.tan(FIELD_OF_VIEW / 2))


def latents(**changes: float) -> np.ndarray:
    """One view: no rotation, the light straight above."""
    names = ("rx", "ry", "rz", "floor", "theta", "phi", "light")
    return np.array([[changes.get(name, 0.0) for name in names]])


def picture(mesh: Mesh, size: int = 64, **changes: float) -> np.ndarray:
    colours = np.full((len(mesh.triangles), 3), 0.5)
    return render(ColouredMesh(mesh, colours), latents(**changes), size)[0].astype(float)


def project(point: np.ndarray, size: int) -> tuple[float, float]:
    """Row and column at which the camera sees a point."""
    lens = camera()
    across, up, depth = lens.axes[0] @ (point - lens.position[0])
    return size * (0.5 - 0.5 * up / depth / lens.slope), size * (0.5 + 0.5 * across / depth / lens.slope)


def test_a_ball_has_the_outline_and_the_depth_of_a_ball() -> None:
    size, radius = 256, 0.5
    mesh = ball(radius)
    seen = rasterise(mesh.vertices[mesh.triangles][None], camera(), size)
    outline = radius / np.sqrt(CAMERA_DISTANCE**2 - radius**2) / np.tan(FIELD_OF_VIEW / 2) * size / 2
    area = (seen.triangle >= 0).sum()
    assert 0.94 * np.pi * outline**2 < area < np.pi * outline**2  # a polyhedron inscribed in the ball
    centre = 1 / seen.inverse_depth[0, size // 2, size // 2]
    assert centre == pytest.approx(CAMERA_DISTANCE - radius, abs=0.02)


def test_every_pixel_belongs_to_one_of_two_triangles_that_share_an_edge() -> None:
    """No gap and no overlap: the square's pixels are counted once."""
    lens = Lens(np.array([[0.0, 0, 1]]), np.array([[[1.0, 0, 0], [0, 1, 0], [0, 0, -1]]]), 1.0)
    corners = np.array([[-0.3, -0.3, 0], [0.38, -0.3, 0], [0.38, 0.3, 0], [-0.3, 0.3, 0.0]])
    both = rasterise(corners[[[0, 1, 2], [0, 2, 3]]][None], lens, 100)
    single = [rasterise(corners[[[a, b, c]]][None], lens, 100) for a, b, c in ((0, 1, 2), (0, 2, 3))]
    counts = [(one.triangle >= 0).sum() for one in single]
    assert (both.triangle >= 0).sum() == sum(counts) == 34 * 30
    assert not ((single[0].triangle >= 0) & (single[1].triangle >= 0)).any()


def test_the_nearer_triangle_is_seen() -> None:
    lens = Lens(np.array([[0.0, 0, 3]]), np.array([[[1.0, 0, 0], [0, 1, 0], [0, 0, -1]]]), 1.0)
    far = np.array([[-1.0, -1, 0], [1, -1, 0], [0, 1, 0]])
    near = far * [0.5, 0.5, 1] + [0, 0, 1]
    for order in ([far, near], [near, far]):
        seen = rasterise(np.stack(order)[None], lens, 64)
        nearest = 0 if order[0] is near else 1
        assert seen.triangle[0, 32, 32] == nearest
        assert 1 / seen.inverse_depth[0, 32, 32] == pytest.approx(2)


def test_angles_turn_about_the_fixed_axes() -> None:
    angles = np.random.default_rng(0).uniform(-np.pi / 2, np.pi / 2, (20, 3))
    np.testing.assert_allclose(euler_matrices(angles), Rotation.from_euler("xyz", angles).as_matrix(), atol=1e-12)


def test_a_turn_in_the_latents_is_a_turn_of_the_object() -> None:
    mesh = Mesh(ball(0.4).vertices * [1, 0.4, 0.2] + [0.05, 0, 0.02], ball(0.4).triangles)
    angles = np.array([[0.4, -1.0, 0.8]])
    turned = Mesh(mesh.vertices @ euler_matrices(angles)[0].T, mesh.triangles)
    rx, ry, rz = angles[0]
    np.testing.assert_allclose(picture(mesh, rx=rx, ry=ry, rz=rz, theta=0.3), picture(turned, theta=0.3), atol=1)


def test_the_shadow_falls_where_the_light_throws_it() -> None:
    size, light = 128, {"theta": 0.6, "phi": 0.5}
    bare, shaded = picture(NOTHING, size, **light), picture(ball(0.15), size, **light)
    source = spherical(4.0, np.array([light["theta"]]), np.array([light["phi"]]))[0]
    shadow = source * (FLOOR / source[2])  # the line from the light through the origin, where it meets the floor
    row, column = (int(place) for place in project(shadow, size))
    dark = bare.sum(-1) - shaded.sum(-1)
    ball_row = int(project(np.zeros(3), size)[0])
    assert row > ball_row + 20
    rows, columns = np.nonzero(dark[row - 12 :] > 0.5 * dark[row, column])
    assert dark[row, column] > 30
    assert abs(rows.mean() + row - 12 - row) < 3
    assert abs(columns.mean() - column) < 3


def test_hues_colour_the_floor_and_the_light() -> None:
    corner = picture(NOTHING, floor=1 / 3)[2, 2]  # outside the cone
    assert corner[1] > 1.3 * max(corner[0], corner[2])
    lit = project(np.array([0, 0, FLOOR]), 64)
    row, column = (int(place) for place in lit)
    red, blue = (picture(NOTHING, light=hue)[row, column] - picture(NOTHING, light=hue)[2, 2] for hue in (0, 2 / 3))
    assert red[0] > 20 > red[2]
    assert blue[2] > 20 > blue[0]
    np.testing.assert_allclose(
        hue_to_rgb(np.array([0, 1 / 3, 2 / 3, 1]), 1.0, 1.0), np.eye(3)[[0, 1, 2, 0]], atol=1e-12
    )


def test_a_translation_comes_before_the_rotation() -> None:
    mesh = ball(0.1)
    ten = np.concatenate([latents(rz=np.pi / 2), [[0.4, 0, 0]]], 1)
    shifted = render(ColouredMesh(mesh, np.ones((len(mesh.triangles), 3))), ten, 64)[0].astype(float)
    here = Mesh(mesh.vertices + [0, 0.4, 0], mesh.triangles)
    there = render(ColouredMesh(here, np.ones((len(mesh.triangles), 3))), latents(), 64)[0].astype(float)
    assert np.abs(shifted - there).mean() < 0.5

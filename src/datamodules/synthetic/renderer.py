"""Pictures of a coloured mesh in the scene of 3DIEBench: a scan-line rasteriser in numpy, without OpenGL.

The scene is the one that the authors' script describes to Blender (arXiv:2302.10283, appendix B): a camera 2.5 away from
the object at 45 degrees, a floor one unit below it, a wide sun overhead that casts no shadow, and a spot light 4 away whose
cone of 22.5 degrees points at the object. Surfaces are matt; light that the floor returns is one constant bounce. What
Blender's path tracer has beyond this (light between the object's parts, textures, sampling noise) is left out.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from ..files.off import Mesh

CAMERA_DISTANCE, CAMERA_THETA, FIELD_OF_VIEW = 2.5, np.pi / 4, 0.691111
FLOOR = -1.0
SUN, SUN_RADIUS = 1.5, np.pi / 4
"""Irradiance in W/m^2 and half the angle that the sun takes up."""
SPOT, SPOT_DISTANCE, SPOT_ANGLE, SPOT_BLEND = 500.0, 4.0, np.pi / 8, 0.15
"""Power in W, distance, full angle of the cone, and the part of it over which its edge fades."""
BIAS = 0.01
"""By how much nearer to the light a surface must be to throw a shadow, as a part of the distance."""
KEY_BITS = 22
"""Of a z-buffer's key: the number of a triangle among all triangles of all views."""


class ColouredMesh(NamedTuple):
    """A mesh about the origin; colours (triangles, 3) are albedos from 0 to 1."""

    mesh: Mesh
    colours: Float[np.ndarray, "triangles 3"]


class Lens(NamedTuple):
    """A pinhole at `position` for each view; `axes` are right, up and forward; `slope` is the tangent of half the field."""

    position: Float[np.ndarray, "views 3"]
    axes: Float[np.ndarray, "views 3 3"]
    slope: float


class Buffer(NamedTuple):
    """What a lens sees: the nearest triangle (-1: none) at every pixel, and the inverse of its depth (0: none)."""

    triangle: Int[np.ndarray, "views size size"]
    inverse_depth: Float[np.ndarray, "views size size"]


def render(
    shape: ColouredMesh, latents: Float[np.ndarray, "views latents"], size: int
) -> UInt8[np.ndarray, "views size size 3"]:
    """One picture of an object for each row of latents.

    Args:
        shape: the object before it is turned.
        latents: rotation about x, y, z (extrinsic, in radians), floor hue, the spot's theta, phi and hue, and, with ten
            columns, a translation that comes before the rotation (3DIEBench-T).
        size: height and width in pixels; four samples are drawn for each of them.
    """
    views, fine = len(latents), 2 * size
    rotation = euler_matrices(latents[:, :3])
    vertices = shape.mesh.vertices[None] + (latents[:, None, 7:10] if latents.shape[1] == 10 else 0)
    corners = (vertices @ rotation.mT)[:, shape.mesh.triangles]
    normals = np.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    camera = look_at_origin(spherical(CAMERA_DISTANCE, np.full(1, CAMERA_THETA), np.full(1, np.pi / 2)))
    camera = Lens(camera[0].repeat(views, 0), camera[1].repeat(views, 0), np.tan(FIELD_OF_VIEW / 2))
    spot = spherical(SPOT_DISTANCE, latents[:, 4], latents[:, 5])
    reach = 1.05 * float(np.linalg.norm(corners, axis=-1).max())
    light = Lens(*look_at_origin(spot), reach / np.sqrt(SPOT_DISTANCE**2 - reach**2))
    seen = rasterise(corners, camera, fine)

    floor = hue_to_rgb(latents[:, 3], 0.6, 0.6)
    rays = pixel_rays(camera, fine)
    # the camera is the same in all views
    points = camera.position[0] + rays * ((FLOOR - camera.position[0, 2]) / rays[..., 2:])
    position = np.broadcast_to(points, (views, fine, fine, 3)).astype(np.float32)
    normal = np.zeros_like(position)
    normal[..., 2] = 1
    albedo = np.broadcast_to(floor[:, None, None], position.shape).astype(np.float32)
    view, row, column = hit = np.nonzero(seen.triangle >= 0)
    triangle = seen.triangle[hit]
    position[hit] = camera.position[0] + rays[row, column] / seen.inverse_depth[hit][:, None]
    facing = normals[view, triangle]
    normal[hit] = np.where(dot(facing, rays[row, column])[:, None] > 0, -facing, facing)  # two-sided
    albedo[hit] = shape.colours[triangle]

    on_floor = seen.triangle < 0
    radiance = sky_light(normal, floor, on_floor)
    shadow = rasterise(corners, light, size)
    for index, hue in enumerate(hue_to_rgb(latents[:, 6], 1.0, 0.8).astype(np.float32)):
        lit = spot_irradiance(position[index], normal[index], view_of(light, index), shadow.inverse_depth[index])
        radiance[index] += lit[..., None] * hue
    picture = encode_srgb(radiance * albedo / np.float32(np.pi))
    rows = picture[:, ::2] + picture[:, 1::2]
    return (255 / 4 * (rows[:, :, ::2] + rows[:, :, 1::2]) + 0.5).astype(np.uint8)


def view_of(lens: Lens, index: int) -> Lens:
    return Lens(lens.position[index : index + 1], lens.axes[index : index + 1], lens.slope)


def rasterise(corners: Float[np.ndarray, "views triangles 3 3"], lens: Lens, size: int) -> Buffer:
    """The z-buffer of triangles, all of which lie in front of the lens.

    Every triangle is cut into rows of pixels and every row into pixels; 1 / depth is affine over a triangle's picture, and
    the nearest triangle is the one with the largest key of (1 / depth, triangle).
    """
    views, triangles = corners.shape[:2]
    offset = corners - lens.position[:, None, None]
    across, up, depth = np.einsum("vtcx,vax->avtc", offset, lens.axes)
    x = ((0.5 + 0.5 * across / (depth * lens.slope)) * size).reshape(-1, 3)
    y = ((0.5 - 0.5 * up / (depth * lens.slope)) * size).reshape(-1, 3)
    slope_x, slope_y, constant = plane_through(x, y, 1 / depth.reshape(-1, 3))
    # rows whose middle lies between the highest and the lowest corner
    top = np.clip(np.ceil(y.min(1) - 0.5), 0, size).astype(int)
    bottom = np.clip(np.ceil(y.max(1) - 0.5), 0, size).astype(int)
    owner, row = spread(top, bottom)
    left, right = row_ends(x[owner], y[owner], row + 0.5)
    first = np.clip(np.ceil(left - 0.5), 0, size).astype(int)
    last = np.clip(np.ceil(right - 0.5), 0, size).astype(int)
    line, column = spread(first, last)
    owner, row = owner[line], row[line]
    inverse = slope_x[owner] * (column + 0.5) + slope_y[owner] * (row + 0.5) + constant[owner]
    keys = (inverse * (1 << 36)).astype(np.int64) << KEY_BITS | owner
    nearest = np.zeros(views * size * size, dtype=np.int64)
    np.maximum.at(nearest, (owner // triangles * size + row) * size + column, keys)
    triangle = np.where(nearest > 0, (nearest & ((1 << KEY_BITS) - 1)) % triangles, -1)
    shape = (views, size, size)
    return Buffer(triangle.reshape(shape), ((nearest >> KEY_BITS) / (1 << 36)).reshape(shape))


def plane_through(
    x: Float[np.ndarray, "triangles 3"], y: Float[np.ndarray, "triangles 3"], value: Float[np.ndarray, "triangles 3"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a, b, c of value = a x + b y + c at the three corners; a triangle seen edge-on, which has no inside, gets zeros."""
    (x0, y0, v0), *others = ((x[:, i], y[:, i], value[:, i]) for i in range(3))
    (x1, y1, v1), (x2, y2, v2) = ((xi - x0, yi - y0, vi - v0) for xi, yi, vi in others)
    area = x1 * y2 - x2 * y1
    inverse = np.divide(1, area, out=np.zeros_like(area), where=np.abs(area) > 1e-9)
    a, b = (v1 * y2 - v2 * y1) * inverse, (x1 * v2 - x2 * v1) * inverse
    return a, b, np.where(inverse != 0, v0 - a * x0 - b * y0, 0)


def spread(start: Int[np.ndarray, " n"], stop: Int[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
    """(i, j) for all start[i] <= j < stop[i], in order."""
    counts = np.maximum(stop - start, 0)
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) + np.repeat(start - (counts.cumsum() - counts), counts)


def row_ends(
    x: Float[np.ndarray, "rows 3"], y: Float[np.ndarray, "rows 3"], height: Float[np.ndarray, " rows"]
) -> tuple[np.ndarray, np.ndarray]:
    """Where a horizontal line enters and leaves each triangle."""
    left, right = np.full(len(x), np.inf), np.full(len(x), -np.inf)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        crosses = (y[:, i] <= height) != (y[:, j] <= height)
        rise = np.where(crosses, y[:, j] - y[:, i], 1)
        at = x[:, i] + (height - y[:, i]) / rise * (x[:, j] - x[:, i])
        left = np.where(crosses, np.minimum(left, at), left)
        right = np.where(crosses, np.maximum(right, at), right)
    outside = left > right
    return np.where(outside, 0, left), np.where(outside, 0, right)


def pixel_rays(lens: Lens, size: int) -> Float[np.ndarray, "size size 3"]:
    """From the first lens through the middle of every pixel, one unit of depth long."""
    across = lens.slope * (2 * (np.arange(size) + 0.5) / size - 1)
    right, up, forward = lens.axes[0]
    return across[None, :, None] * right - across[:, None, None] * up + forward


def sky_light(
    normal: Float32[np.ndarray, "views size size 3"],
    floor: Float[np.ndarray, "views 3"],
    on_floor: Bool[np.ndarray, "views size size"],
) -> Float32[np.ndarray, "views size size 3"]:
    """Irradiance of the sun, and on the object of the floor that it lights."""
    height = normal[..., 2]
    edge = np.float32(np.sin(SUN_RADIUS))
    sun = SUN * np.clip((height + edge) / (1 + edge), 0, 1)  # a sun this wide reaches round the edge of a body
    bounce = np.where(on_floor, 0, SUN * (1 - height) / 2)
    return sun[..., None] + bounce[..., None] * floor[:, None, None].astype(np.float32)


def spot_irradiance(
    position: Float32[np.ndarray, "height width 3"],
    normal: Float32[np.ndarray, "height width 3"],
    light: Lens,
    shadow: Float[np.ndarray, "size size"],
) -> Float32[np.ndarray, "height width"]:
    """Irradiance of the spot light at every point, as far as it is in its cone and in no shadow.

    The edge of a shadow is the mean over four places on the light's own picture, a texel apart.
    """
    size = len(shadow)
    offset = position - light.position[0].astype(np.float32)
    across, up, depth = np.moveaxis(offset @ light.axes[0].T.astype(np.float32), -1, 0)
    distance = np.sqrt(dot(offset, offset))
    cosine, edge = depth / distance, np.cos(SPOT_ANGLE / 2)
    fade = np.clip((cosine - edge) / ((1 - edge) * SPOT_BLEND), 0, 1)
    facing = np.maximum(-dot(offset, normal) / distance, 0)
    strength = SPOT / (4 * np.pi * distance**2) * facing * fade * fade * (3 - 2 * fade)
    x = (0.5 + 0.5 * across / (depth * light.slope)) * size
    y = (0.5 - 0.5 * up / (depth * light.slope)) * size
    inside = (x > 1) & (x < size - 1) & (y > 1) & (y < size - 1) & (strength > 0)
    x, y, threshold = x[inside], y[inside], (1 + BIAS) / depth[inside]
    taps = ((-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5), (0.5, 0.5))
    blocked = sum((shadow[(y + dy).astype(int), (x + dx).astype(int)] > threshold) for dx, dy in taps)
    strength[inside] *= 1 - blocked / len(taps)
    return strength.astype(np.float32)


def dot(a: Float[np.ndarray, "*points 3"], b: Float[np.ndarray, "*points 3"]) -> Float[np.ndarray, "*points"]:
    return np.einsum("...c,...c->...", a, b)


def spherical(
    radius: float, theta: Float[np.ndarray, " views"], phi: Float[np.ndarray, " views"]
) -> Float[np.ndarray, "views 3"]:
    """Points at an angle theta from z and phi from x."""
    return radius * np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1)


def look_at_origin(position: Float[np.ndarray, "views 3"]) -> tuple[np.ndarray, np.ndarray]:
    """The position again, and the right, up and forward axes (views, 3, 3) of a lens that looks at the origin from there."""
    forward = -position / np.linalg.norm(position, axis=-1, keepdims=True)
    helper = np.where(np.abs(forward[:, 2:]) < 0.999, [[0.0, 0.0, 1.0]], [[0.0, 1.0, 0.0]])
    right = np.cross(forward, helper)
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    return position, np.stack([right, np.cross(right, forward), forward], -2)


def euler_matrices(angles: Float[np.ndarray, "views 3"]) -> Float[np.ndarray, "views 3 3"]:
    """R_z(c) R_y(b) R_x(a): turns about the fixed axes x, y, z in this order."""
    matrix = np.broadcast_to(np.eye(3), (len(angles), 3, 3))
    for axis in range(3):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = np.broadcast_to(np.eye(3), (len(angles), 3, 3)).copy()
        turn[:, i, i] = turn[:, j, j] = np.cos(angles[:, axis])
        turn[:, j, i] = np.sin(angles[:, axis])
        turn[:, i, j] = -turn[:, j, i]
        matrix = turn @ matrix
    return matrix


def hue_to_rgb(hue: Float[np.ndarray, " views"], saturation: float, value: float) -> Float[np.ndarray, "views 3"]:
    """HSV colours as RGB."""
    place = np.abs((6 * hue[:, None] + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
    return value * (1 - saturation + saturation * np.clip(place, 0, 1))


def encode_srgb(radiance: Float32[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """Linear light to the values that a picture stores, from 0 to 1."""
    light = np.clip(radiance, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-6) ** np.float32(1 / 2.4) - 0.055)

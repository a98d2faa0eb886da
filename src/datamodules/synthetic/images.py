"""Procedural pictures for the miniatures of image benchmarks: a textured shape in front of a cluttered background.

A class is a shape and a texture; colours, place, size, tilt, background, clutter and noise say nothing about it, so that a
linear model on pixels learns little. Shapes stand nearly upright, and no class is another one turned: a test on turned
pictures has one right answer, and only an invariant model finds it.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float32, Int, UInt8

# corners (64 is round), depth of the notches of a star, radius of the hole, height over width
SHAPES = (
    (64, 0.0, 0.0, 1.0),
    (3, 0.0, 0.0, 1.0),
    (4, 0.0, 0.0, 1.0),
    (5, 0.6, 0.0, 1.0),
    (64, 0.0, 0.55, 1.0),
    (3, 0.0, 0.5, 1.0),
    (4, 0.0, 0.55, 1.0),
    (64, 0.0, 0.0, 0.5),
    (4, 0.0, 0.0, 0.45),
    (3, 0.6, 0.0, 1.0),
    (4, 0.6, 0.0, 1.0),
    (6, 0.5, 0.0, 1.0),
    (8, 0.5, 0.0, 1.0),
    (5, 0.0, 0.0, 1.0),
    (64, 0.0, 0.55, 0.55),
    (4, 0.0, 0.55, 0.5),
    (3, 0.0, 0.0, 0.5),
    (4, 0.6, 0.0, 0.5),
    (6, 0.5, 0.45, 1.0),
    (5, 0.0, 0.55, 1.0),
)
NOISE = 0.02
CLUTTER = 5
"""Discs strewn over the background."""
CHUNK = 500
"""Pictures drawn at once, to bound the memory."""


def stripes(x: np.ndarray, y: np.ndarray, frequency: np.ndarray, phase: np.ndarray) -> np.ndarray:
    return np.sin(frequency * y + phase)


def dots(x: np.ndarray, y: np.ndarray, frequency: np.ndarray, phase: np.ndarray) -> np.ndarray:
    return np.minimum(np.sin(frequency * x + phase), np.sin(frequency * y + phase)) + 0.3


def solid(x: np.ndarray, y: np.ndarray, frequency: np.ndarray, phase: np.ndarray) -> np.ndarray:
    return np.ones_like(x)


def checks(x: np.ndarray, y: np.ndarray, frequency: np.ndarray, phase: np.ndarray) -> np.ndarray:
    return 2 * np.sin(frequency * x + phase) * np.sin(frequency * y + phase)


def rings(x: np.ndarray, y: np.ndarray, frequency: np.ndarray, phase: np.ndarray) -> np.ndarray:
    return np.sin(frequency * np.hypot(x, y) + phase)


TEXTURES: tuple[Callable[..., np.ndarray], ...] = (stripes, dots, solid, checks, rings)
"""Each takes x, y, a frequency and a phase, and gives a value between about -1 and 1."""


def classified(
    count: int, classes: int, textures: int, channels: int, size: int, seed: int
) -> tuple[UInt8[np.ndarray, "images channels size size"], Int[np.ndarray, " images"]]:
    """Pictures in random order, as many of each class, and their labels.

    Class k has shape k // textures and texture k % textures.
    """
    labels = np.random.default_rng(seed).permutation(np.arange(count) % classes)
    return draw(labels // textures, labels % textures, channels, size, (seed,)), labels


def draw(
    shape: Int[np.ndarray, " images"],
    texture: Int[np.ndarray, " images"],
    channels: int,
    size: int,
    seed: Sequence[int],
) -> UInt8[np.ndarray, "images channels size size"]:
    """One picture for each pair of a shape and a texture (positions in SHAPES and TEXTURES).

    Args:
        shape, texture: what to draw.
        channels: 3 for colour, 1 for grey.
        size: height and width in pixels.
        seed: words that fix everything else.
    """
    pieces = []
    for start in range(0, len(shape), CHUNK):
        part, rng = slice(start, start + CHUNK), np.random.default_rng([*seed, start])
        pieces.append(draw_chunk(shape[part], texture[part], channels, size, rng))
    return np.concatenate(pieces)


def draw_chunk(
    shape: Int[np.ndarray, " images"],
    texture: Int[np.ndarray, " images"],
    channels: int,
    size: int,
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "images channels size size"]:
    count = len(shape)
    x, y = local_coordinates(count, size, rng)
    inside = smooth_step(depth_inside(shape, x, y), size / 4)
    first = uniform(rng, 0.0, 1.0, count, channels)
    second = np.mod(first + 0.35, 1)  # the colours of the texture, a third of the range apart
    figure = mix(first, second, smooth_step(waves(texture, x, y, rng), 0.9))
    picture = mix(background(count, channels, size, rng), figure, inside)
    picture += NOISE * rng.standard_normal(picture.shape, dtype=np.float32)
    return np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)


def local_coordinates(count: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """x and y (images, size, size) of every pixel in the frame of the shape, which has a radius of 1 there."""
    v, u = grid(size)
    angle = np.float32(np.deg2rad(8)) * rng.standard_normal((count, 1, 1), dtype=np.float32)
    radius = uniform(rng, 0.45, 0.8, count)
    u, v = (u - uniform(rng, -0.3, 0.3, count)) / radius, (v - uniform(rng, -0.3, 0.3, count)) / radius
    return np.cos(angle) * u + np.sin(angle) * v, np.cos(angle) * v - np.sin(angle) * u


def depth_inside(
    shape: Int[np.ndarray, " images"], x: np.ndarray, y: np.ndarray
) -> Float32[np.ndarray, "images height width"]:
    """How far a point lies within the outline and outside the hole, along its radius; negative elsewhere."""
    corners, notch, hole, height = np.array(SHAPES, dtype=np.float32)[shape].T[:, :, None, None]
    y = y / height
    half = np.float32(np.pi) / corners
    off = np.abs(np.mod(np.arctan2(x, -y), 2 * half) - half)  # the angle from the middle of a side, a corner up
    star, polygon = 1 - notch * (1 - off / half), np.cos(half) / np.cos(off)
    outline = np.where(notch > 0, star, polygon)
    radius = np.hypot(x, y)
    return np.minimum(outline - radius, np.where(hole > 0, radius - hole * outline, np.float32(np.inf)))


def waves(
    texture: Int[np.ndarray, " images"], x: np.ndarray, y: np.ndarray, rng: np.random.Generator
) -> Float32[np.ndarray, "images height width"]:
    """The texture's value at every pixel."""
    frequency, phase = uniform(rng, 6.0, 9.0, len(texture)), uniform(rng, 0.0, 2 * np.pi, len(texture))
    values = np.empty_like(x)
    for number, pattern in enumerate(TEXTURES):
        rows = texture == number
        values[rows] = pattern(x[rows], y[rows], frequency[rows], phase[rows])
    return values


def background(
    count: int, channels: int, size: int, rng: np.random.Generator
) -> Float32[np.ndarray, "images channels size size"]:
    """Two colours that run into one another, with discs on top."""
    v, u = grid(size)
    wave = np.zeros((count, size, size), dtype=np.float32)
    for _ in range(4):
        angle = uniform(rng, -4.0, 4.0, count) * u + uniform(rng, -4.0, 4.0, count) * v + uniform(rng, 0.0, 7.0, count)
        wave += uniform(rng, 0.2, 0.6, count) * np.sin(angle)
    picture = mix(
        uniform(rng, 0.0, 1.0, count, channels), uniform(rng, 0.0, 1.0, count, channels), smooth_step(wave, 1.0)
    )
    for _ in range(CLUTTER):
        distance = np.hypot(u - uniform(rng, -1.0, 1.0, count), v - uniform(rng, -1.0, 1.0, count))
        disc = smooth_step(uniform(rng, 0.1, 0.3, count) - distance, size / 2)
        picture = mix(picture, uniform(rng, 0.0, 1.0, count, channels), disc)
    return picture


def uniform(rng: np.random.Generator, low: float, high: float, count: int, *more: int) -> np.ndarray:
    """A number for each picture (and channel), with two axes of one for height and width."""
    return np.float32(low) + np.float32(high - low) * rng.random((count, *more, 1, 1), dtype=np.float32)


def smooth_step(value: np.ndarray, slope: float) -> np.ndarray:
    """From 0 to 1 around zero, so that edges are not made of steps."""
    return np.clip(0.5 + np.float32(slope) * value, 0, 1)


def mix(below: np.ndarray, above: np.ndarray, share: Float32[np.ndarray, "images height width"]) -> np.ndarray:
    """`above` where the share is 1, `below` where it is 0."""
    return below + share[:, None] * (above - below)


def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """v (down) and u (right) of the pixels' centres, from -1 to 1."""
    centres = ((np.arange(size, dtype=np.float32) + 0.5) * 2 / size - 1).astype(np.float32)
    v, u = np.meshgrid(centres, centres, indexing="ij")
    return v, u

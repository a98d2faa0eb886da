"""Parametric vehicles, vessels, instruments and other things, for the miniature's classes: z upright, front at -y."""

import numpy as np

from ..files.off import Mesh
from .cad_parts import Draw, block, box, cylinder, ellipsoid, joined, lathe, moved, pipe, prism, turned, vessel


def airplane(d: Draw) -> list[Mesh]:
    length, radius, span = d.between(1.6, 2.4), d.between(0.09, 0.18), d.between(1.4, 2.6)
    chord, sweep, height = d.between(0.2, 0.45), d.between(0.0, 0.6), radius * d.between(-0.6, 0.6)
    parts = [ellipsoid((0, 0, 0), (radius, length / 2, radius))]
    for side in (-1, 1):
        wing = [(0, -chord / 2), (side * span / 2, sweep), (side * span / 2, sweep + chord * 0.4), (0, chord / 2)]
        parts.append(moved(prism(wing[::side], -0.02, 0.02), (0, 0, height)))
        small = [(0, -0.1), (side * span * 0.2, 0.1), (side * span * 0.2, 0.2), (0, 0.1)]
        parts.append(moved(prism(small[::side], -0.015, 0.015), (0, length * 0.43, 0)))
        if d.chance(0.6):
            parts.append(
                ellipsoid((side * span * d.between(0.12, 0.3), 0, height - 0.1), (0.06, d.between(0.12, 0.25), 0.06))
            )
    fin = d.between(0.25, 0.5)
    outline = [(length * 0.33, 0), (length * 0.48, 0), (length * 0.5, fin), (length * 0.43, fin)]
    parts.append(prism(outline, -0.015, 0.015, "x"))
    return parts


def bottle(d: Draw) -> list[Mesh]:
    radius, height = d.between(0.1, 0.2), d.between(0.5, 0.9)
    neck, shoulder, top = radius * d.between(0.25, 0.6), height * d.between(0.5, 0.75), d.between(0.02, 0.1)
    profile = [(0, 0), (radius, 0), (radius, shoulder), (neck, shoulder + (height - shoulder) * d.between(0.3, 0.7))]
    parts = [lathe([*profile, (neck, height), (0, height)])]
    parts.append(cylinder(neck * d.between(1.0, 1.3), height, height + top))
    if d.chance(0.25):
        parts.append(pipe((radius, 0, shoulder * 0.3), (radius * 1.5, 0, shoulder * 0.6), 0.02))
        parts.append(pipe((radius * 1.5, 0, shoulder * 0.6), (radius, 0, shoulder * 0.9), 0.02))
    return parts


def bowl(d: Draw) -> list[Mesh]:
    radius, height, foot = d.between(0.3, 0.5), d.between(0.15, 0.35), d.between(0.3, 0.6)
    curve = d.between(0.4, 0.8)
    profile = [(radius * (foot + (1 - foot) * t**curve), height * t) for t in np.linspace(0, 1, 6).tolist()]
    return [vessel(profile, d.between(0.015, 0.04)), cylinder(radius * foot * 0.9, -d.between(0.01, 0.08), 0)]


def cup(d: Draw) -> list[Mesh]:
    radius, height, taper = d.between(0.15, 0.25), d.between(0.22, 0.42), d.between(0.65, 1.0)
    parts = [vessel([(radius * taper, 0), (radius, height)], 0.02)]
    reach, z0, z1 = d.between(0.08, 0.15), height * d.between(0.15, 0.35), height * d.between(0.65, 0.85)
    if d.chance(0.7):
        corner = [(radius * 0.95, 0, z0), (radius + reach, 0, z0), (radius + reach, 0, z1), (radius * 0.95, 0, z1)]
        parts += [pipe(a, b, 0.02) for a, b in zip(corner, corner[1:], strict=False)]
    if d.chance(0.3):
        parts.append(cylinder(radius * d.between(1.3, 1.8), -0.03, 0))
    return parts


def flower_pot(d: Draw) -> list[Mesh]:
    radius, height, taper = d.between(0.18, 0.3), d.between(0.25, 0.5), d.between(0.5, 0.85)
    parts = [vessel([(radius * taper, 0), (radius, height)], 0.03)]
    parts += foliage(d, height, d.between(0.2, 0.7), d.between(0.05, 0.25)) if d.chance(0.7) else []
    parts.append(
        lathe([(radius * 0.9, height * 0.85), (radius * 1.1, height * 0.85), (radius * 1.1, height), (radius, height)])
    )
    return parts


def plant(d: Draw) -> list[Mesh]:
    radius, height, taper = d.between(0.12, 0.25), d.between(0.15, 0.45), d.between(0.55, 0.9)
    leaves = foliage(d, height, d.between(0.5, 1.4), d.between(0.2, 0.6))
    return [leaves[0], vessel([(radius * taper, 0), (radius, height)], 0.03), *leaves[1:]]


def foliage(d: Draw, base: float, height: float, spread: float) -> list[Mesh]:
    """A stem with leaves around it."""
    parts = [pipe((0, 0, base * 0.5), (0, 0, base + height * 0.6), 0.015)]
    for _ in range(d.count(5, 12)):
        angle, z = d.rng.uniform(0, 360), base + height * d.rng.uniform(0.2, 1.0)
        leaf = ellipsoid((spread * 0.6, 0, z), (spread * 0.55, 0.07, 0.02))
        parts.append(turned(turned(leaf, "y", -d.rng.uniform(0, 60), (0, 0, z)), "z", angle))
    return parts


def vase(d: Draw) -> list[Mesh]:
    radius, height = d.between(0.12, 0.25), d.between(0.4, 0.8)
    foot, neck, lip, belly = d.between(0.4, 0.8), d.between(0.3, 0.8), d.between(0.5, 1.1), d.between(0.3, 0.65)
    heights = np.array([0, belly / 2, belly, (1 + belly) / 2, 0.93, 1]) * height
    widths = np.array([foot, (1 + foot) / 2 + 0.1, 1, (1 + neck) / 2, neck, lip]) * radius
    parts = [vessel(list(zip(widths.tolist(), heights.tolist(), strict=True)), 0.02)]
    if d.chance(0.25):
        parts += foliage(d, height, d.between(0.1, 0.4), d.between(0.05, 0.2))
    return parts


def cone(d: Draw) -> list[Mesh]:
    radius, height, tip = d.between(0.15, 0.35), d.between(0.4, 0.9), d.between(0.0, 0.3)
    parts = [lathe([(0, 0), (radius, 0), (radius * tip, height), (0, height)])]
    if d.chance(0.6):
        side = radius * d.between(1.0, 1.5)
        parts.append(block(2 * side, 2 * side, -0.05, 0) if d.chance(0.5) else cylinder(side, -0.05, 0))
    return parts


def lamp(d: Draw) -> list[Mesh]:
    height, foot = d.between(0.5, 1.8), d.between(0.12, 0.25)
    wide, narrow, tall = d.between(0.15, 0.32), d.between(0.3, 1.0), d.between(0.2, 0.4)
    shade = lathe([(wide, height - tall / 2), (wide * narrow, height + tall / 2)])
    if d.chance(0.3):
        arm = d.between(0.2, 0.5)
        parts = [moved(turned(shade, "y", d.between(20, 70), (0, 0, height)), (arm, 0, 0))]
        parts.append(pipe((0, 0, height * 0.8), (arm, 0, height), 0.02))
        height *= 0.8
    else:
        parts = [shade]
    return [*parts, pipe((0, 0, 0), (0, 0, height), d.between(0.015, 0.05)), cylinder(foot, 0, d.between(0.02, 0.1))]


def tent(d: Draw) -> list[Mesh]:
    width, length, height = d.between(1.2, 2.2), d.between(1.4, 2.6), d.between(0.8, 1.5)
    if d.chance(0.5):
        half = width / 2
        slopes = [(half, 0, 0), (-half, 0, 0)]
        parts = []
        for x, _, _ in slopes:
            outline = [(0, x), (0.03, x), (height, 0.02), (height, -0.02)]
            parts.append(prism(outline[:: 1 if x < 0 else -1], -length / 2, length / 2, "y"))
        if d.chance(0.5):
            parts.append(prism([(0, -half), (0, half), (height, 0)], length / 2, length / 2 + 0.02, "y"))
        return parts
    arch = np.linspace(0, np.pi / 2, 6)
    vertices, triangles = lathe([(np.cos(a), np.sin(a)) for a in arch.tolist()], d.count(4, 8))
    dome = Mesh(vertices * (width / 2, length / 2, height), triangles)
    porch = d.between(0.2, 0.5)
    return [dome, box((-porch, -length / 2 - porch, 0), (porch, -length / 2 + 0.2, porch * 1.5))]


def car(d: Draw) -> list[Mesh]:
    length, width, body = d.between(3.2, 4.8), d.between(1.5, 1.9), d.between(0.5, 0.8)
    cabin, roof, wheel = d.between(0.3, 0.65) * length, d.between(0.4, 0.8), d.between(0.28, 0.42)
    shift, rake = d.between(-0.15, 0.2) * length, d.between(0.1, 0.5)
    base, top = wheel * 0.8, wheel * 0.8 + body
    parts = [block(width, length, base, top)]
    outline = [(shift - cabin / 2, top), (shift + cabin / 2, top)]
    outline += [(shift + cabin / 2 - rake, top + roof), (shift - cabin / 2 + rake, top + roof)]
    parts.append(prism(outline, -width * 0.45, width * 0.45, "x"))
    for side in (-1, 1):
        for end in (-1, 1):
            x, y = side * width / 2, end * length * d.between(0.28, 0.36)
            parts.append(pipe((x - 0.1, y, wheel), (x + 0.1, y, wheel), wheel))
    return parts


def guitar(d: Draw) -> list[Mesh]:
    lower, upper, waist = d.between(0.17, 0.25), d.between(0.12, 0.19), d.between(0.6, 0.9)
    depth, neck = d.between(0.04, 0.12), d.between(0.45, 0.7)
    heights = np.linspace(0, 0.5, 11)
    width = np.where(heights < 0.25, lower, upper) * (1 - (1 - waist) * np.exp(-(((heights - 0.27) / 0.06) ** 2)))
    width *= np.sqrt(np.clip(1 - ((heights - 0.25) / 0.27) ** 2, 0.05, 1))
    right = list(zip(heights.tolist(), width.tolist(), strict=True))
    parts = [prism([*((z, -x) for z, x in right[::-1]), *right][::-1], -depth / 2, depth / 2, "y")]
    parts.append(block(0.06, 0.03, 0.45, 0.5 + neck, y=-depth / 2))
    parts.append(block(d.between(0.08, 0.14), 0.03, 0.5 + neck, 0.5 + neck + d.between(0.1, 0.18), y=-depth / 2))
    if d.chance(0.5):
        parts.append(block(0.12, 0.02, 0.1, 0.14, y=-depth / 2))
    tilt = d.between(0, 25)
    return [turned(part, "y", tilt) for part in parts]


def keyboard(d: Draw) -> list[Mesh]:
    width, depth, height = d.between(0.4, 0.6), d.between(0.12, 0.24), d.between(0.01, 0.04)
    parts = [block(width, depth, 0, height)]
    rows, columns = d.count(1, 5), d.count(10, 16)
    for row in range(rows):
        for column in range(columns):
            x, y = ((column + 0.5) / columns - 0.5) * width * 0.94, ((row + 0.5) / rows - 0.5) * depth * 0.85
            parts.append(block(width / columns * 0.7, depth / rows * 0.7, height, height * 1.4 + 0.004, x=x, y=y))
    return [turned(part, "x", d.between(0, 8)) for part in parts]


def laptop(d: Draw) -> list[Mesh]:
    width, depth, thick = d.between(0.3, 0.42), d.between(0.2, 0.3), d.between(0.01, 0.03)
    screen = block(width, thick, 0, depth * d.between(0.85, 1.05), y=depth / 2)
    opened = turned(screen, "x", -d.between(-25, 50), (0, depth / 2, 0))
    parts = [joined([block(width, depth, -thick, 0), opened])]  # either alone would be something else
    if d.chance(0.5):
        parts.append(block(width * 0.3, depth * 0.25, 0, 0.006, y=-depth * 0.3))
    return parts


def monitor(d: Draw) -> list[Mesh]:
    width, height, thick = d.between(0.4, 0.75), d.between(0.28, 0.48), d.between(0.02, 0.3)
    stand, foot = d.between(0.05, 0.25), d.between(0.15, 0.35)
    parts = [block(width, 0.04, stand, stand + height)]
    parts.append(block(width * 0.7, thick, stand + height * 0.15, stand + height * 0.85, y=thick / 2))
    parts.append(block(d.between(0.04, 0.12), 0.05, 0, stand + 0.1, y=0.04))
    parts.append(cylinder(foot / 2, -0.02, 0) if d.chance(0.4) else block(foot, foot * 0.7, -0.02, 0))
    return parts


def person(d: Draw) -> list[Mesh]:
    height, shoulder = d.between(1.5, 1.9), d.between(0.18, 0.26)
    hip, neck = height * d.between(0.44, 0.52), height * 0.82
    parts = [lathe([(0, hip), (shoulder * 0.75, hip), (shoulder, neck * 0.95), (0.05, neck), (0, neck)])]
    parts.append(ellipsoid((0, 0, height * 0.91), (0.09, 0.1, 0.13)))
    sitting, lift = d.chance(0.25), d.between(5, 80)
    for side in (-1, 1):
        x = side * shoulder * 0.5
        if sitting:
            parts += [pipe((x, 0, hip), (x, -0.45, hip), 0.08), pipe((x, -0.45, hip), (x, -0.45, 0.05), 0.07, 0.05)]
        else:
            parts.append(pipe((x, 0, hip), (x + side * d.between(0, 0.2), d.rng.normal(0, 0.12), 0), 0.09, 0.05))
        arm = pipe((side * shoulder, 0, neck * 0.95), (side * shoulder, 0, neck * 0.95 - 0.6), 0.05, 0.04)
        parts.append(turned(arm, "y", -side * lift, (side * shoulder, 0, neck * 0.95)))
    return parts


def piano(d: Draw) -> list[Mesh]:
    width, depth, keys = d.between(1.3, 1.6), d.between(0.5, 0.7), d.between(0.65, 0.75)
    if d.chance(0.6):
        parts = [
            block(width, depth * 0.5, 0, d.between(1.0, 1.4), y=depth * 0.25),
            block(width, depth, keys, keys + 0.1),
        ]
        return [*parts, *(block(0.07, 0.07, 0, keys, x=s * width / 2.1, y=-depth / 2.2) for s in (-1, 1))]
    length = d.between(1.3, 2.2)
    outline = [(-width / 2, 0), (width / 2, 0), (width / 2, length * 0.3), (0.0, length * 0.75), (-width / 3, length)]
    outline.append((-width / 2, length * 0.95))
    parts = [prism(outline, keys, keys + 0.25)]
    places = [(-width / 2.3, 0.1), (width / 2.3, 0.1), (-width / 4, length * 0.85)]
    parts += [cylinder(0.06, 0, keys, x, y) for x, y in places]
    parts.append(block(width, 0.25, keys - 0.05, keys + 0.05, y=-0.12))
    if d.chance(0.5):
        lid = moved(prism(outline, 0, 0.03), (0, 0, keys + 0.25))
        parts.append(turned(lid, "y", d.between(15, 40), (-width / 2, 0, keys + 0.25)))
    return parts


def radio(d: Draw) -> list[Mesh]:
    width, depth, height = d.between(0.25, 0.5), d.between(0.08, 0.2), d.between(0.14, 0.32)
    parts = [block(width, depth, 0, height)]
    for side in (-1, 1):
        if d.chance(0.7):
            radius = min(width / 5, height / 3)
            parts.append(
                pipe(
                    (side * width / 4, -depth / 2, height / 2),
                    (side * width / 4, -depth / 2 - 0.02, height / 2),
                    radius,
                )
            )
    if d.chance(0.6):
        antenna = pipe((width * 0.4, 0, height), (width * 0.4, 0, height + d.between(0.1, 0.35)), 0.008)
        parts.append(turned(antenna, "y", d.between(-40, 40), (width * 0.4, 0, height)))
    if d.chance(0.4):
        parts += [block(0.02, 0.02, height, height + 0.06, x=s * width / 3) for s in (-1, 1)]
        parts.append(block(width * 0.72, 0.02, height + 0.06, height + 0.08))
    return parts


def xbox(d: Draw) -> list[Mesh]:
    width, depth, height = d.between(0.25, 0.38), d.between(0.2, 0.32), d.between(0.05, 0.12)
    parts = [block(width, depth, 0, height)]
    if d.chance(0.6):
        parts.append(block(width * d.between(0.7, 0.9), depth * 0.85, height, height + d.between(0.01, 0.03)))
    parts.append(block(width * 0.5, 0.02, height * 0.3, height * 0.6, y=-depth / 2))
    if d.chance(0.3):
        parts = [turned(part, "y", 90) for part in parts]
    if d.chance(0.4):
        parts.append(ellipsoid((width * d.between(0.8, 1.2), 0, 0.03), (0.07, 0.05, 0.03)))
    return parts

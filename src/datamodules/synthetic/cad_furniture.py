"""Parametric furniture and fittings, for the miniature's classes: width along x, depth along y (front at -y), z upright.

Each function returns the parts of one shape; the first part is never left out.
"""

from ..files.off import Mesh
from .cad_parts import Draw, block, box, cylinder, ellipsoid, joined, lathe, legs, moved, pipe, prism, turned, vessel


def chest(width: float, depth: float, height: float, columns: int, rows: int, knob: float) -> list[Mesh]:
    """A box with a front of drawers or doors, each with a knob; what dressers, night stands and wardrobes share."""
    parts = [block(width, depth, 0, height)]
    gap = 0.02 * height
    for column in range(columns):
        for row in range(rows):
            x0, z0 = -width / 2 + column * width / columns, row * height / rows
            x1, z1 = x0 + width / columns, z0 + height / rows
            parts.append(box((x0 + gap, -depth / 2 - 0.06, z0 + gap), (x1 - gap, -depth / 2, z1 - gap)))
            parts.append(ellipsoid(((x0 + x1) / 2, -depth / 2 - 0.06, (z0 + z1) / 2), (knob, knob, knob)))
    return parts


def bathtub(d: Draw) -> list[Mesh]:
    length, width, height, wall = d.between(1.4, 2.2), d.between(0.6, 1.0), d.between(0.4, 0.8), d.between(0.05, 0.1)
    parts = [
        block(length, width, 0, height * 0.15),
        *(block(wall, width, 0, height, x=side * (length - wall) / 2) for side in (-1, 1)),
        *(block(length, wall, 0, height, y=side * (width - wall) / 2) for side in (-1, 1)),
    ]
    if d.chance(0.5):
        parts.append(pipe((length / 2 - wall, 0, height), (length / 2 - wall, 0, height * d.between(1.2, 1.5)), 0.03))
    return parts


def bed(d: Draw) -> list[Mesh]:
    length, width, height = d.between(1.8, 2.3), d.between(0.9, 2.0), d.between(0.3, 0.6)
    thick = d.between(0.12, 0.3)
    parts = [
        block(width, length, height, height + thick),
        block(width, 0.06, 0, height + thick + d.between(0.15, 0.8), y=length / 2),
        *legs(width, length, height, d.between(0.06, 0.14), d.chance(0.3)),
    ]
    if d.chance(0.5):
        parts.append(block(width, 0.06, 0, height + thick + d.between(0.0, 0.3), y=-length / 2))
    pillow = d.between(0.25, 0.45)
    places, y = ((-width / 4, width / 4) if width > 1.3 else (0.0,)), length / 2 - 0.1 - pillow / 2
    return [*parts, *(block(0.6, pillow, height + thick, height + thick + 0.12, x, y) for x in places)]


def bench(d: Draw) -> list[Mesh]:
    width, depth, height = d.between(1.2, 2.2), d.between(0.35, 0.6), d.between(0.4, 0.55)
    parts = [block(width, depth, height, height + d.between(0.04, 0.1))]
    if d.chance(0.5):
        parts += [block(0.08, depth, 0, height, x=side * (width / 2 - d.between(0.1, 0.3))) for side in (-1, 1)]
    else:
        parts += legs(width, depth, height, d.between(0.05, 0.1), False)
    if d.chance(0.6):
        back = d.between(0.3, 0.6)
        parts += [block(width, 0.05, height + z * back, height + (z + 0.22) * back, y=depth / 2) for z in (0.3, 0.75)]
        parts += [block(0.05, 0.05, height, height + back, x=side * width / 2.2, y=depth / 2) for side in (-1, 1)]
    return parts


def bookshelf(d: Draw) -> list[Mesh]:
    width, depth, height, board = d.between(0.6, 1.6), d.between(0.25, 0.5), d.between(1.3, 2.3), 0.05
    boards = d.count(3, 6)
    parts = [block(board, depth, 0, height, x=side * width / 2) for side in (-1, 1)]
    parts += [block(width, depth, z * height / boards, z * height / boards + board) for z in range(boards + 1)]
    if d.chance(0.5):
        parts.append(block(width, 0.03, 0, height, y=depth / 2))
    return parts


def chair(d: Draw) -> list[Mesh]:
    width, depth, height, thick = d.between(0.4, 0.6), d.between(0.4, 0.6), d.between(0.38, 0.55), d.between(0.03, 0.1)
    seat, back = height + thick, d.between(0.35, 0.75)
    parts = [block(width, depth, height, seat)]
    if d.chance(0.25):
        parts += [cylinder(0.04, 0.05, height), *(turned(block(width, 0.06, 0, 0.05), "z", a) for a in (0, 60, 120))]
    else:
        parts += legs(width, depth, height, d.between(0.03, 0.07), d.chance(0.4))
    lean = d.between(0, 15)
    if d.chance(0.5):
        rest = [block(width, 0.04, seat, seat + back, y=depth / 2)]
    else:
        rest = [block(0.05, 0.04, seat, seat + back, x=x * width / 2.3, y=depth / 2) for x in (-1, -0.33, 0.33, 1)]
        rest.append(block(width, 0.04, seat + back * 0.8, seat + back, y=depth / 2))
    parts += [turned(part, "x", -lean, (0, depth / 2, seat)) for part in rest]
    if d.chance(0.35):
        arm = seat + d.between(0.15, 0.28)
        parts += [block(0.05, depth, arm, arm + 0.04, x=side * width / 2) for side in (-1, 1)]
        parts += [block(0.05, 0.05, seat, arm, x=side * width / 2, y=-depth / 2.3) for side in (-1, 1)]
    return parts


def curtain(d: Draw) -> list[Mesh]:
    height, panels = d.between(1.8, 2.6), d.count(1, 2)
    folds, amplitude, width = d.count(4, 9), d.between(0.03, 0.1), d.between(0.5, 0.9)
    parts = []
    for panel in range(panels):
        x0 = (panel - (panels - 1) / 2) * (width + d.between(0.05, 0.6))
        for fold in range(folds):
            x = x0 - width / 2 + (fold + 0.5) * width / folds
            sway = amplitude if fold % 2 else -amplitude
            slat = block(width / folds * 1.2, 0.02, 0, height, x=x)
            parts.append(turned(slat, "z", 600 * sway, (x, 0, 0)))
    reach = 0.7 * panels * width + 0.3
    parts.append(pipe((-reach, 0, height), (reach, 0, height), 0.03))
    return parts


def desk(d: Draw) -> list[Mesh]:
    width, depth, height = d.between(1.1, 1.9), d.between(0.55, 0.9), d.between(0.65, 0.8)
    parts = [block(width, depth, height, height + d.between(0.03, 0.07))]
    drawers = d.between(0.3, 0.45)
    sides = [s for s in (-1, 1) if d.chance(0.75)] or [1]
    parts += [block(drawers, depth * 0.9, 0.05, height, x=s * (width - drawers) / 2) for s in sides]
    parts += [block(0.05, depth * 0.9, 0, height, x=s * (width / 2 - 0.03)) for s in (-1, 1) if s not in sides]
    if d.chance(0.6):
        parts.append(block(width, 0.03, d.between(0.1, 0.4), height, y=depth / 2 - 0.05))
    if d.chance(0.3):
        parts.append(block(width, 0.25, height + 0.3, height + d.between(0.35, 0.6), y=depth / 2 - 0.12))
    return parts


def door(d: Draw) -> list[Mesh]:
    width, height, thick = d.between(0.7, 1.1), d.between(1.9, 2.3), d.between(0.04, 0.12)
    frame = d.between(0.06, 0.14)
    parts = [block(width, thick, 0, height)]
    parts += [block(frame, thick * 2, 0, height + frame, x=side * (width + frame) / 2) for side in (-1, 1)]
    parts.append(block(width, thick * 2, height, height + frame))
    parts += [
        ellipsoid((width * 0.4, side * (thick / 2 + 0.05), height * 0.47), (0.05, 0.05, 0.05)) for side in (-1, 1)
    ]
    panels = d.count(0, 3)
    for panel in range(panels):
        z0, z1 = (panel + 0.15) * height / panels, (panel + 0.85) * height / panels
        parts.append(block(width * 0.7, thick + 0.05, z0, z1))
    return parts


def dresser(d: Draw) -> list[Mesh]:
    width, depth, height = d.between(0.9, 1.8), d.between(0.4, 0.6), d.between(0.7, 1.3)
    parts = chest(width, depth, height, d.count(1, 3), d.count(3, 5), 0.03)
    if d.chance(0.35):
        parts.append(block(width * 0.7, 0.04, height, height + d.between(0.4, 0.9), y=depth / 2 - 0.05))
    return parts


def night_stand(d: Draw) -> list[Mesh]:
    width, depth, height = d.between(0.4, 0.75), d.between(0.35, 0.55), d.between(0.45, 0.8)
    if d.chance(0.5):
        return chest(width, depth, height, 1, d.count(1, 3), 0.025)
    split = d.between(0.45, 0.75) * height
    drawer = [moved(part, (0, 0, split)) for part in chest(width, depth, height - split, 1, 1, 0.025)]
    return [*drawer, *legs(width, depth, split, d.between(0.03, 0.07), d.chance(0.3))]


def wardrobe(d: Draw) -> list[Mesh]:
    width, depth, height = d.between(0.9, 2.2), d.between(0.5, 0.75), d.between(1.6, 2.3)
    parts = chest(width, depth, height, d.count(2, 4), 1, 0.03)
    if d.chance(0.5):
        parts.append(block(width + 0.12, depth + 0.12, height, height + d.between(0.05, 0.15)))
    return parts


def tv_stand(d: Draw) -> list[Mesh]:
    width, depth, height, board = d.between(1.0, 1.9), d.between(0.4, 0.6), d.between(0.4, 0.75), d.between(0.03, 0.06)
    shelves = d.count(1, 2)
    parts = [block(width, depth, height - board, height)]
    parts += [block(board, depth, 0, height, x=side * (width - board) / 2) for side in (-1, 1)]
    parts += [
        block(width, depth, z * height / (shelves + 1), z * height / (shelves + 1) + board) for z in range(shelves + 1)
    ]
    for x in range(d.count(0, 2)):
        parts.append(block(board, depth, 0, height, x=(x - 0.5) * width / 3))
    if d.chance(0.4):
        parts.append(block(width / 3, depth, 0, height, x=width / 3))
    return parts


def glass_box(d: Draw) -> list[Mesh]:
    width, depth, height, wall = d.between(0.5, 1.5), d.between(0.5, 1.2), d.between(0.5, 1.4), 0.03
    base = d.between(0.05, 0.5)
    parts = [block(width, depth, 0, base)]
    parts += [block(wall, depth, base, base + height, x=side * width / 2) for side in (-1, 1)]
    parts += [block(width, wall, base, base + height, y=side * depth / 2) for side in (-1, 1)]
    if d.chance(0.6):
        parts.append(block(width, depth, base + height, base + height + wall))
    return parts


def mantel(d: Draw) -> list[Mesh]:
    width, height, depth = d.between(1.2, 2.0), d.between(1.0, 1.5), d.between(0.25, 0.5)
    leg, lintel = d.between(0.2, 0.4), d.between(0.2, 0.45)
    parts = [block(width, depth, height - lintel, height)]
    parts += [block(leg, depth, 0, height - lintel, x=side * (width - leg) / 2) for side in (-1, 1)]
    parts.append(block(width + d.between(0.1, 0.3), depth + 0.15, height, height + d.between(0.05, 0.12)))
    if d.chance(0.5):
        parts.append(block(width, 0.04, 0, height, y=depth / 2))
    if d.chance(0.5):
        parts.append(block(width + 0.1, depth + d.between(0.2, 0.5), -0.06, 0))
    return parts


def range_hood(d: Draw) -> list[Mesh]:
    width, depth, hood = d.between(0.6, 1.0), d.between(0.45, 0.65), d.between(0.15, 0.45)
    shaft, top = d.between(0.2, 0.35), d.between(0.7, 1.3)
    outline = [(-width / 2, 0), (width / 2, 0), (shaft / 2, hood), (-shaft / 2, hood)]
    parts = [prism([(z, x) for x, z in reversed(outline)], -depth / 2, depth / 2, "y")]
    if d.chance(0.4):
        parts = [block(width, depth, 0, hood * 0.5)]
    parts.append(block(shaft, shaft, hood * 0.5, top, y=depth / 4))
    parts.append(block(width, depth, -d.between(0.04, 0.1), 0))
    return parts


def sink(d: Draw) -> list[Mesh]:
    width, depth, bowl = d.between(0.5, 0.9), d.between(0.4, 0.6), d.between(0.15, 0.3)
    rim, top = d.between(0.04, 0.1), 0.9
    parts = [block(width, depth, top - bowl, top - bowl + 0.04)]
    parts += [block(rim, depth, top - bowl, top, x=side * (width - rim) / 2) for side in (-1, 1)]
    parts += [block(width, rim, top - bowl, top, y=side * (depth - rim) / 2) for side in (-1, 1)]
    spout = d.between(0.15, 0.35)
    parts.append(pipe((0, depth / 2 - rim / 2, top), (0, depth / 2 - rim / 2, top + spout), 0.025))
    parts.append(pipe((0, depth / 2 - rim / 2, top + spout), (0, depth / 2 - rim / 2 - 0.2, top + spout * 0.8), 0.025))
    if d.chance(0.4):
        parts.append(cylinder(d.between(0.08, 0.14), 0, top - bowl))
    elif d.chance(0.5):
        parts.append(block(width, depth, 0, top - bowl))
    return parts


def sofa(d: Draw) -> list[Mesh]:
    width, depth, seat = d.between(1.3, 2.4), d.between(0.75, 1.0), d.between(0.35, 0.5)
    arm, back = d.between(0.1, 0.28), d.between(0.3, 0.55)
    rest = block(width, d.between(0.15, 0.28), seat, seat + back, y=depth / 2 - 0.1)
    parts = [joined([block(width, depth, 0.08, seat), rest])]
    height = seat + d.between(0.1, 0.3)
    parts += [block(arm, depth, 0.05, height, x=side * (width + arm) / 2) for side in (-1, 1)]
    cushions = d.count(1, 3)
    for i in range(cushions):
        x = (i + 0.5) * width / cushions - width / 2
        parts.append(block(width / cushions * 0.94, depth * 0.7, seat, seat + 0.14, x=x, y=-depth * 0.12))
    if d.chance(0.2):
        parts.append(block(depth * 0.8, d.between(0.5, 0.9), 0.08, seat, x=-width / 2 + depth * 0.4, y=-depth * 0.9))
    return parts


def stairs(d: Draw) -> list[Mesh]:
    steps, rise, tread, width = d.count(4, 10), d.between(0.15, 0.2), d.between(0.22, 0.32), d.between(0.6, 1.2)
    solid = d.chance(0.5)
    parts = []
    for i in range(steps):
        bottom = 0 if solid else (i + 0.7) * rise
        parts.append(block(width, tread, bottom, (i + 1) * rise, y=i * tread))
    for side in (-1, 1):
        if d.chance(0.5):
            x, y0, y1 = side * width / 2, 0, (steps - 1) * tread
            parts.append(pipe((x, y0, rise + 0.8), (x, y1, steps * rise + 0.8), 0.03))
            parts += [pipe((x, y, z), (x, y, z + 0.8), 0.02) for y, z in ((y0, rise), (y1, steps * rise))]
    return parts


def stool(d: Draw) -> list[Mesh]:
    radius, height, thick = d.between(0.15, 0.25), d.between(0.4, 0.85), d.between(0.03, 0.12)
    parts = [cylinder(radius, height, height + thick)]
    if d.chance(0.4):
        parts = [block(2 * radius, 2 * radius, height, height + thick)]
    if d.chance(0.3):
        return [*parts, cylinder(0.03, 0.03, height), cylinder(radius * d.between(0.8, 1.3), 0, 0.03)]
    spread = d.between(0.9, 1.4)
    feet = [(sx * radius * 0.6, sy * radius * 0.6) for sx in (-1, 1) for sy in (-1, 1)]
    parts += [pipe((x * spread, y * spread, 0), (x, y, height), 0.02) for x, y in feet]
    if d.chance(0.5):
        z = d.between(0.2, 0.5) * height
        parts += [
            pipe((-radius * 0.7, s * radius * 0.7, z), (radius * 0.7, s * radius * 0.7, z), 0.015) for s in (-1, 1)
        ]
    return parts


def table(d: Draw) -> list[Mesh]:
    width, depth, height, thick = d.between(0.8, 2.0), d.between(0.7, 1.1), d.between(0.35, 0.8), d.between(0.03, 0.08)
    if d.chance(0.35):
        top = [cylinder(depth / 2, height, height + thick)]
        width = depth
    else:
        top = [block(width, depth, height, height + thick)]
    if d.chance(0.3):
        foot = d.between(0.2, 0.35)
        return [*top, cylinder(d.between(0.04, 0.1), 0, height), cylinder(foot, 0, 0.04)]
    inset = 0.15 * depth if width == depth else 0.02
    parts = [*top, *legs(width, depth, height, d.between(0.04, 0.1), d.chance(0.4), inset)]
    if d.chance(0.3):
        parts.append(block(width * 0.8, depth * 0.8, height * 0.3, height * 0.3 + 0.03))
    return parts


def toilet(d: Draw) -> list[Mesh]:
    seat, radius = d.between(0.35, 0.45), d.between(0.17, 0.22)
    stretch = d.between(1.1, 1.5)
    profile = [(radius * d.between(0.45, 0.7), 0), (radius * 0.55, seat * 0.5), (radius, seat * 0.9), (radius, seat)]
    vertices, triangles = vessel(profile, 0.04)
    tank, back = d.between(0.3, 0.45), radius * stretch
    cistern = block(d.between(0.35, 0.5), d.between(0.14, 0.22), seat, seat + tank, y=back)
    parts = [joined([Mesh(vertices * (1, stretch, 1), triangles), cistern])]
    if d.chance(0.5):
        lid = lathe([(0, 0), (radius, 0), (radius, 0.03), (0, 0.03)])
        cover = moved(Mesh(lid.vertices * (1, stretch, 1), lid.triangles), (0, 0, seat))
        parts.append(turned(cover, "x", -d.between(70, 100), (0, back * 0.8, seat)) if d.chance(0.5) else cover)
    return parts

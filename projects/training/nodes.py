"""Paints Schmorl's nodes and their look-alikes into real slices.

The published volumes carry no node annotation, so the positives of the classifier are made here: pits through an
endplate, filled with disc-like signal. The look-alikes (wide concavity, Modic band, corner defect, vein, haemangioma,
thick plate) use the same brush, so that the brush itself says nothing about the class.
"""
import math
from dataclasses import dataclass, replace

import numpy as np

import data

SLAB_MM = 4.0
LEAST_DEPTH_MM = 2.2
"""A slice shows a node when the pit is at least this deep on it."""


@dataclass(frozen=True)
class Node:
    """The pit on one slice: all lengths in mm."""

    u: float
    width: float
    depth: float
    exponent: float
    """Outline: 1.4 pointed, 2 round, 4 flat-bottomed."""
    waves: tuple
    """(amplitude, number, phase) of the irregular outline."""
    lobe: tuple
    """(u, width, depth) of a second pit relative to the first, or ()."""
    mouth: float
    """How far the filling reaches out of the body into the disc."""
    softness: float


@dataclass(frozen=True)
class Filling:
    """Grey values of a pit, relative to the marrow (0..1 scale)."""

    kind: str
    """`disc` copies the neighbouring disc's level; `dark` and `bright` do not depend on it."""
    contrast: float
    grain: float
    rim: str
    rim_width: float
    rim_strength: float
    cover: float
    """Opacity of the filling: less than 1 for partial volume."""


def random_node(random, half_width):
    """Returns a node as it is on its central slice."""
    width, depth = random.uniform(5, 12), random.uniform(3, 8)
    depth = min(depth, 0.9 * width)
    reach = max(0.5, 0.8 * half_width - width / 2)
    lobe = ()
    if random.random() < 0.25:
        lobe = (random.choice([-1, 1]) * width * random.uniform(0.3, 0.5), width * random.uniform(0.4, 0.7),
                depth * random.uniform(0.5, 1.1))
    return Node(random.uniform(-reach, reach), width, depth, random.choice([1.4, 2.0, 2.0, 2.5, 4.0]),
                (random.uniform(0, 0.15), int(random.integers(2, 6)), random.uniform(0, 6.3)), lobe,
                random.uniform(1.0, 3.0), random.uniform(0.25, 0.9))


def random_filling(random):
    """Returns how a pit (or a look-alike made with the same brush) is filled."""
    return Filling(random.choice(["disc", "dark", "bright"], p=[0.7, 0.15, 0.15]), random.uniform(0.1, 0.3),
                   random.uniform(0.3, 1.0),
                   random.choice(["dark", "none", "bright", "halo"], p=[0.6, 0.2, 0.08, 0.12]),
                   random.uniform(0.8, 1.8), random.uniform(0.4, 1.0), random.uniform(0.75, 1.0))


def shrunk(node, factor):
    """Returns the node as it is away from its central slice."""
    lobe = tuple(value * factor for value in node.lobe)
    return replace(node, width=node.width * (0.4 + 0.6 * factor), depth=node.depth * factor, lobe=lobe)


def pit_depth_inside(node, u, v):
    """Returns, per pixel, how far inside the pit it lies (mm, negative outside)."""
    def one(centre, width, depth):
        half = max(width / 2, 0.5)
        across, down = np.abs(u - centre) / half, np.maximum(v, 0) / max(depth, 0.5)
        radius = (across ** node.exponent + down ** node.exponent) ** (1 / node.exponent)
        amplitude, number, phase = node.waves
        angle = np.arctan2(down, (u - centre) / half)
        return (1 - radius * (1 + amplitude * np.sin(number * angle + phase))) * min(half, depth)

    inside = one(node.u, node.width, node.depth)
    if node.lobe:
        offset, width, depth = node.lobe
        inside = np.maximum(inside, one(node.u + offset, width, depth))
    return inside


def opacity(distance, softness):
    """Returns 0..1: 1 where the distance to the edge is well positive."""
    return 1 / (1 + np.exp(-np.clip(distance / softness, -30, 30)))


def local_levels(picture, plate, window, u_centre, reach):
    """Returns (marrow level, disc level, high-frequency texture of the window)."""
    x0, y0, x1, y1 = window
    region = picture[y0:y1, x0:x1]
    u, v = plate.coordinates(window)
    near = np.abs(u - u_centre) < max(reach, 5)
    marrow, disc = region[near & (v > 3) & (v < 12)], region[near & (v < -2) & (v > -5.5)]
    padded = np.pad(region, 1, mode="edge")
    mean = sum(padded[r: r + region.shape[0], c: c + region.shape[1]] for r in range(3) for c in range(3)) / 9
    return (float(np.median(marrow)) if marrow.size else 0.4, float(np.median(disc)) if disc.size else 0.2,
            region - mean)


def blend(region, alpha, value):
    """Mixes a value into a region in place."""
    region += alpha * (value - region)


def fill_level(filling, marrow, disc):
    """Returns the grey value of a filling; at least `contrast` away from the marrow."""
    if filling.kind == "disc":
        gap = disc - marrow
        direction = math.copysign(1, gap if abs(gap) > 0.02 else 1)
        return marrow + direction * max(abs(gap), filling.contrast)
    return marrow + filling.contrast * 1.3 * (1 if filling.kind == "bright" else -1)


def window_around(plate, shape):
    """Returns the window (x0, y0, x1, y1) that holds everything painted at a plate."""
    x, y = plate.origin
    x, y = int(x), int(y)
    return max(0, x - 34), max(0, y - 34), min(shape[1], x + 35), min(shape[0], y + 35)


def paint_pit(picture, plate, node, filling):
    """Paints a pit in place and returns (centre x, centre y, width mm, depth mm), or None when nothing is left."""
    window = window_around(plate, picture.shape)
    x0, y0, x1, y1 = window
    region = picture[y0:y1, x0:x1]
    u, v = plate.coordinates(window)
    marrow, disc, texture = local_levels(picture, plate, window, node.u, node.width / 2)
    inside = pit_depth_inside(node, u, v)
    within = opacity(inside, node.softness) * opacity(v + node.mouth, 0.4)
    level = fill_level(filling, marrow, disc)
    if filling.rim == "halo":
        halo = opacity(inside + 4 * filling.rim_width, 1.2) * opacity(v, 0.6) * (1 - within)
        blend(region, halo * 0.8, marrow + filling.contrast + texture)
    blend(region, within * filling.cover, level + filling.grain * texture)
    if filling.rim in ("dark", "bright"):
        line = np.exp(-((inside + filling.rim_width / 2) / (0.5 * filling.rim_width)) ** 2) * opacity(v, 0.5)
        target = marrow * (1 - filling.rim_strength) if filling.rim == "dark" else marrow + 0.4 * filling.rim_strength
        blend(region, line * 0.9, target + 0.5 * texture)
    np.clip(region, 0, 1, out=region)
    seen = (inside > 0) & (v > 0)
    if seen.sum() < 4:
        return None
    box = data.mask_box(seen)
    width, depth = np.ptp(u[seen]) + 0.6, v[seen].max() + 0.3
    return x0 + (box[0] + box[2]) / 2, y0 + (box[1] + box[3]) / 2, float(width), float(depth)


def paint_node(slabs, plates, random, middle=None):
    """Paints a node through neighbouring slabs in place.

    slabs   `[slab, row, column]`; plates  Endplate or None per slab; middle  slab (may be a fraction) of its centre
    Returns per slab None (no node), "faint" (too shallow to count) or (centre x, centre y, width mm, depth mm).
    """
    visible = [index for index, plate in enumerate(plates) if plate]
    if middle is None:
        middle = random.choice(visible) + random.uniform(-0.5, 0.5)
    reach = random.uniform(4.5, 9.0)
    node, filling = random_node(random, plates[visible[0]].half_width), random_filling(random)
    drift = random.uniform(-1, 1)
    result = [None] * len(plates)
    for index in visible:
        away = (index - middle) * SLAB_MM
        factor = math.sqrt(max(0.0, 1 - (away / reach) ** 2))
        if factor < 0.3:
            continue
        here = shrunk(replace(node, u=node.u + drift * (index - middle)), factor)
        cover = filling.cover * (0.6 + 0.4 * factor)
        painted = paint_pit(slabs[index], plates[index], here, replace(filling, cover=cover))
        if painted:
            result[index] = painted if painted[3] >= LEAST_DEPTH_MM else "faint"
    return result


def wide_concavity(slabs, plates, random):
    """A smooth bowl over most of the plate."""
    half_width = next(plate for plate in plates if plate).half_width
    width, depth = half_width * random.uniform(1.1, 1.9), random.uniform(2, 5)
    node = Node(random.uniform(-0.15, 0.15) * half_width, width, depth, random.choice([1.4, 1.6, 2.0]), (0, 2, 0), (),
                random.uniform(1, 3), random.uniform(0.4, 0.9))
    filling = random_filling(random)
    for slab, plate in zip(slabs, plates):
        if plate:
            paint_pit(slab, plate, replace(node, depth=depth * random.uniform(0.75, 1.05)), filling)


def soft_region(slabs, plates, random, shape_of, level_of):
    """Mixes a grey offset into the region `shape_of(u, v, plate)` (0..1) of every slab."""
    for slab, plate in zip(slabs, plates):
        if plate is None:
            continue
        window = window_around(plate, slab.shape)
        x0, y0, x1, y1 = window
        u, v = plate.coordinates(window)
        marrow, disc, texture = local_levels(slab, plate, window, 0, plate.half_width)
        blend(slab[y0:y1, x0:x1], shape_of(u, v, plate), level_of(marrow, disc) + texture)
        np.clip(slab[y0:y1, x0:x1], 0, 1, out=slab[y0:y1, x0:x1])


def modic_band(slabs, plates, random):
    """A band of changed marrow under an intact plate."""
    height, change = random.uniform(3, 10), random.uniform(0.08, 0.35) * random.choice([-1, 1])
    part, side = random.uniform(0.5, 1.2), random.uniform(-0.5, 0.5)
    shape = lambda u, v, plate: 0.9 * opacity(v - 1, 0.4) * opacity(height - v, 0.9) * opacity(
        part * plate.half_width - np.abs(u - side * plate.half_width), 1.0)
    soft_region(slabs, plates, random, shape, lambda marrow, disc: marrow + change)


def corner_defect(slabs, plates, random):
    """A cut-off corner (limbus), filled with disc-like signal."""
    side, length, depth = random.choice([-1, 1]), random.uniform(4, 10), random.uniform(4, 11)
    filling, soft = random_filling(random), random.uniform(0.3, 0.8)

    def shape(u, v, plate):
        from_corner = plate.half_width + 0.5 - side * u
        inside = 1 - np.maximum(from_corner, 0) / length - np.maximum(v, 0) / depth
        return opacity(inside * 4, soft) * opacity(v + 1.5, 0.4) * opacity(from_corner + 2, 0.5)

    keep = random.uniform(0.7, 1)
    soft_region(slabs, plates, random, lambda *where: keep * shape(*where), lambda m, d: fill_level(filling, m, d))


def blob(slabs, plates, random):
    """A haemangioma or cyst in the body, or a bright or dark spot in the disc: it does not touch the plate."""
    radius = random.uniform(2, 6)
    depth = random.uniform(radius + 3.5, 20) if random.random() < 0.75 else -random.uniform(3, 7)
    radius = radius if depth > 0 else min(radius, 3.0)
    stretch, change = random.uniform(0.6, 1.5), random.uniform(0.12, 0.5) * random.choice([-1, 1])
    place, middle = random.uniform(-0.7, 0.7), random.uniform(0, len(slabs) - 1)
    for index, (slab, plate) in enumerate(zip(slabs, plates)):
        shape = lambda u, v, plate: 0.95 * opacity(
            radius - np.hypot((u - place * plate.half_width) / stretch, v - depth), 0.5)
        if abs(index - middle) < 1.6:
            soft_region([slab], [plate], random, shape, lambda marrow, disc: marrow + change)


def vein_notch(slabs, plates, random):
    """The basivertebral vein: a wedge at mid-height of one wall."""
    side, length, height = random.choice([-1, 1]), random.uniform(4, 12), random.uniform(1.5, 4)
    depth, change = random.uniform(10, 16), random.uniform(0.12, 0.4) * random.choice([-1, 1])

    def shape(u, v, plate):
        from_wall = plate.half_width - side * u
        return 0.95 * opacity(height * (1 - from_wall / length) - np.abs(v - depth), 0.4) * opacity(from_wall + 1, 0.4)

    soft_region(slabs, plates, random, shape, lambda marrow, disc: marrow + change)


def thick_plate(slabs, plates, random):
    """A plate drawn thicker and darker or brighter over part of its width (sclerosis, chemical shift)."""
    thickness, change = random.uniform(1, 3), random.uniform(0.1, 0.35) * random.choice([-1, -1, 1])
    part, side = random.uniform(0.2, 1.1), random.uniform(-0.6, 0.6)
    shape = lambda u, v, plate: 0.9 * opacity(v + 1, 0.4) * opacity(thickness - v, 0.5) * opacity(
        part * plate.half_width - np.abs(u - side * plate.half_width), 0.8)
    soft_region(slabs, plates, random, shape, lambda marrow, disc: marrow + change)


def shallow_dent(slabs, plates, random):
    """A dent too shallow to be a node, with a node's width."""
    node, filling = random_node(random, next(plate for plate in plates if plate).half_width), random_filling(random)
    node = replace(node, depth=random.uniform(0.4, 1.2), lobe=())
    for slab, plate in zip(slabs, plates):
        if plate:
            paint_pit(slab, plate, node, replace(filling, rim="none"))


LOOK_ALIKES = {
    "wide_concavity": wide_concavity, "modic_band": modic_band, "corner_defect": corner_defect, "blob": blob,
    "vein_notch": vein_notch, "thick_plate": thick_plate, "shallow_dent": shallow_dent,
}


def paint_look_alike(slabs, plates, random, kind=None):
    """Paints one look-alike through the slabs in place and returns its name."""
    kind = kind or random.choice(list(LOOK_ALIKES), p=[0.25, 0.15, 0.2, 0.12, 0.1, 0.1, 0.08])
    LOOK_ALIKES[kind](slabs, plates, random)
    return kind

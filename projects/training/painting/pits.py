"""Paints Schmorl's nodes into real slices.

The published volumes carry no node annotation, so the positives of the classifier are made here: pits through an
endplate, filled with what a disc looks like. Outline and filling are drawn from several independent recipes, so that the
network learns the pit and not the brush. The look-alikes (look_alikes.py) use the same recipes for the same reason.
"""
import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

import data

SLAB_MM = 4.0
LEAST_DEPTH_MM = 2.2
"""A slice shows a node when the pit is at least this deep on it."""
LEAST_CHANGE = 0.05
"""A pit must have changed the grey values inside it by this much to be seen: a bright disc over bright marrow does not."""
BORDER_MM = 3.0
"""How far below a plate its own layers reach."""
DISC_DEPTH_MM = 4.5
"""How far from the plate the disc is taken for disc when its grey values are copied."""


@dataclass(frozen=True)
class Pit:
    """The pit on one slice: all lengths in mm."""

    u: float
    width: float
    depth: float
    outline: str
    """`round`, `lumps` or `ragged`."""
    exponent: float
    """Of a round outline: 1.4 pointed, 2 round, 4 flat-bottomed."""
    shape: tuple
    """Numbers 0..1 from which the irregularity of the outline is made."""
    mouth: float
    """How far the filling reaches out of the body into the disc."""
    softness: float


@dataclass(frozen=True)
class Filling:
    """What a pit looks like; grey values are relative to the marrow (0..1 scale)."""

    recipe: str
    """`level` paints one grey value, `mirrored` copies the disc, `profile` bends the plate with all its layers."""
    kind: str
    """Of a level: `disc` takes the neighbouring disc's; `dark` and `bright` do not depend on it."""
    contrast: float
    grain: float
    rim: str
    rim_width: float
    rim_strength: float
    cover: float
    """Opacity of the filling: less than 1 for partial volume."""


class Shown(NamedTuple):
    """A painted node as one slice shows it: pixels and mm, which are the same on the training grid."""

    x: float
    y: float
    width: float
    depth: float
    mask: np.ndarray
    """`[row, column]` of the slice, true on the node."""


class Painter:
    """Draws pits and fillings. `several` recipes or only the first `one`."""

    def __init__(self, recipes):
        self.outlines = ["round", "lumps", "ragged"] if recipes == "several" else ["round"]
        self.recipes = ["level", "mirrored", "profile"] if recipes == "several" else ["level"]

    def pit(self, random, half_width):
        """Returns a pit as it is on its central slice."""
        width = random.uniform(5, 12)
        depth = min(random.uniform(3, 8), 0.9 * width)
        reach = max(0.5, 0.8 * half_width - width / 2)
        return Pit(random.uniform(-reach, reach), width, depth, random.choice(self.outlines),
                   random.choice([1.4, 2.0, 2.0, 2.5, 4.0]), tuple(random.random(12)), random.uniform(1.0, 3.0),
                   random.uniform(0.25, 0.9))

    def filling(self, random):
        """Returns how a pit, or a look-alike, is filled."""
        recipe = random.choice(self.recipes)
        # A bent plate brings its own border; the others are drawn with one of several.
        rims = [0.1, 0.8, 0.03, 0.07] if recipe == "profile" else [0.6, 0.2, 0.08, 0.12]
        return Filling(recipe, random.choice(["disc", "dark", "bright"], p=[0.7, 0.15, 0.15]),
                       random.uniform(0.1, 0.3), random.uniform(0.3, 1.0),
                       random.choice(["dark", "none", "bright", "halo"], p=rims), random.uniform(0.8, 1.8),
                       random.uniform(0.4, 1.0), random.uniform(0.75, 1.0))


def shrunk(pit, factor):
    """Returns the pit as it is away from its central slice."""
    return replace(pit, width=pit.width * (0.4 + 0.6 * factor), depth=pit.depth * factor)


def depth_inside(pit, u, v):
    """Returns, per pixel, about how far inside the pit it lies (mm, negative outside)."""
    half, depth = max(pit.width / 2, 0.5), max(pit.depth, 0.5)
    return {"round": _round, "lumps": _lumps, "ragged": _ragged}[pit.outline](pit, u - pit.u, v, half, depth)


def _round(pit, u, v, half, depth):
    def one(offset, half, depth):
        across, down = np.abs(u - offset) / half, np.maximum(v, 0) / depth
        radius = (across ** pit.exponent + down ** pit.exponent) ** (1 / pit.exponent)
        angle = np.arctan2(down, (u - offset) / half)
        waves = 0.15 * shape[0] * np.sin(round(2 + 3 * shape[1]) * angle + 6.3 * shape[2])
        return (1 - radius * (1 + waves)) * min(half, depth)

    shape = pit.shape
    inside = one(0, half, depth)
    if shape[3] < 0.25:
        side = 1 if shape[4] < 0.5 else -1
        inside = np.maximum(inside, one(side * half * (0.6 + 0.4 * shape[5]), half * (0.4 + 0.3 * shape[6]),
                                        depth * (0.5 + 0.6 * shape[7])))
    return inside


def _lumps(pit, u, v, half, depth):
    """Overlapping discs: one across the mouth, others anywhere below it; one of them reaches the full depth."""
    count = 2 + int(3 * pit.shape[0])
    inside = min(half, depth) * 0.8 - np.hypot(u * min(1, 0.8 * depth / half), v)
    for index in range(count):
        place, level, size = pit.shape[1 + 3 * index % 9: 4 + 3 * index % 9]
        radius = (0.3 + 0.3 * size) * min(half, depth)
        down = depth - radius if index == 0 else (depth - radius) * (0.3 + 0.7 * level)
        inside = np.maximum(inside, radius - np.hypot(u - (2 * place - 1) * max(half - radius, 0.2), v - down))
    return inside


def _ragged(pit, u, v, half, depth):
    """Below a broken line: steep or sloping walls, an uneven bottom."""
    knots = np.linspace(-half, half, 8)
    heights = depth * (0.45 + 0.55 * np.array(pit.shape[:8]) / max(pit.shape[1:7]))
    wall = 0.15 + 0.85 * pit.shape[8]
    heights = np.minimum(heights, depth) * np.minimum(1, (half - np.abs(knots)) / (wall * half) + 0.02)
    bottom = np.interp(u, knots, heights, left=-1, right=-1)
    return np.minimum((bottom - v) * 0.75, half - np.abs(u))


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
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    mean = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9
    return (float(np.median(marrow)) if marrow.size else 0.4, float(np.median(disc)) if disc.size else 0.2,
            region - mean)


def blend(region, alpha, value):
    """Mixes a value into a region in place."""
    region += alpha * (value - region)


def fill_level(filling, marrow, disc):
    """Returns the grey value of a level filling; at least `contrast` away from the marrow."""
    if filling.kind == "disc":
        gap = disc - marrow
        direction = math.copysign(1, gap if abs(gap) > 0.02 else 1)
        return marrow + direction * max(abs(gap), filling.contrast)
    return marrow + filling.contrast * 1.3 * (1 if filling.kind == "bright" else -1)


def moved_inward(region, plate, distance):
    """Returns a region whose pixels are taken from `distance` (mm per pixel of the region) further into the body."""
    rows, columns = np.indices(region.shape, dtype=np.float32)
    x = np.clip(columns + plate.inward[0] * distance, 0, region.shape[1] - 1.001)
    y = np.clip(rows + plate.inward[1] * distance, 0, region.shape[0] - 1.001)
    x0, y0 = x.astype(int), y.astype(int)
    fx, fy = x - x0, y - y0
    top = region[y0, x0] * (1 - fx) + region[y0, x0 + 1] * fx
    bottom = region[y0 + 1, x0] * (1 - fx) + region[y0 + 1, x0 + 1] * fx
    return top * (1 - fy) + bottom * fy


def window_around(plate, shape):
    """Returns the window (x0, y0, x1, y1) that holds everything painted at a plate."""
    x, y = (int(position) for position in plate.midpoint)
    return max(0, x - 27), max(0, y - 27), min(shape[1], x + 28), min(shape[0], y + 28)


def paint_shape(picture, plate, inside_of, filling, mouth, softness, u_centre=0.0, reach=5.0):
    """Paints what lies inside a shape in place; returns (u, v, inside) of the pixels of its window.

    inside_of  function of (u, v) in mm that says how far inside the shape a pixel lies
    """
    window = window_around(plate, picture.shape)
    x0, y0, x1, y1 = window
    region = picture[y0:y1, x0:x1]
    u, v = plate.coordinates(window)
    inside = inside_of(u, v)
    marrow, disc, texture = local_levels(picture, plate, window, u_centre, reach)
    within = opacity(inside, softness) * opacity(v + mouth, 0.4)
    if filling.rim == "halo":
        halo = opacity(inside + 4 * filling.rim_width, 1.2) * opacity(v, 0.6) * (1 - within)
        blend(region, halo * 0.8, marrow + filling.contrast + texture)
    if filling.recipe == "profile":
        # Every pixel is as far from the new border as the one it is taken from was from the old plate.
        source = np.maximum(np.minimum(v, -inside), -DISC_DEPTH_MM)
        near = opacity(v + mouth, 0.4) * opacity(inside + BORDER_MM, 0.5)
        blend(region, filling.cover * near, moved_inward(region, plate, np.minimum(source - v, 0)))
    elif filling.recipe == "mirrored":
        source = -np.clip(v + 1.5, 1.5, DISC_DEPTH_MM)
        blend(region, within * filling.cover, moved_inward(region, plate, source - v))
    else:
        blend(region, within * filling.cover, fill_level(filling, marrow, disc) + filling.grain * texture)
    if filling.rim != "none":
        line = np.exp(-((inside + filling.rim_width / 2) / (0.5 * filling.rim_width)) ** 2) * opacity(v, 0.5)
        bright = filling.rim == "bright"
        target = marrow + 0.4 * filling.rim_strength if bright else marrow * (1 - filling.rim_strength)
        blend(region, line * 0.9, target + 0.5 * texture)
    np.clip(region, 0, 1, out=region)
    return u, v, inside


def paint_pit(picture, plate, pit, filling):
    """Paints a pit in place and returns it as Shown, or None when nothing can be seen."""
    inside_of = lambda u, v: depth_inside(pit, u, v)
    x0, y0, x1, y1 = window_around(plate, picture.shape)
    before = picture[y0:y1, x0:x1].copy()
    u, v, inside = paint_shape(picture, plate, inside_of, filling, pit.mouth, pit.softness, pit.u, pit.width / 2)
    seen = (inside > 0) & (v > 0)
    change = np.abs(picture[y0:y1, x0:x1] - before)[seen]
    if seen.sum() < 4 or change.mean() < LEAST_CHANGE:
        return None
    box = data.mask_box(seen)
    width, depth = np.ptp(u[seen]) + 0.6, v[seen].max() + 0.3
    mask = np.zeros(picture.shape, bool)
    mask[y0:y1, x0:x1] = seen
    return Shown(x0 + (box[0] + box[2]) / 2, y0 + (box[1] + box[3]) / 2, float(width), float(depth), mask)


def paint_node(slabs, plates, random, painter):
    """Paints a node through neighbouring slabs in place.

    slabs   `[slab, row, column]`; plates  Endplate or None per slab
    Returns per slab None (no node), "faint" (too shallow to count) or what is Shown.
    """
    visible = [index for index, plate in enumerate(plates) if plate]
    # The slab of its centre may be a fraction.
    middle = random.choice(visible) + random.uniform(-0.5, 0.5)
    reach = random.uniform(4.5, 9.0)
    pit, filling = painter.pit(random, plates[visible[0]].half_width), painter.filling(random)
    drift = random.uniform(-1, 1)
    result = [None] * len(plates)
    for index in visible:
        away = (index - middle) * SLAB_MM
        factor = math.sqrt(max(0.0, 1 - (away / reach) ** 2))
        if factor < 0.3:
            continue
        here = shrunk(replace(pit, u=pit.u + drift * (index - middle)), factor)
        cover = filling.cover * (0.6 + 0.4 * factor)
        painted = paint_pit(slabs[index], plates[index], here, replace(filling, cover=cover))
        result[index] = painted if painted and painted.depth >= LEAST_DEPTH_MM else "faint"
    return result

"""Paints what is mistaken for Schmorl's nodes, with the recipes of pits.py."""
from dataclasses import replace

import numpy as np

from pits import blend, local_levels, opacity, paint_pit, paint_shape, window_around


def half_width_of(plates):
    """Returns the half width (mm) of an endplate on its first visible slab."""
    return next(plate for plate in plates if plate).half_width


def wide_concavity(slabs, plates, random, painter):
    """A smooth bowl over most of the plate."""
    half_width = half_width_of(plates)
    depth, filling = random.uniform(1.5, 6), painter.filling(random)
    bowl = replace(painter.pit(random, half_width), outline="round", width=half_width * random.uniform(1.1, 1.95),
                   u=random.uniform(-0.2, 0.2) * half_width, exponent=random.choice([1.4, 1.6, 2.0]),
                   shape=(0.0, 0.5, 0.5, 1.0) + (0.5,) * 8)
    for slab, plate in zip(slabs, plates):
        if plate:
            paint_pit(slab, plate, replace(bowl, depth=depth * random.uniform(0.75, 1.05)), filling)


def soft_region(slabs, plates, shape_of, level_of):
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


def modic_band(slabs, plates, random, painter):
    """Changed marrow under an intact plate: a band with a wavy border, half a band, a hemisphere, or a corner."""
    form = random.choice(["band", "hemisphere", "corner"], p=[0.55, 0.25, 0.2])
    height, change = random.uniform(3, 12), random.uniform(0.08, 0.4) * random.choice([-1, 1])
    part, side = random.uniform(0.4, 1.3), random.uniform(-0.7, 0.7)
    waves, phase, soft = random.uniform(0, 0.3), random.uniform(0, 6.3), random.uniform(0.5, 2.0)
    strength, gap = random.uniform(0.6, 0.95), random.uniform(0.3, 1.5)

    def shape(u, v, plate):
        half = plate.half_width
        if form == "band":
            bottom = height * (1 + waves * np.sin(u / 3 + phase))
            reach = opacity(bottom - v, soft) * opacity(part * half - np.abs(u - side * half), 1.0)
        elif form == "hemisphere":
            reach = opacity(height - np.hypot((u - side * half) * 0.8, v), soft)
        else:
            corner = half - np.sign(side or 1) * u
            reach = opacity(1.2 * height - np.maximum(corner, 0) - v, soft)
        return strength * opacity(v - gap, 0.4) * reach

    soft_region(slabs, plates, shape, lambda marrow, disc: marrow + change)


def corner_defect(slabs, plates, random, painter):
    """A cut-off or hollowed corner (limbus, ring apophysis), sometimes with the fragment in it."""
    side, length, depth = random.choice([-1, 1]), random.uniform(3, 12), random.uniform(3, 12)
    form, filling, soft = random.choice(["cut", "hollow", "step"]), painter.filling(random), random.uniform(0.25, 0.9)
    inset, mouth = random.uniform(-1.0, 1.5), random.uniform(0.5, 3)
    fragment, middle, reach = random.random() < 0.25, random.uniform(0, len(slabs) - 1), random.uniform(1, 6)
    for index, (slab, plate) in enumerate(zip(slabs, plates)):
        if plate is None or abs(index - middle) > reach:
            continue
        half = plate.half_width

        def inside(u, v):
            from_corner = half + inset - side * u
            across = np.maximum(from_corner, 0) / length
            down = np.maximum(v, 0) / depth
            if form == "cut":
                radius = across + down
            elif form == "hollow":
                radius = np.hypot(across, down)
            else:
                radius = np.maximum(across, down)
            return np.minimum((1 - radius) * min(length, depth), from_corner + 2)

        paint_shape(slab, plate, inside, filling, mouth, soft, side * (half - length / 2), length / 2)
        if fragment:
            piece = lambda u, v, plate: 0.9 * opacity(0.3 * min(length, depth) - np.hypot(
                half + inset - side * u - 0.3 * length, v - 0.3 * depth), 0.5)
            soft_region([slab], [plate], piece, lambda marrow, disc: marrow)


def blob(slabs, plates, random, painter):
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
            soft_region([slab], [plate], shape, lambda marrow, disc: marrow + change)


def vein_notch(slabs, plates, random, painter):
    """The basivertebral vein: a wedge at mid-height of one wall."""
    side, length, height = random.choice([-1, 1]), random.uniform(4, 12), random.uniform(1.5, 4)
    depth, change = random.uniform(10, 16), random.uniform(0.12, 0.4) * random.choice([-1, 1])

    def shape(u, v, plate):
        from_wall = plate.half_width - side * u
        return 0.95 * opacity(height * (1 - from_wall / length) - np.abs(v - depth), 0.4) * opacity(from_wall + 1, 0.4)

    soft_region(slabs, plates, shape, lambda marrow, disc: marrow + change)


def thick_plate(slabs, plates, random, painter):
    """A plate drawn thicker and darker or brighter over part of its width (sclerosis, chemical shift)."""
    thickness, change = random.uniform(1, 3), random.uniform(0.1, 0.35) * random.choice([-1, -1, 1])
    part, side = random.uniform(0.2, 1.1), random.uniform(-0.6, 0.6)
    shape = lambda u, v, plate: 0.9 * opacity(v + 1, 0.4) * opacity(thickness - v, 0.5) * opacity(
        part * plate.half_width - np.abs(u - side * plate.half_width), 0.8)
    soft_region(slabs, plates, shape, lambda marrow, disc: marrow + change)


def shallow_dent(slabs, plates, random, painter):
    """A dent too shallow to be a node, with a node's width."""
    dent, filling = painter.pit(random, half_width_of(plates)), painter.filling(random)
    dent = replace(dent, depth=random.uniform(0.4, 1.3))
    for slab, plate in zip(slabs, plates):
        if plate:
            paint_pit(slab, plate, dent, replace(filling, rim="none"))


def worn_plate(slabs, plates, random, painter):
    """An uneven plate of a degenerated disc: many shallow erosions."""
    filling = replace(painter.filling(random), rim="none")
    knots = np.linspace(-1, 1, int(random.integers(6, 14)))
    heights = random.uniform(0.6, 1.9) * random.random(len(knots))
    for slab, plate in zip(slabs, plates):
        if plate:
            here = np.clip(heights + random.normal(0, 0.3, len(knots)), 0, 2.0)
            inside = lambda u, v: np.minimum(
                0.9 * (np.interp(u / plate.half_width, knots, here) - v), plate.half_width - np.abs(u))
            paint_shape(slab, plate, inside, filling, 1.0, random.uniform(0.3, 0.8), 0, plate.half_width)


LOOK_ALIKES = {
    wide_concavity: 0.17, modic_band: 0.18, corner_defect: 0.23, blob: 0.09, vein_notch: 0.07, thick_plate: 0.08,
    shallow_dent: 0.07, worn_plate: 0.11,
}
"""The kinds and how often each is drawn."""


def paint_look_alike(slabs, plates, random, painter, kinds=None):
    """Paints one look-alike through the slabs in place and returns its name."""
    kinds = kinds or LOOK_ALIKES
    share = np.array([LOOK_ALIKES[kind] for kind in kinds])
    kind = list(kinds)[random.choice(len(share), p=share / share.sum())]
    kind(slabs, plates, random, painter)
    return kind.__name__

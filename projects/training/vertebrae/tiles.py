"""Training tiles of the vertebra detector: what is cut out of a volume and what the network should answer there.

The answer lives on a grid of cells, as in "Objects as Points" (arXiv 1904.07850): a bump on every body centre, and the
box around it. Where a body may be visible without being annotated the answer has no weight.
"""
import json
import math
from pathlib import Path

import numpy as np
import torch

import augment
import data

STRIDE, TILE = 4, 192
"""Pixels (mm) of one cell and of the square tiles used in training: five bodies high."""
ANYWHERE_SHARE = 0.2
"""Share of tiles from anywhere in the picture: belly, back, air."""
HIDDEN_SPINE_SHARE = 0.15
"""Share of tiles whose spine is covered with other tissue: the volumes hold no lateral slabs, a series does."""
KEPT_FRACTION = 0.6
"""A body cut by the field of view is a target while this share of it is visible; less is neither right nor wrong."""
CENTRE_SIGMA_PX = 5.0
"""Width of the target bump; about a sixth of a body."""
STRATUM_WEIGHT = {"VB1": 3.0, "VB2": 1.6, "VB3": 0.7, "PHANTOM": 0.5}
"""How often a volume is drawn: VB1 has few volumes and many scanners, VB3 the reverse."""
VOID_SHARE = 0.06
"""Share of tiles with the signal void of a metal implant."""
VOID_HIDES = 0.35
"""A body of which a void covers this share is neither right nor wrong."""
IGNORED, SACRAL_ZONE = 100, 101
"""Mask values of pixels where a body, or S1, may be visible but carries no annotation."""
SACRUM_BOXES = Path(__file__).with_name("sacrum_boxes.json")
"""S1 boxes (x0, y0, x1, y1) per volume and slab where the published masks have no S1 (VB2, VB3)."""


def sacral_number(volume):
    """Returns the mask value of S1: its own where it is annotated, else the one after the last body."""
    return volume.sacral or volume.bodies + 1


def add_sacrum(label, volume, box):
    """Marks S1 on a slab of a volume without S1 mask: as an ellipse, whose box turns well, or as SACRAL_ZONE."""
    rows, columns = np.indices(label.shape)
    if box:
        x0, y0, x1, y1 = box
        across, down = (columns - (x0 + x1) / 2) / ((x1 - x0 + 1) / 2), (rows - (y0 + y1) / 2) / ((y1 - y0 + 1) / 2)
        label[(across ** 2 + down ** 2 <= 1) & (label == 0)] = sacral_number(volume)
        return
    lumbar = data.mask_box((volume.label == (volume.lowest_lumbar or volume.bodies)).any(0))
    x, y = (lumbar[0] + lumbar[2]) / 2, (lumbar[1] + lumbar[3]) / 2
    near = (np.hypot(columns - x, rows - y) < 50) & (rows > y)
    label[near & (label == 0)] = SACRAL_ZONE


def annotated_slice(volume, slab, sacrum_box=None):
    """Returns the body mask of a slab with IGNORED or SACRAL_ZONE where an unannotated body may be visible."""
    label = volume.label[slab].copy()
    if not volume.sacral:
        add_sacrum(label, volume, sacrum_box)
    whole = volume.label
    for body in range(1, volume.bodies + 1):
        if (label == body).any():
            continue
        # The body is annotated on a neighbouring slab only: here it may or may not be in the picture.
        label[(whole == body).any(0) & (label == 0)] = IGNORED
    top = data.mask_box((label > 0) & (label < IGNORED))
    if top is not None:
        label[: top[1]][label[: top[1]] == 0] = IGNORED
    return label


def without_spine(image, label, random):
    """Returns (image, mask) of a slab whose bodies and discs are covered with tissue from beside the spine."""
    bodies = (label > 0) & (label < IGNORED)
    rows = np.flatnonzero(bodies.any(1))
    every_row = np.arange(rows[0], rows[-1] + 1)
    edges = bodies[rows].argmax(1), label.shape[1] - 1 - bodies[rows, ::-1].argmax(1)
    # A tilted body begins with a short row: the widest of the rows around counts.
    near = np.abs(every_row[:, None] - rows[None, :]) <= 12
    left = np.where(near, edges[0], label.shape[1]).min(1) - 8
    right = np.where(near, edges[1], -1).max(1) + 8
    columns = np.arange(label.shape[1])[None, :]
    corridor = np.zeros(label.shape, np.float32)
    corridor[every_row] = np.clip(np.minimum(columns - left[:, None], right[:, None] - columns) / 6, 0, 1)
    shift = int(random.integers(55, 85)) * int(random.choice([-1, 1]))
    tissue = np.roll(image, (int(random.integers(-25, 26)), shift), (0, 1))
    return image + corridor * (tissue - image), np.where(bodies, 0, label).astype(label.dtype)


def tile_targets(label, full_area, lowest_lumbar, sacral, field_bottom):
    """Returns what the network should answer on a tile.

    label      `[row, column]` warped mask; full_area  pixels of each body (index: number) if nothing were cut
    Returns heat [3,h,w], weight [3,h,w], box [4,h,w] (width, height, dx, dy) and box_weight [h,w].
    """
    cells = label.shape[0] // STRIDE
    heat, weight = np.zeros((3, cells, cells), np.float32), np.ones((3, cells, cells), np.float32)
    box, box_weight = np.zeros((4, cells, cells), np.float32), np.zeros((cells, cells), np.float32)
    middle = np.arange(cells, dtype=np.float32) * STRIDE + (STRIDE - 1) / 2
    ignored = label == IGNORED
    lumbar_row = None
    for body in range(1, len(full_area)):
        mask = label == body
        area = mask.sum()
        if area == 0:
            continue
        if area < KEPT_FRACTION * full_area[body]:
            ignored |= mask
            continue
        x0, y0, x1, y1 = data.mask_box(mask)
        centre_x, centre_y = (x0 + x1) / 2, (y0 + y1) / 2
        dx, dy = centre_x - middle[None, :], centre_y - middle[:, None]
        bump = np.exp(-(dx ** 2 + dy ** 2) / (2 * CENTRE_SIGMA_PX ** 2)).astype(np.float32)
        bump /= bump.max()
        channels = [2] if body == sacral else ([0, 1] if body == lowest_lumbar else [0])
        for channel in channels:
            heat[channel] = np.maximum(heat[channel], bump)
        near = bump > np.maximum(box_weight, 0.25)
        box_weight[near] = bump[near]
        for plane, value in enumerate((np.full_like(bump, x1 - x0 + 1), np.full_like(bump, y1 - y0 + 1),
                                       np.broadcast_to(dx, bump.shape), np.broadcast_to(dy, bump.shape))):
            box[plane][near] = value[near]
        if body == lowest_lumbar:
            lumbar_row = y1
    blind = ignored.reshape(cells, STRIDE, cells, STRIDE).any((1, 3))
    weight[:, blind] = 0
    weight[heat == 1] = 1
    if lumbar_row is not None and field_bottom < lumbar_row + 20:
        weight[1] = 0  # without the sacrum in the picture nobody can say which body is L5
    weight[2][(label == SACRAL_ZONE).reshape(cells, STRIDE, cells, STRIDE).any((1, 3))] = 0
    if lowest_lumbar == 0:
        weight[1:] = 0
    return heat, weight, box, box_weight


def with_void(tile, label, random):
    """Returns (tile, mask) with the signal void of metal: black, with a bright border on one side."""
    rows, columns = np.nonzero((label > 0) & (label < IGNORED))
    if len(rows) == 0:
        return tile, label
    near = random.integers(len(rows))
    x, y = columns[near] + random.normal(0, 12), rows[near] + random.normal(0, 12)
    long, thin, angle = random.uniform(6, 28), random.uniform(4, 12), random.uniform(0, math.pi)
    across, down = np.meshgrid(np.arange(TILE) - x, np.arange(TILE) - y)
    u, v = across * math.cos(angle) + down * math.sin(angle), down * math.cos(angle) - across * math.sin(angle)
    radius = np.hypot(u / long, v / thin).astype(np.float32)
    void = torch.from_numpy(np.clip((1.15 - radius) / 0.3, 0, 1))
    flare = torch.from_numpy(np.exp(-((radius - 1.25) / 0.12) ** 2) * (v > 0) * random.uniform(0, 0.8))
    label, hidden = label.copy(), radius < 1
    for body in np.unique(label[hidden]):
        of_body = label == body
        if 0 < body < IGNORED and (of_body & hidden).sum() > VOID_HIDES * of_body.sum():
            label[of_body] = IGNORED
    return (tile * (1 - void) + flare).clamp(0, 1).float(), label


class TileSampler:
    """Draws augmented training tiles; `strength` scales the changes of grey values."""

    def __init__(self, volumes, seed, strength=1.0):
        self.strength = strength
        self.random = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.volumes = volumes
        weights = np.array([STRATUM_WEIGHT.get(volume.stratum, 1.0) for volume in volumes])
        self.weights = weights / weights.sum()
        sacrum = json.loads(SACRUM_BOXES.read_text())
        box_of = lambda volume, slab: sacrum.get(volume.name, {}).get(str(slab))
        self.slices = [
            [annotated_slice(volume, slab, box_of(volume, slab)) for slab in range(len(volume.image))]
            for volume in volumes]

    def tile(self):
        """Returns one tile (before intensity changes), where the picture is, and its targets."""
        random = self.random
        chosen = random.choice(len(self.volumes), p=self.weights)
        volume = self.volumes[chosen]
        slab = int(random.integers(len(volume.image)))
        picture, label = volume.image[slab], self.slices[chosen][slab]
        scale = math.exp(random.uniform(math.log(0.8), math.log(1.25)))
        matrix = augment.affine(random.uniform(-20, 20), scale, random.random() < 0.25)
        centre = self.tile_centre(label)
        sacral = sacral_number(volume)
        full_area = np.bincount(label.ravel(), minlength=IGNORED)[: sacral + 1] * scale ** 2
        if random.random() < HIDDEN_SPINE_SHARE:
            picture, label = without_spine(picture, label, random)

        sample = lambda plane, mode: augment.sample_affine(torch.from_numpy(plane)[None], matrix, centre, TILE, mode)
        tile = sample(picture, "bilinear")
        tile_label = sample(label.astype(np.float32), "nearest")[0].numpy().round().astype(np.uint8)
        inside = sample(np.ones_like(picture), "nearest") > 0
        x0, y0, x1, y1 = self.field_of_view(tile_label)
        inside[:, :y0], inside[:, y1:] = False, False
        inside[:, :, :x0], inside[:, :, x1:] = False, False
        tile_label[~inside[0].numpy()] = 0
        if random.random() < VOID_SHARE:
            tile, tile_label = with_void(tile, tile_label, random)
        # Where the picture itself ends below the spine counts as the end of the field, too.
        content = np.flatnonzero(inside[0].numpy().mean(1) > 0.1)
        bottom = content[-1] if len(content) else 0
        return tile, inside, tile_targets(tile_label, full_area, volume.lowest_lumbar, sacral, bottom)

    def tile_centre(self, label):
        """Returns the pixel (x, y) in the middle of a tile: mostly on the spine, sometimes anywhere."""
        random = self.random
        x0, y0, x1, y1 = data.mask_box((label > 0) & (label < IGNORED))
        centre = ((x0 + x1) / 2 + random.uniform(-50, 50), random.uniform(y0 - 10, y1 + 40))
        if random.random() < ANYWHERE_SHARE:
            rows, columns = label.shape
            centre = (random.uniform(0, columns), random.uniform(0, rows))
        return centre

    def field_of_view(self, label):
        """Returns (x0, y0, x1, y1), ends exclusive, of the part of a tile that stays visible."""
        random = self.random
        x0, y0, x1, y1 = 0, 0, TILE, TILE
        if random.random() < 0.3:
            cut = random.integers(0, TILE // 3, 4) * (random.random(4) < 0.5)
            x0, y0, x1, y1 = int(cut[0]), int(cut[1]), TILE - int(cut[2]), TILE - int(cut[3])
        rows = np.flatnonzero(((label > 0) & (label < IGNORED)).any(1))
        if len(rows) > 60 and random.random() < 0.2:
            # The picture ends somewhere on the spine: without a sacrum the lowest body must not be taken for L5.
            y1 = int(random.integers(rows[0] + 40, rows[-1] + 1))
        return x0, y0, x1, max(y1, min(y0 + 60, TILE))

    def batch(self, count):
        """Returns images [count,1,TILE,TILE] and the four target tensors."""
        tiles, inside, targets = zip(*(self.tile() for _ in range(count)))
        # The canvas around a picture is exactly 0 whatever the scanner does.
        images = augment.scanner_shift(torch.stack(tiles), self.generator, self.strength) * torch.stack(inside)
        return images, [torch.from_numpy(np.stack(group)) for group in zip(*targets)]

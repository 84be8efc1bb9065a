"""Patches of endplates: how one is cut out of a volume, and the painted, augmented ones used in training."""
import math
from typing import NamedTuple

import numpy as np
import torch

import augment
import data
import endplates
import look_alikes
import pits

PATCH, SPACING_MM = 64, 0.75
"""Pixels of a patch side and their size."""
NODE_SHARE = 0.45
"""Share of training patches with a node on the endplate in question."""
BOX_JITTER_MM = 1.3
"""Standard deviation of the patch centre: what the detector's boxes are off by."""
ELSEWHERE_SHARE, PARTIAL_VOLUME_SHARE = 0.06, 0.2
"""Shares of patches off the endplate, and of negative ones blurred as at the side of a body: the training volumes hold
only the middle 20 mm of the spine, a series holds more."""
WEIGHT = {"VB1": 2.5, "VB2": 1.6, "VB3": 0.8, data.PHANTOM: 0.5}
"""How often a volume of a stratum is drawn, against others."""
UPRIGHT, TILTED, TILTED_SHARE = 15, 45, 0.3
"""Bodies are turned by up to so many degrees, a share of them by more: few volumes show S1, whose plate lies oblique."""
LOOKS, POOL = 5, 1280
"""Patches that are cut from one painting, and how many are drawn at a time and shuffled."""
BESIDE_A_NODE = [look_alikes.modic_band, look_alikes.blob, look_alikes.vein_notch, look_alikes.thick_plate]
"""Look-alikes that may lie on an endplate that has a node, too."""


def patch_matrix(superior, angle=0.0, scale=1.0, mirrored=False):
    """Returns the 2x2 matrix from patch offsets in pixels to image offsets in mm; the body lies in the lower half."""
    flip = torch.diag(torch.tensor([1.0, 1.0 if superior else -1.0]))
    return SPACING_MM * flip @ augment.affine(angle, scale, mirrored)


def cut_patch(planes, centre, matrix):
    """Returns `[plane, PATCH, PATCH]` of planes `[plane, row, column]` of one slice, bilinear; 0 outside."""
    # A window is enough: sampling from the whole slice costs more than everything else here.
    x, y = int(centre[0]), int(centre[1])
    x0, y0 = max(0, x - 50), max(0, y - 50)
    window = torch.from_numpy(np.ascontiguousarray(planes[:, y0: y + 51, x0: x + 51]))
    return augment.sample_affine(window, matrix, (centre[0] - x0, centre[1] - y0), PATCH, "bilinear")


def with_neighbours(slabs, index):
    """Returns `[3, row, column]`: the previous, this and the next slab; edge slabs repeat."""
    return np.stack([slabs[max(index - 1, 0)], slabs[index], slabs[min(index + 1, len(slabs) - 1)]])


def box_in_patch(painted, centre, matrix, scale):
    """Returns (cx, cy, width, height) in patch pixels of a pits.Shown."""
    x, y, width, depth, _ = painted
    offset = torch.linalg.inv(matrix) @ torch.tensor([x - centre[0], y - centre[1]], dtype=torch.float32)
    middle = offset + (PATCH - 1) / 2
    return [float(middle[0]), float(middle[1]), width * scale / SPACING_MM, depth * scale / SPACING_MM]


def partial_volume(patch, random):
    """Returns the patch mixed with a shifted copy: at the side of a body a slice holds the plate at two heights."""
    shift = int(random.integers(3, 9)) * int(random.choice([-1, 1]))
    share = random.uniform(0.25, 0.7)
    moved = torch.roll(patch, (shift, int(random.integers(-3, 4))), (1, 2))
    return patch + share * (moved - patch)


class Example(NamedTuple):
    """A training patch and what is true of it."""

    patch: torch.Tensor
    """`[3, PATCH, PATCH]`."""
    label: float
    box: list
    """Centre x, centre y, width, depth in patch pixels; zeros without a node."""
    mask: torch.Tensor
    """`[1, PATCH, PATCH]`, share of each pixel that is node."""


class PatchSampler:
    """Draws painted and augmented training patches; `recipes` are those of pits.Painter.

    Painting costs more than cutting, so a painted endplate is looked at several times, on several slabs.
    """

    def __init__(self, volumes, seed, recipes):
        self.painter = pits.Painter(recipes)
        self.random = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.volumes = volumes
        self.plates = [endplates.endplates_of(volume) for volume in volumes]
        weights = np.array([WEIGHT.get(volume.stratum, 1.0) for volume in volumes])
        self.weights = weights / weights.sum()
        self.drawn = []

    def examples(self):
        """Paints one endplate and returns its Examples; none where it is neither a node nor none."""
        random = self.random
        chosen = random.choice(len(self.volumes), p=self.weights)
        volume, plates = self.volumes[chosen], self.plates[chosen]
        keys = list(plates)
        body, superior = keys[random.integers(len(keys))]
        own = plates[body, superior]
        slabs = volume.image.copy()
        is_node, shown = self.paint(slabs, plates, body, superior)
        # A slab that shows a node faintly, or only beside it, is neither a node nor none.
        visible = [index for index, plate in enumerate(own) if plate and (isinstance(shown[index], tuple) or not is_node)]
        natural = (volume.name, body, superior) in endplates.NATURAL_NODES or (body, superior) in volume.nodes
        if not visible or (natural and not is_node):
            return []
        return [self.example(slabs, int(index), own[index], superior, shown[index])
                for index in random.choice(visible, LOOKS, replace=len(visible) < LOOKS)]

    def example(self, slabs, index, plate, superior, shown):
        """Returns the Example of an endplate on slab `index`; `shown` is its pits.Shown or None."""
        random = self.random
        most = TILTED if random.random() < TILTED_SHARE else UPRIGHT
        angle, scale = random.uniform(-most, most), math.exp(random.uniform(math.log(0.85), math.log(1.2)))
        matrix = patch_matrix(superior, angle, scale, random.random() < 0.5)
        nothing = torch.zeros(1, PATCH, PATCH)
        if random.random() < ELSEWHERE_SHARE:
            return Example(self.patch_elsewhere(slabs, index, plate, matrix), 0.0, [0.0] * 4, nothing)
        jitter = random.normal(0, BOX_JITTER_MM, 2)
        centre = tuple(plate.midpoint_on(matrix.numpy()) + jitter)
        planes = with_neighbours(slabs, index)
        if shown:
            cut = cut_patch(np.concatenate([planes, shown.mask[None].astype(np.float32)]), centre, matrix)
            return Example(cut[:3], 1.0, box_in_patch(shown, centre, matrix, scale), cut[3:])
        patch = cut_patch(planes, centre, matrix)
        if random.random() < PARTIAL_VOLUME_SHARE:
            patch = partial_volume(patch, random)
        return Example(patch, 0.0, [0.0] * 4, nothing)

    def paint(self, slabs, plates, body, superior):
        """Paints into the slabs around an endplate; returns (has a node, what pits.paint_node says of every slab)."""
        random = self.random
        facing = (body - 1, False) if superior else (body + 1, True)
        opposite = (body, not superior)
        for other, share in ((facing, 0.2), (opposite, 0.15)):
            if other in plates and random.random() < share and any(plates[other]):
                pits.paint_node(slabs, plates[other], random, self.painter)
        own = plates[body, superior]
        is_node = random.random() < NODE_SHARE
        if random.random() < (0.2 if is_node else 0.65):
            look_alikes.paint_look_alike(slabs, own, random, self.painter, BESIDE_A_NODE if is_node else None)
        if not is_node:
            return False, [None] * len(own)
        return True, pits.paint_node(slabs, own, random, self.painter)

    def patch_elsewhere(self, slabs, index, plate, matrix):
        """Returns a patch whose middle is not on an endplate: a wrong box of the detector."""
        away = self.random.uniform(8, 80) * np.array([self.random.choice([-1, 1]), self.random.uniform(-0.5, 0.5)])
        if self.random.random() < 0.4:
            away = np.array([0, self.random.uniform(7, 11) * self.random.choice([-1, 1])])
        rows, columns = slabs.shape[1:]
        x, y = np.clip(np.array(plate.midpoint) + away, 5, [columns - 6, rows - 6])
        return cut_patch(with_neighbours(slabs, index), (x, y), matrix)

    def batch(self, count):
        """Returns (patches, labels [count], boxes [count,4], masks [count,1,PATCH,PATCH])."""
        if len(self.drawn) < count:
            while len(self.drawn) < POOL:
                self.drawn += self.examples()
            self.random.shuffle(self.drawn)
        taken, self.drawn = self.drawn[:count], self.drawn[count:]
        patches, labels, boxes, masks = zip(*taken)
        images = augment.scanner_shift(torch.stack(patches), self.generator, 0.7, lowest_resolution=0.6)
        return images, torch.tensor(labels), torch.tensor(boxes), torch.stack(masks)

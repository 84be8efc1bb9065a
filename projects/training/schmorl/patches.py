"""Patches of endplates: how one is cut out of a volume, and the painted, augmented ones used in training."""
import math

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
BESIDE_A_NODE = [look_alikes.modic_band, look_alikes.blob, look_alikes.vein_notch, look_alikes.thick_plate]
"""Look-alikes that may lie on an endplate that has a node, too."""


def patch_matrix(superior, angle=0.0, scale=1.0, mirrored=False):
    """Returns the 2x2 matrix from patch offsets in pixels to image offsets in mm; the body lies in the lower half."""
    flip = torch.diag(torch.tensor([1.0, 1.0 if superior else -1.0]))
    return SPACING_MM * flip @ augment.affine(angle, scale, mirrored)


def cut_patch(slabs, index, centre, matrix):
    """Returns `[3, PATCH, PATCH]` of the previous, this and the next slab; edge slabs repeat."""
    last = len(slabs) - 1
    three = np.stack([slabs[max(index - 1, 0)], slabs[index], slabs[min(index + 1, last)]])
    # A window is enough: sampling from the whole slice costs more than everything else here.
    x, y = int(centre[0]), int(centre[1])
    x0, y0 = max(0, x - 50), max(0, y - 50)
    window = torch.from_numpy(np.ascontiguousarray(three[:, y0: y + 51, x0: x + 51]))
    return augment.sample_affine(window, matrix, (centre[0] - x0, centre[1] - y0), PATCH, "bilinear")


def box_in_patch(painted, centre, matrix, scale):
    """Returns (cx, cy, width, height) in patch pixels of a painted node (x, y, width mm, depth mm)."""
    x, y, width, depth = painted
    offset = torch.linalg.inv(matrix) @ torch.tensor([x - centre[0], y - centre[1]], dtype=torch.float32)
    middle = offset + (PATCH - 1) / 2
    return [float(middle[0]), float(middle[1]), width * scale / SPACING_MM, depth * scale / SPACING_MM]


def partial_volume(patch, random):
    """Returns the patch mixed with a shifted copy: at the side of a body a slice holds the plate at two heights."""
    shift = int(random.integers(3, 9)) * int(random.choice([-1, 1]))
    share = random.uniform(0.25, 0.7)
    moved = torch.roll(patch, (shift, int(random.integers(-3, 4))), (1, 2))
    return patch + share * (moved - patch)


class PatchSampler:
    """Draws painted and augmented training patches; `recipes` are those of pits.Painter."""

    def __init__(self, volumes, seed, recipes):
        # A phantom has nodes of its own, which nobody has marked on its mask.
        volumes = [volume for volume in volumes if volume.stratum != data.PHANTOM]
        self.painter = pits.Painter(recipes)
        self.random = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.volumes = volumes
        self.plates = [endplates.endplates_of(volume) for volume in volumes]
        weight = {"VB1": 2.5, "VB2": 1.6, "VB3": 0.8}
        weights = np.array([weight.get(volume.stratum, 1.0) for volume in volumes])
        self.weights = weights / weights.sum()

    def patch(self):
        """Returns (patch [3,64,64], label 0 or 1, box [4], weight)."""
        random = self.random
        chosen = random.choice(len(self.volumes), p=self.weights)
        volume, plates = self.volumes[chosen], self.plates[chosen]
        keys = list(plates)
        body, superior = keys[random.integers(len(keys))]
        visible = [index for index, plate in enumerate(plates[body, superior]) if plate]
        index = int(random.choice(visible))
        first, last = max(index - 1, 0), min(index + 1, len(volume.image) - 1)
        slabs = volume.image[first: last + 1].copy()
        here = index - first
        cut = {key: row[first: last + 1] for key, row in plates.items()}
        is_node, painted = self.paint(slabs, cut, body, superior, here)
        own = cut[body, superior]

        angle, scale = random.uniform(-12, 12), math.exp(random.uniform(math.log(0.85), math.log(1.2)))
        matrix = patch_matrix(superior, angle, scale, random.random() < 0.5)
        if random.random() < ELSEWHERE_SHARE:
            return self.patch_elsewhere(slabs, here, own[here], matrix), 0.0, [0.0] * 4, 1.0
        jitter = random.normal(0, BOX_JITTER_MM, 2)
        middle = own[here].midpoint
        centre = (middle[0] + jitter[0], middle[1] + jitter[1])
        patch = cut_patch(slabs, here, centre, matrix)
        if not is_node and random.random() < PARTIAL_VOLUME_SHARE:
            patch = partial_volume(patch, random)
        if isinstance(painted, tuple):
            return patch, 1.0, box_in_patch(painted, centre, matrix, scale), 1.0
        unsure = is_node or (volume.name, body, superior) in endplates.NATURAL_NODES
        return patch, 0.0, [0.0] * 4, 0.0 if unsure else 1.0

    def paint(self, slabs, plates, body, superior, here):
        """Paints into the slabs around an endplate; returns (has a node, what paint_node says of slab `here`)."""
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
            return False, None
        return True, pits.paint_node(slabs, own, random, self.painter, here + random.uniform(-0.6, 0.6))[here]

    def patch_elsewhere(self, slabs, here, plate, matrix):
        """Returns a patch whose middle is not on an endplate: a wrong box of the detector."""
        away = self.random.uniform(8, 80) * np.array([self.random.choice([-1, 1]), self.random.uniform(-0.5, 0.5)])
        if self.random.random() < 0.4:
            away = np.array([0, self.random.uniform(7, 11) * self.random.choice([-1, 1])])
        rows, columns = slabs.shape[1:]
        x, y = np.clip(np.array(plate.midpoint) + away, 5, [columns - 6, rows - 6])
        return cut_patch(slabs, here, (x, y), matrix)

    def batch(self, count):
        """Returns (patches, labels [count], boxes [count,4], weights [count])."""
        patches, labels, boxes, weights = zip(*(self.patch() for _ in range(count)))
        images = augment.scanner_shift(torch.stack(patches), self.generator, 0.7, lowest_resolution=0.6)
        return images, torch.tensor(labels), torch.tensor(boxes), torch.tensor(weights)

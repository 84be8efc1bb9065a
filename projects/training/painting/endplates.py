"""Finds the endplates of annotated bodies and gives each its own coordinates, along the plate and into the body."""
from dataclasses import dataclass

import numpy as np

import data

NATURAL_NODES = {
    ("VB2_12", 1, False), ("VB2_12", 4, False), ("VB2_20", 1, False), ("VB3_03", 2, True), ("VB3_31", 5, False),
    ("VB3_35", 4, False), ("VB3_36", 1, True), ("VB3_37", 5, False), ("VB3_43", 3, True), ("VB3_45", 1, False),
    ("VB3_46", 1, False), ("VB3_46", 3, True), ("VB3_46", 4, True), ("VB3_46", 5, False),
    ("VB1_02", 5, True), ("VB1_03", 5, True), ("VB1_06", 5, True), ("VB1_07", 5, True), ("VB1_08", 5, True),
    ("VB1_06", 4, False),
}
"""(volume, body, superior) of unpainted endplates that are not used as negatives: they seem to have a real node or pit,
or are destroyed. Found among the highest answers of a first network, those of VB1 of one that had not seen the person, and
judged by eye, not by a radiologist."""

DIRECTIONS = np.stack([np.cos(np.arange(32) * np.pi / 16), np.sin(np.arange(32) * np.pi / 16)])
"""`[2, direction]`, unit vectors."""


@dataclass(frozen=True)
class Endplate:
    """An endplate on one slab, as a curve in its own frame.

    `along` and `inward` are unit vectors (x, y) in pixels = mm; `inward` points into the body. A pixel has the
    coordinates u (along the plate, 0 in its middle) and v (depth below the plate: positive in the body).
    """

    body: int
    superior: bool
    origin: tuple
    along: tuple
    inward: tuple
    curve: tuple
    half_width: float
    box: tuple
    """(x0, y0, x1, y1) of the body on this slab, inclusive pixels."""
    outline: np.ndarray
    """`[point, (x, y)]`: the pixels of the body that lie farthest out, one per direction."""

    def coordinates(self, window):
        """Returns (u, v) in mm of every pixel of a window (x0, y0, x1, y1; ends exclusive)."""
        x0, y0, x1, y1 = window
        x = np.arange(x0, x1, dtype=np.float32)[None, :] - self.origin[0]
        y = np.arange(y0, y1, dtype=np.float32)[:, None] - self.origin[1]
        u = x * self.along[0] + y * self.along[1]
        v = x * self.inward[0] + y * self.inward[1]
        return u, v - np.polyval(self.curve, np.clip(u, -self.half_width, self.half_width))

    @property
    def midpoint(self):
        """Returns the point (x, y) on which a patch of this endplate is centred."""
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2, float(y0 if self.superior else y1)

    def midpoint_on(self, matrix):
        """Returns the midpoint where the body is seen turned: the upper edge of its box on a patch, as an image point.

        matrix  2x2, from patch offsets to image offsets
        """
        on_patch = (self.outline - self.outline.mean(0)) @ np.linalg.inv(matrix).T
        low, high = on_patch.min(0), on_patch.max(0)
        return self.outline.mean(0) + matrix @ np.array([(low[0] + high[0]) / 2, low[1]])


def find_endplate(mask, body, superior, axis):
    """Returns the Endplate of a `[row, column]` body mask, or None when too little of it is visible.

    axis  unit vector (x, y) along the spine, pointing to the feet
    """
    box = data.mask_box(mask)
    if box is None or mask.sum() < 250 or box[0] < 2 or box[1] < 3 or box[3] > mask.shape[0] - 4:
        return None
    rows, columns = np.nonzero(mask)
    origin = (float(columns.mean()), float(rows.mean()))
    inward = axis if superior else (-axis[0], -axis[1])
    along = (axis[1], -axis[0])
    u = (columns - origin[0]) * along[0] + (rows - origin[1]) * along[1]
    v = (columns - origin[0]) * inward[0] + (rows - origin[1]) * inward[1]
    half_width = (np.percentile(u, 98) - np.percentile(u, 2)) / 2
    bins = np.arange(-int(0.8 * half_width), int(0.8 * half_width) + 1)
    edge = [(b, v[np.abs(u - b) <= 0.7].min()) for b in bins if (np.abs(u - b) <= 0.7).any()]
    if len(edge) < 8:
        return None
    curve = np.polyfit(*np.array(edge, float).T, 3)
    pixels = np.stack([columns, rows], 1)
    outline = pixels[(pixels @ DIRECTIONS).argmax(0)].astype(np.float32)
    return Endplate(body, superior, origin, along, inward, tuple(curve), float(half_width), box, outline)


def spine_axis(label, body):
    """Returns the unit vector (x, y) along the spine at a body, from its neighbours' centres on this slab."""
    centres = {}
    for number in (body - 1, body, body + 1):
        rows, columns = np.nonzero(label == number)
        if len(rows) > 50 and number > 0:
            centres[number] = np.array([columns.mean(), rows.mean()])
    if len(centres) < 2 or body not in centres:
        return 0.0, 1.0
    step = centres[max(centres)] - centres[min(centres)]
    step /= np.linalg.norm(step)
    return float(step[0]), float(step[1])


def endplates_of(volume):
    """Returns {(body, superior): [Endplate or None per slab]} of a volume; the lower plate of S1 is left out."""
    found = {}
    for body in range(1, volume.bodies + 1):
        axes = [spine_axis(label, body) for label in volume.label]
        for superior in (True, False):
            if body == volume.sacral and not superior:
                continue
            plates = [find_endplate(label == body, body, superior, axis) for label, axis in zip(volume.label, axes)]
            if any(plates):
                found[body, superior] = plates
    return found

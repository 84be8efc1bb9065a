"""Decodes the detector's maps into boxes and scores them against the masks, slice by slice.

The pipeline does the decoding again in its own way; this one is for choosing settings. Joining slices is not done here.
"""
import math

import numpy as np
import torch

import data
from vertebra_tiles import STRIDE

CANVAS = 384
"""Pixels (mm) of a side of the network input."""
SCORE_THRESHOLD = 0.45
"""A cell counts as a body centre from this score. On middle slices bodies score 0.8 and more."""


def canvas_offset(size):
    """Returns where an image of this many pixels starts on the canvas; negative when it is cropped."""
    return math.floor((CANVAS - size) / 2)


def on_canvas(image):
    """Returns (`[CANVAS, CANVAS]` picture, x offset, y offset) of a `[row, column]` slice."""
    rows, columns = image.shape
    top, left = canvas_offset(rows), canvas_offset(columns)
    canvas = np.zeros((CANVAS, CANVAS), np.float32)
    source = image[max(0, -top): max(0, -top) + CANVAS, max(0, -left): max(0, -left) + CANVAS]
    y, x = max(0, top), max(0, left)
    canvas[y: y + source.shape[0], x: x + source.shape[1]] = source
    return canvas, left, top


def overlap(a, b):
    """Returns the intersection over union of two inclusive boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    area = lambda box: (box[2] - box[0] + 1) * (box[3] - box[1] + 1)
    return width * height / (area(a) + area(b) - width * height)


def decode(centre, size, offset, threshold):
    """Returns [(score, (x0, y0, x1, y1))] on the canvas for one centre map `[h, w]`, best first, overlaps removed."""
    padded = np.pad(centre, 1, constant_values=-1)
    around = np.max([padded[r: r + centre.shape[0], c: c + centre.shape[1]] for r in range(3) for c in range(3)], 0)
    found = []
    for row, column in zip(*np.nonzero((centre >= around) & (centre >= threshold))):
        x = column * STRIDE + (STRIDE - 1) / 2 + offset[0, row, column]
        y = row * STRIDE + (STRIDE - 1) / 2 + offset[1, row, column]
        half_x, half_y = (size[0, row, column] - 1) / 2, (size[1, row, column] - 1) / 2
        found.append((float(centre[row, column]), (x - half_x, y - half_y, x + half_x, y + half_y)))
    kept = []
    for score, box in sorted(found, reverse=True):
        if all(overlap(box, other) < 0.3 for _, other in kept):
            kept.append((score, box))
    return kept


def detect(network, image, threshold=SCORE_THRESHOLD):
    """Returns ({"body": boxes, "l5": ..., "s1": ...}) in pixels of a normalised `[row, column]` slice."""
    canvas, left, top = on_canvas(image)
    with torch.no_grad():
        heat, size, offset, sacrum = (out[0].numpy() for out in network(torch.from_numpy(canvas)[None, None]))
    move = lambda found: [(s, (b[0] - left, b[1] - top, b[2] - left, b[3] - top)) for s, b in found]
    return {name: move(decode(plane, size, offset, threshold))
            for name, plane in (("body", heat[0]), ("l5", heat[1]), ("s1", sacrum[0]))}


def slice_counts(volume, slab, found):
    """Returns (hits, misses, false boxes inside the annotated span, centre errors mm, overlaps, L5 right or None)."""
    truth = {body: data.mask_box(volume.label[slab] == body)
             for body in range(1, volume.bodies + 1) if body != volume.sacral}
    truth = {body: box for body, box in truth.items() if box}
    middle = lambda box: ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    distance = lambda a, b: math.dist(middle(a), middle(b))
    pairs = sorted((distance(box, f[1]), body, k) for body, box in truth.items() for k, f in enumerate(found["body"]))
    taken, used, errors, overlaps = {}, set(), [], []
    for gap, body, k in pairs:
        if gap <= 10 and body not in taken and k not in used:
            taken[body] = k
            used.add(k)
            errors.append(gap)
            overlaps.append(overlap(truth[body], found["body"][k][1]))
    rows = [middle(box)[1] for box in truth.values()]
    false = sum(1 for k, f in enumerate(found["body"]) if k not in used and min(rows) <= middle(f[1])[1] <= max(rows))
    lumbar = truth.get(volume.lowest_lumbar)
    right = None
    if lumbar is not None:
        right = bool(found["l5"]) and distance(found["l5"][0][1], lumbar) <= 10
    return len(taken), len(truth) - len(taken), false, errors, overlaps, right


def evaluate(network, volumes, threshold=SCORE_THRESHOLD):
    """Returns per stratum: recall, precision, centre error, overlap and the share of slices whose L5 is right."""
    network.eval()
    sums = {}
    for volume in volumes:
        for slab in range(len(volume.image)):
            counts = slice_counts(volume, slab, detect(network, volume.image[slab], threshold))
            for key in (volume.stratum, "all"):
                sums.setdefault(key, []).append(counts)
    report = {}
    for key, rows in sorted(sums.items()):
        hits, misses, false = (sum(row[i] for row in rows) for i in range(3))
        errors, overlaps = (sum((row[i] for row in rows), []) for i in (3, 4))
        levels = [row[5] for row in rows if row[5] is not None]
        report[key] = {
            "slices": len(rows), "recall": hits / max(hits + misses, 1), "precision": hits / max(hits + false, 1),
            "centre_error_mm": float(np.mean(errors or [99])), "iou": float(np.mean(overlaps or [0])),
            "l5_right": float(np.mean(levels)) if levels else None}
    return report

"""Reads the training volumes and says which annotated body is which.

A volume is five neighbouring sagittal slabs on a 1 mm grid with an integer mask of the vertebral bodies. This module
orders the bodies from top to bottom, names the lowest lumbar body and the sacral one, and splits volumes by subject.
What the networks see of a volume is decided in vertebrae.py and schmorl.py.
"""
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PERCENTILES = (1, 99)
"""Percentiles over all voxels of a volume that become 0 and 1."""

ONE_SUBJECT = [{"VB1_02", "VB1_03", "VB1_06", "VB1_07", "VB1_08"}, {"VB1_10", "VB1_11"}]
"""Volumes of the same person: they stay on one side of every split."""

VALIDATION = {
    "VB1_16", "VB2_13", "VB2_18",
    "VB3_08", "VB3_15", "VB3_22", "VB3_27", "VB3_34", "VB3_40", "VB3_46", "VB3_51",
}
"""Volumes kept out of training while settings are chosen."""


UNSURE_LEVELS = {"VB1_16"}
"""The lowest annotated body has a well-formed disc below it: L5 or S1, perhaps transitional. Levels are not trained."""


@dataclass
class Volume:
    """One volume with its bodies renumbered 1..n from top to bottom."""

    name: str
    image: np.ndarray
    """`[slab, row, column]`, f32, 0..1 after percentile normalisation; 1 mm pixels, 4 mm slabs."""
    label: np.ndarray
    """`[slab, row, column]`, u8: 0 or the number of the body."""
    lowest_lumbar: int
    """Number of the L5 body, 0 where the levels are unsure."""
    sacral: int
    """Number of the S1 body, 0 where S1 is not annotated."""

    @property
    def stratum(self):
        """Returns the source collection: VB1, VB2 or VB3."""
        return self.name.split("_")[0]

    @property
    def bodies(self):
        """Returns the number of annotated bodies, S1 included."""
        return int(self.label.max())


def normalise(voxels):
    """Returns voxels as f32 with the 1st percentile at 0 and the 99th at 1, clipped to 0..1."""
    low, high = np.percentile(voxels, PERCENTILES)
    return np.clip((voxels.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)


def mask_box(mask):
    """Returns (x0, y0, x1, y1), inclusive pixels, of a `[row, column]` mask, or None when it is empty."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if len(columns) == 0:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def _renumbered(label):
    """Returns the mask with bodies numbered 1..n by their mean row."""
    values = [value for value in np.unique(label) if value > 0]
    values.sort(key=lambda value: np.nonzero(label == value)[1].mean())
    table = np.zeros(256, np.uint8)
    for number, value in enumerate(values, 1):
        table[value] = number
    return table[label]


def load_volume(path):
    """Returns the Volume stored in an npz file with `image` and `label`."""
    path = Path(path)
    with np.load(path) as stored:
        image, label = normalise(stored["image"]), _renumbered(stored["label"])
    count = int(label.max())
    if path.stem in UNSURE_LEVELS:
        return Volume(path.stem, image, label, 0, 0)
    # VB1 marks S1 as its lowest body (it is followed by S2 along the sacral curve);
    # VB2 ends at L5 (T11..L5) and so does VB3 (L1..L5).
    has_sacral = path.stem.startswith("VB1")
    return Volume(path.stem, image, label, count - 1 if has_sacral else count, count if has_sacral else 0)


def scored_set(split):
    """Returns what scores on the validation volumes mean after a run with this split."""
    return "volumes_held_out" if split == "validation" else "volumes_trained_on"


def load_split(folder, use_all=False):
    """Returns (training volumes, validation volumes) of a folder of npz files; all are training ones with `use_all`."""
    volumes = [load_volume(path) for path in sorted(Path(folder).glob("*.npz"))]
    if not volumes:
        raise SystemExit(f"no npz volumes in {folder}")
    held_out = [volume for volume in volumes if volume.name in VALIDATION]
    kept = volumes if use_all else [volume for volume in volumes if volume.name not in VALIDATION]
    for group in ONE_SUBJECT:
        sides = {name in VALIDATION for name in group}
        assert len(sides) == 1, "a subject may not be on both sides of the split"
    return kept, held_out

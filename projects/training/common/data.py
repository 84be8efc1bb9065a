"""Reads the training volumes, says which annotated body is which, and deals the volumes into folds.

A volume is a few neighbouring sagittal slabs on a 1 mm grid with an integer mask of the vertebral bodies. What the
networks see of a volume is decided where they are trained.
"""
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PERCENTILES = (1, 99)
"""Percentiles over all voxels of a volume that become 0 and 1."""

ONE_SUBJECT = [{"VB1_02", "VB1_03", "VB1_06", "VB1_07", "VB1_08"}, {"VB1_10", "VB1_11"}]
"""Volumes of the same person: they stay in one fold."""

UNSURE_LEVELS = {"VB1_16"}
"""The lowest annotated body has a well-formed disc below it: L5 or S1, perhaps transitional. Levels are not trained."""

PHANTOM = "PHANTOM"
"""Stratum of synthetic volumes, which belong to no fold: the detector trains on them, they are scored in none."""


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
    nodes: frozenset = frozenset()
    """(body, superior) of endplates that are known to have a Schmorl's node: those of a phantom."""

    @property
    def stratum(self):
        """Returns the source collection: VB1, VB2, VB3 or PHANTOM."""
        return stratum_of(self.name)

    @property
    def bodies(self):
        """Returns the number of annotated bodies, S1 included."""
        return int(self.label.max())


def stratum_of(name):
    """Returns the stratum of a volume's name."""
    return name.split("_")[0]


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
    """Returns the mask with bodies numbered 1..n by their mean row, and the new number of each old one."""
    values = [value for value in np.unique(label) if value > 0]
    values.sort(key=lambda value: np.nonzero(label == value)[1].mean())
    table = np.zeros(256, np.uint8)
    for number, value in enumerate(values, 1):
        table[value] = number
    return table[label], table


def load_volume(path):
    """Returns the Volume stored in an npz file with `image` and `label`, and with `nodes` where they are known."""
    path = Path(path)
    with np.load(path) as stored:
        image, (label, numbers) = normalise(stored["image"]), _renumbered(stored["label"])
        known = stored["nodes"] if "nodes" in stored else ()
    nodes = frozenset((int(numbers[body]), bool(superior)) for body, superior in known)
    count = int(label.max())
    if path.stem in UNSURE_LEVELS:
        return Volume(path.stem, image, label, 0, 0, nodes)
    # VB1 marks S1 as its lowest body (it is followed by S2 along the sacral curve); the others end at L5.
    has_sacral = stratum_of(path.stem) == "VB1"
    return Volume(path.stem, image, label, count - 1 if has_sacral else count, count if has_sacral else 0, nodes)


def dealt_into_folds(names, count):
    """Returns {name: fold}: subjects of a stratum are dealt in turn, phantoms belong to no fold (-1)."""
    folds, dealt = {}, {}
    for name in sorted(names):
        stratum = stratum_of(name)
        if stratum == PHANTOM:
            folds[name] = -1
            continue
        subject = next((group for group in ONE_SUBJECT if name in group), {name})
        known = [folds[other] for other in subject if other in folds]
        if known:
            folds[name] = known[0]
            continue
        folds[name] = dealt.get(stratum, 0) % count
        dealt[stratum] = dealt.get(stratum, 0) + 1
    return folds


def training_volumes(folder, held_out):
    """Returns the volumes of a prepared folder but for those of fold `held_out`; -1 holds none out."""
    return _volumes_where(folder, lambda fold: held_out < 0 or fold != held_out)


def volumes_of_fold(folder, fold):
    """Returns the volumes that a fold of a prepared folder keeps out."""
    return _volumes_where(folder, lambda dealt: dealt == fold)


def _volumes_where(folder, is_wanted):
    folds = json.loads((Path(folder) / "folds.json").read_text())["folds"]
    return [load_volume(Path(folder) / f"{name}.npz") for name, fold in folds.items() if is_wanted(fold)]

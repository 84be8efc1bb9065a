"""Prepares a training set: checks the volumes, adds phantoms, and deals subjects into folds."""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import data


def arguments():
    """Returns the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder of npz volumes")
    parser.add_argument("--output", required=True, help="folder to write")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--phantoms", type=int, default=6, help="synthetic studies to add")
    parser.add_argument("--volumes", type=int, default=0, help="at most so many of each stratum; 0: all")
    return parser.parse_args()


def volume_paths(folder, at_most):
    """Returns the npz files to take, sorted; each must be a volume with its mask."""
    taken = {}
    for path in sorted(Path(folder).glob("*.npz")):
        with np.load(path) as stored:
            image, label = stored["image"], stored["label"]
        if image.ndim != 3 or image.shape != label.shape or not label.any():
            sys.exit(f"{path}: not a volume with its mask: {image.shape}, {label.shape}")
        of_stratum = taken.setdefault(path.stem.split("_")[0], [])
        if at_most == 0 or len(of_stratum) < at_most:
            of_stratum.append(path)
    paths = sorted(path for group in taken.values() for path in group)
    if not paths:
        sys.exit(f"no npz volumes in {folder}")
    return paths


def body_mask(shape, boxes):
    """Returns a mask of rounded bodies that fill their boxes; the phantom's truth has boxes only."""
    rows, columns = np.indices(shape)
    mask = np.zeros(shape, np.uint8)
    for body in boxes:
        x = (columns - (body["x0"] + body["x1"]) / 2) / ((body["x1"] - body["x0"] + 1) / 2)
        y = (rows - (body["y0"] + body["y1"]) / 2) / ((body["y1"] - body["y0"] + 1) / 2)
        mask[(x ** 4 + y ** 4 <= 1) & (mask == 0)] = body["mask_label"]
    return mask


def write_phantom(seed, target):
    """Writes the sagittal series of a phantom as a volume with its mask, and which endplates have a node."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        subprocess.run(["mlpipe", "phantom", "--seed", str(seed), "--output", str(folder)], check=True,
                       stdout=subprocess.DEVNULL)
        truth = json.loads((folder / "truth_schmorl.json").read_text())["cases"][0]
        voxels = folder / "volume.npy"
        subprocess.run(["mlpipe", "dicom", "volume", str(folder / "studies"), "--series",
                        truth["series_instance_uid"], "-o", str(voxels)], check=True, stdout=subprocess.DEVNULL)
        image = np.load(voxels)
    most = max(len(entry["vertebrae"]) for entry in truth["slices"])
    kept = [k for k, entry in enumerate(truth["slices"]) if len(entry["vertebrae"]) >= most - 1]
    low, high = np.percentile(image, (0.1, 99.9))
    grey = np.clip((image[kept] - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    label = np.stack([body_mask(image.shape[1:], truth["slices"][k]["vertebrae"]) for k in kept])
    nodes = [(node["mask_label"], node["endplate"] == "superior") for node in truth["nodes"]]
    np.savez_compressed(target, image=grey, label=label, nodes=np.array(nodes, np.uint8).reshape(-1, 2))


def main():
    given = arguments()
    output = Path(given.output)
    output.mkdir(parents=True, exist_ok=True)
    paths = volume_paths(given.data, given.volumes)
    for path in paths:
        (output / path.name).write_bytes(path.read_bytes())
    names = [path.stem for path in paths]
    for seed in range(101, 101 + given.phantoms):
        names.append(f"{data.PHANTOM}_{seed}")
        write_phantom(seed, output / f"{names[-1]}.npz")
    folds = data.dealt_into_folds(names, given.folds)
    empty = sorted(set(range(given.folds)) - set(folds.values()))
    if empty:
        sys.exit(f"{given.data}: no subject is left for fold {empty[0]} of {given.folds}; a stratum needs {given.folds} subjects")
    (output / "folds.json").write_text(json.dumps({"format": "mlpipe.folds/1", "folds": folds}, indent=1) + "\n")
    print(f"{len(names)} volumes, {given.phantoms} of them phantoms; per fold "
          f"{[list(folds.values()).count(fold) for fold in range(given.folds)]}")


if __name__ == "__main__":
    main()

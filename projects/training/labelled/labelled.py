"""Writes the volumes of one fold as a labelled set: what the pipeline's steps read, and the truth that they are scored by.

For nodes the volumes are painted first, by the painter of the training or by one that the training never uses.
"""
import argparse
import hashlib
import itertools
import json
from pathlib import Path

import numpy as np

import data
import endplates
import look_alikes
import other_painter
import pits

TIMES = 3
"""How often each painter paints a volume: by the few nodes of one painting, settings cannot be told apart."""


def arguments():
    """Returns the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder that prepare.py wrote")
    parser.add_argument("--output", required=True, help="folder to write")
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--painted", choices=["true", "false"], default="false", help="whether each painter paints each volume")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def uid(*names):
    """Returns a UID made of names: the same names, the same UID."""
    return "2.25." + str(int(hashlib.sha256("/".join(map(str, names)).encode()).hexdigest()[:30], 16))


def write_volume(volumes, name, image):
    """Writes `[slab, row, column]` as a mlpipe.volume/1 of sagittal slices and returns the UIDs of its slices."""
    folder = volumes / name
    folder.mkdir(parents=True)
    np.save(folder / "volume.npy", np.ascontiguousarray(image, dtype=np.float32))
    count, rows, columns = image.shape
    sops = [uid(name, slab) for slab in range(count)]
    axes = {"row_axis": [0.0, 0.0, -1.0], "column_axis": [0.0, 1.0, 0.0]}
    sources = [
        {"sop_instance_uid": sop, "shape": [rows, columns], "origin_lps": [4.0 * slab, 0.0, 0.0], **axes,
         "spacing_mm": [1.0, 1.0]} for slab, sop in enumerate(sops)]
    geometry = {"shape": [count, rows, columns], "origin_lps": [0.0, 0.0, 0.0], "slice_axis": [1.0, 0.0, 0.0], **axes,
                "spacing_mm": [4.0, 1.0, 1.0]}
    document = {"format": "mlpipe.volume/1", "series_instance_uid": uid(name), "study_instance_uid": uid(name, "study"),
                "modality": "MR", "geometry": geometry, "sources": sources}
    (folder / "volume.json").write_text(json.dumps(document))
    return sops


def truth_of_bodies(volume, name, sops):
    """Returns the case of truth_vertebrae.json."""
    slices, areas = [], []
    for slab, sop in enumerate(sops):
        vertebrae = []
        for body in range(1, volume.bodies + 1):
            mask = volume.label[slab] == body
            if mask.any():
                x0, y0, x1, y1 = data.mask_box(mask)
                vertebrae.append({"mask_label": body, "x0": x0, "y0": y0, "x1": x1, "y1": y1,
                                  "area_px": int(mask.sum())})
        slices.append({"sop": sop, "instance": slab + 1, "vertebrae": vertebrae})
        areas.append(sum(vertebra["area_px"] for vertebra in vertebrae))
    count, rows, columns = volume.image.shape
    return {"case": name, "plane": "SAG", "series_instance_uid": uid(name), "n": count, "rows": rows, "cols": columns,
            "spacing_mm": [1.0, 1.0, 4.0], "best_slice_instance": int(np.argmax(areas)) + 1, "stratum": volume.stratum,
            "source_case": volume.name, "slices": slices}


def painted(volume, painter, random):
    """Returns (slabs, entries of truth_schmorl.json: endplates, nodes, distractors)."""
    plates = endplates.endplates_of(volume)
    slabs, truth = volume.image.copy(), {"endplates": [], "nodes": [], "distractors": []}
    for (body, superior), row in plates.items():
        drawn, status = random.random(), "negative"
        name = {"mask_label": body, "endplate": "superior" if superior else "inferior"}
        if drawn < 0.2:
            found = painter.node(slabs, row, random)
            # A node that no slice shows well is neither a node nor none.
            status = "ignore"
            shown = [(entry[2] * entry[3], slab) for slab, entry in enumerate(found) if isinstance(entry, tuple)]
            if shown:
                slab = max(shown)[1]
                truth["nodes"].append({**name, **placed(found[slab], row[slab]), "slab": slab})
                status = "node"
        elif drawn < 0.4:
            kind = painter.look_alike(slabs, row, random)
            slab = next(slab for slab in (2, 1, 3, 0, 4) if row[slab])
            x, y = row[slab].midpoint
            truth["distractors"].append({**name, "kind": kind, "slab": slab, "box_px": [x - 8, y - 8, x + 8, y + 8]})
        if status == "negative" and (volume.name, body, superior) in endplates.NATURAL_NODES:
            status = "ignore"
        truth["endplates"].append({**name, "status": status})
    return slabs, truth


def placed(entry, plate):
    """Returns box and extent of a painted node (centre x, centre y, width mm, depth mm)."""
    x, y, width, depth = entry[:4]
    along_x = abs(plate.along[0]) > 0.5
    half_x, half_y = (width, depth) if along_x else (depth, width)
    return {"box_px": [x - half_x / 2, y - half_y / 2, x + half_x / 2, y + half_y / 2], "width_mm": width,
            "depth_mm": depth}


class TrainingPainter:
    """What the training paints with."""

    def __init__(self):
        self.recipes = pits.Painter("several")

    def node(self, slabs, row, random):
        """Paints a node; returns what pits.paint_node does."""
        return pits.paint_node(slabs, row, random, self.recipes)

    def look_alike(self, slabs, row, random):
        """Paints a look-alike; returns its kind."""
        return look_alikes.paint_look_alike(slabs, row, random, self.recipes)


def truth_of_nodes(case, truth):
    """Returns the case of truth_schmorl.json."""
    sop = lambda entry: {"sop_instance_uid": case["slices"][entry["slab"]]["sop"], "instance": entry["slab"] + 1}
    located = lambda entries: [{key: value for key, value in {**entry, **sop(entry)}.items() if key != "slab"}
                               for entry in entries]
    return {**case, "endplates": truth["endplates"], "nodes": located(truth["nodes"]),
            "distractors": located(truth["distractors"])}


def main():
    given = arguments()
    output, cases, node_cases = Path(given.output), [], []
    painters = {"training": TrainingPainter(), "other": other_painter.OtherPainter()} if given.painted == "true" else {}
    random = np.random.default_rng(given.seed)
    for volume in data.volumes_of_fold(given.data, given.fold):
        if not painters:
            cases.append(truth_of_bodies(volume, volume.name, write_volume(output / "volumes", volume.name, volume.image)))
        for kind, number in itertools.product(painters, range(1, TIMES + 1)):
            name, painter = f"{volume.name}_{kind}_{number}", painters[kind]
            image, truth = painted(volume, painter, random)
            cases.append(truth_of_bodies(volume, name, write_volume(output / "volumes", name, image)))
            node_cases.append({**truth_of_nodes(cases[-1], truth), "group": kind})
    (output / "truth_vertebrae.json").write_text(json.dumps(cases))
    if node_cases:
        (output / "truth_schmorl.json").write_text(json.dumps({"format": "mlpipe.truth_schmorl/1", "cases": node_cases}))
    print(f"{len(cases)} volumes, {sum(len(case['nodes']) for case in node_cases)} nodes")


if __name__ == "__main__":
    main()

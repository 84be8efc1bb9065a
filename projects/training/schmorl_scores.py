"""Scores the node classifier on freshly painted volumes, endplate by endplate, and places its cut."""
import numpy as np
import torch

import endplates
import nodes
from schmorl_patches import NATURAL_NODES, SPACING_MM, box_in_patch, cut_patch, patch_matrix


def painted_volume(volume, plates, random):
    """Returns (slabs, {key: ("node", painted per slab) or (look-alike name, None) or ("plain", None)})."""
    slabs, truth = volume.image.copy(), {}
    for key, row in plates.items():
        drawn = random.random()
        if drawn < 0.2:
            truth[key] = ("node", nodes.paint_node(slabs, row, random))
        elif drawn < 0.4:
            truth[key] = (nodes.paint_look_alike(slabs, row, random), None)
        else:
            truth[key] = ("plain", None)
    return slabs, truth


def examine(network, slabs, row, jitter):
    """Returns (slab numbers, probabilities, boxes) of one endplate over all slabs on which it is visible."""
    seen = [index for index, plate in enumerate(row) if plate]
    patches, matrix = [], patch_matrix(row[seen[0]].superior)
    for index in seen:
        x, y = row[index].midpoint
        patches.append(cut_patch(slabs, index, (x + jitter[0], y + jitter[1]), matrix))
    with torch.no_grad():
        probability, box = network(torch.stack(patches))
    return seen, probability[:, 0].numpy(), box.numpy()


def examined_endplates(network, volumes, seed=7, rounds=4):
    """Returns a record per examined endplate of freshly painted volumes."""
    network.eval()
    records, random = [], np.random.default_rng(seed)
    for volume in volumes:
        plates = endplates.endplates_of(volume)
        for _ in range(rounds):
            slabs, truth = painted_volume(volume, plates, random)
            for key, row in plates.items():
                kind, painted = truth[key]
                counted = kind != "node" or any(isinstance(entry, tuple) for entry in painted)
                if not counted or (kind != "node" and (volume.name, *key) in NATURAL_NODES):
                    continue
                jitter = random.normal(0, 1.0, 2)
                seen, probability, box = examine(network, slabs, row, jitter)
                best = int(np.argmax(probability))
                record = {"volume": volume.name, "stratum": volume.stratum, "key": key, "kind": kind,
                          "max": float(probability.max()),
                          "mean_top2": float(np.sort(probability)[-2:].mean())}
                at = seen[best]
                if kind == "node" and isinstance(painted[at], tuple):
                    matrix = patch_matrix(key[1])
                    centre = np.array(row[at].midpoint) + jitter
                    expected = box_in_patch(painted[at], centre, matrix, 1.0)
                    record["error_mm"] = (np.abs(box[best] - expected) * SPACING_MM).tolist()
                records.append(record)
    return records


def area_under_curve(scores, positive):
    """Returns the area under the ROC curve (ties count half)."""
    yes, no = scores[positive], scores[~positive]
    if len(yes) == 0 or len(no) == 0:
        return float("nan")
    return float(((yes[:, None] > no[None, :]) + 0.5 * (yes[:, None] == no[None, :])).mean())


def summary(records, aggregate="max"):
    """Returns scores per stratum and in all of endplate records."""
    report = {}
    for stratum in sorted({record["stratum"] for record in records}) + ["all"]:
        rows = [record for record in records if stratum in (record["stratum"], "all")]
        score = np.array([row[aggregate] for row in rows])
        node = np.array([row["kind"] == "node" for row in rows])
        alike = np.array([row["kind"] not in ("node", "plain") for row in rows])
        errors = [row["error_mm"] for row in rows if "error_mm" in row and row["max"] >= 0.5]
        errors = np.array(errors or [[np.nan] * 4])
        report[stratum] = {
            "endplates": len(rows), "nodes": int(node.sum()), "auc": area_under_curve(score, node),
            "sensitivity": float((score[node] >= 0.5).mean()), "specificity": float((score[~node] < 0.5).mean()),
            "look_alikes_taken_for_nodes": float((score[alike] >= 0.5).mean()),
            "centre_error_mm": float(np.hypot(errors[:, 0], errors[:, 1]).mean()),
            "width_error_mm": float(errors[:, 2].mean()), "depth_error_mm": float(errors[:, 3].mean())}
    return report


def calibrate(network, records):
    """Shifts the network's logit so that 0.5 is the cut with the best sensitivity + specificity."""
    score = np.array([record["max"] for record in records]).clip(1e-6, 1 - 1e-6)
    node = np.array([record["kind"] == "node" for record in records])
    logit = np.log(score / (1 - score))
    cuts = np.quantile(logit, np.linspace(0.3, 0.995, 200))
    gain = [(logit[node] >= cut).mean() + (logit[~node] < cut).mean() for cut in cuts]
    # The middle of the near-best cuts: the single best one is an accident of few nodes.
    best = cuts[np.array(gain) >= max(gain) - 0.01].mean()
    network.bias_shift -= float(best)
    return float(best)

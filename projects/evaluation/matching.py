"""Compares what the pipeline found in one series with its truth; what follows from many such comparisons is in figures.py.

The rules are those of the two result formats' scorers: a vertebra is found when the centres lie within 10 mm; a node when
its box lies on the right endplate, within 8 mm in the slice and 8 mm across slices. Boxes are (x0, y0, x1, y1) in pixels of
the stored image, edges inclusive.
"""
import math

HIT_MM, NODE_MM = 10.0, 8.0
LEAST_IOU = 0.3
"""Boxes of the same vertebra overlap at least this much, or their centres lie within HIT_MM."""
CUT = 0.5
"""A probability that counts as a finding."""


def centre(box):
    """Returns the middle (x, y) of a box."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def apart(one, other):
    """Returns the distance in pixels between the middles of two boxes."""
    return math.dist(centre(one), centre(other))


def iou(one, other):
    """Returns the share of two boxes' union that both cover."""
    width, height = (min(one[i + 2], other[i + 2]) - max(one[i], other[i]) + 1 for i in (0, 1))
    if width <= 0 or height <= 0:
        return 0.0
    area = lambda box: (box[2] - box[0] + 1) * (box[3] - box[1] + 1)
    return width * height / (area(one) + area(other) - width * height)


def truth_box(vertebra):
    """Returns the box of a truth vertebra."""
    return [vertebra[edge] for edge in ("x0", "y0", "x1", "y1")]


def match_vertebrae(case, document):
    """Returns the comparison of a case of truth_vertebrae.json with a mlpipe.vertebrae/1, or with None."""
    best = next(entry for entry in case["slices"] if entry["instance"] == case["best_slice_instance"])
    truth = [truth_box(vertebra) for vertebra in best["vertebrae"]]
    found = [shown_on(vertebra, best["sop"]) for vertebra in (document or {}).get("vertebrae", [])
             if vertebra["score"] >= CUT]
    mm = case["spacing_mm"][0]
    pairs = sorted((apart(one, box) * mm, i, j) for i, one in enumerate(truth) for j, (box, _) in enumerate(found))
    hits = {}
    for gap, i, j in pairs:
        if gap <= HIT_MM and i not in hits and all(j != other for other, _ in hits.values()):
            hits[i] = (j, gap)
    rows = [centre(box)[1] for box in truth]
    taken = {j for j, _ in hits.values()}
    within = lambda box: min(rows) <= centre(box)[1] <= max(rows)
    return {
        "case": case["case"], "stratum": case["case"].split("_")[0], "sop": best["sop"],
        "hits": [{"score": found[j][1], "error_mm": gap, "iou": iou(truth[i], found[j][0]), "box": found[j][0],
                  "truth": truth[i]} for i, (j, gap) in sorted(hits.items())],
        "missed": [box for i, box in enumerate(truth) if i not in hits],
        "false": [{"score": score, "box": box} for j, (box, score) in enumerate(found) if j not in taken and within(box)],
    }


def shown_on(vertebra, sop):
    """Returns (box, score) of a vertebra on a slice, else on its key slice."""
    for on_slice in vertebra["slices"]:
        if on_slice["sop_instance_uid"] == sop:
            return on_slice["box_px"], vertebra["score"]
    return vertebra["box_px"], vertebra["score"]


class Bodies:
    """The truth vertebrae of a case of truth_schmorl.json."""

    def __init__(self, case):
        self.mm, self.gap_mm = sum(case["spacing_mm"][:2]) / 2, case["spacing_mm"][2]
        self.slice_of = {entry["sop"]: index for index, entry in enumerate(case["slices"])}
        self.boxes = {}
        for index, entry in enumerate(case["slices"]):
            for vertebra in entry["vertebrae"]:
                self.boxes.setdefault(vertebra["mask_label"], {})[index] = truth_box(vertebra)

    def label_of(self, box, sop):
        """Returns the mask label of the truth vertebra that a box belongs to, or None."""
        here = self.slice_of.get(sop)
        if here is None:
            return None
        ranked = []
        for label, by_slice in self.boxes.items():
            truth = by_slice[min(by_slice, key=lambda index: (abs(index - here), index))]
            overlap, gap = iou(box, truth), apart(box, truth) * self.mm
            if overlap >= LEAST_IOU or gap <= HIT_MM:
                ranked.append((-overlap, gap, label))
        return min(ranked)[2] if ranked else None

    def slices_apart_mm(self, one, other):
        """Returns the distance across slices."""
        if one not in self.slice_of or other not in self.slice_of:
            return math.inf
        return abs(self.slice_of[one] - self.slice_of[other]) * self.gap_mm


def match_findings(case, documents):
    """Returns the comparison of a case of truth_schmorl.json with the mlpipe.findings/1 of its series."""
    bodies = Bodies(case)
    status = {(entry["mask_label"], entry["endplate"]): entry["status"] for entry in case["endplates"]}
    looks, label_by_id = {}, {}
    for entry in (entry for document in documents for entry in document["examined"]):
        label = bodies.label_of(entry["vertebra_box_px"], entry["sop_instance_uid"])
        key = (label, entry["endplate"])
        if key in status:
            looks.setdefault(key, []).append(entry)
            for name in ((entry["vertebra_id"], entry["endplate"]), (entry["vertebra_id"], None)):
                label_by_id.setdefault(name, label)
    highest = {key: max(entries, key=lambda entry: entry["probability"]) for key, entries in looks.items()}
    hits, false, outside, fooled = [], [], 0, set()
    findings = [finding for document in documents for finding in document["findings"]]
    for finding in sorted(findings, key=lambda finding: -finding["probability"]):
        name, endplate = finding["vertebra_id"], finding["endplate"]
        label = label_by_id.get((name, endplate), label_by_id.get((name, None)))
        if status.get((label, endplate)) not in ("node", "negative"):
            outside += 1
            continue
        sop, box = finding["sop_instance_uid"], finding["box_px"]
        near = next((index for index, node in enumerate(case["nodes"])
                     if (node["mask_label"], node["endplate"]) == (label, endplate)
                     and apart(box, node["box_px"]) * bodies.mm <= NODE_MM
                     and bodies.slices_apart_mm(sop, node["sop_instance_uid"]) <= NODE_MM), None)
        told = {"probability": finding["probability"], "box": box, "sop": sop}
        if near is None:
            false.append(told)
            fooled |= {index for index, other in enumerate(case["distractors"]) if finding["probability"] >= CUT
                       and other["mask_label"] == label and apart(box, other["box_px"]) * bodies.mm <= NODE_MM}
        elif all(hit["node"] != near for hit in hits):
            node = case["nodes"][near]
            hits.append({**told, "node": near, "width_error_mm": abs(finding["width_mm"] - node["width_mm"]),
                         "depth_error_mm": abs(finding["depth_mm"] - node["depth_mm"])})
    for index, other in enumerate(case["distractors"]):
        entry = highest.get((other["mask_label"], other["endplate"]))
        if entry and entry["probability"] >= CUT:
            fooled.add(index)
    endplates = []
    for key, state in status.items():
        if state in ("node", "negative"):
            entry = highest.get(key)
            endplates.append({"node": state == "node", "probability": entry and entry["probability"],
                              "box": entry and entry["vertebra_box_px"], "sop": entry and entry["sop_instance_uid"]})
    return {
        "case": case["case"], "stratum": case["stratum"], "group": case.get("group"), "endplates": endplates,
        "hits": hits, "false": false, "outside": outside,
        "nodes": [{"box": node["box_px"], "sop": node["sop_instance_uid"]} for node in case["nodes"]],
        "look_alikes": [{"kind": other["kind"], "taken": index in fooled} for index, other in enumerate(case["distractors"])],
    }

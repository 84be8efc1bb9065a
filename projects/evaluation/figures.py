"""The figures that follow from many comparisons (matching.py): per stratum, per group, and over all."""
import math

FALSE_PER_SERIES = (0.25, 0.5, 1.0, 2.0)
BINS = 10


def mean(values):
    """Returns the mean, or None of nothing."""
    values = list(values)
    return sum(values) / len(values) if values else None


def share(part, whole):
    """Returns part / whole, or None of nothing."""
    return part / whole if whole else None


def grouped(records, key):
    """Returns {name: records} of the names under `key`, sorted, without None."""
    groups = {}
    for record in records:
        if record.get(key) is not None:
            groups.setdefault(record[key], []).append(record)
    return dict(sorted(groups.items()))


def of_vertebrae(records):
    """Returns the figures of vertebra comparisons."""
    hits = [hit for record in records for hit in record["hits"]]
    truth = len(hits) + sum(len(record["missed"]) for record in records)
    false = sum(len(record["false"]) for record in records)
    recall, precision = share(len(hits), truth), share(len(hits), len(hits) + false)
    return {
        "series": len(records), "truth": truth, "hits": len(hits), "false_positives": false, "recall": recall,
        "precision": precision, "centre_error_mm": mean(hit["error_mm"] for hit in hits),
        "iou": mean(hit["iou"] for hit in hits), "iou50": share(sum(hit["iou"] >= 0.5 for hit in hits), truth),
        "calibration_error": calibration(scored_vertebrae(records))["error"]}


def scored_vertebrae(records):
    """Returns [(score, right)] of what was found within the annotated spans."""
    return [(entry["score"], key == "hits") for record in records for key in ("hits", "false") for entry in record[key]]


def scored_endplates(records, unseen=None):
    """Returns [(probability, node)] of endplates; a node that was not examined has probability 0, and a negative one
    `unseen` (None: it is left out)."""
    rows = []
    for entry in (entry for record in records for entry in record["endplates"]):
        value = entry["probability"]
        if value is None:
            value = 0.0 if entry["node"] else unseen
        if value is not None:
            rows.append((value, entry["node"]))
    return rows


def area_under_curve(rows):
    """Returns the chance that a node's probability is above a negative endplate's; ties count one half."""
    yes, no = sorted(p for p, node in rows if node), sorted(p for p, node in rows if not node)
    if not yes or not no:
        return None
    below = lambda value, strict: sum(other < value if strict else other <= value for other in no)
    return sum((below(value, True) + below(value, False)) / 2 for value in yes) / (len(yes) * len(no))


def precision_recall(rows):
    """Returns [(recall, precision, cut)] from the highest cut to the lowest; equal values are one step."""
    total = sum(right for _, right in rows)
    curve, right, taken = [], 0, 0
    for index, (value, is_right) in enumerate(ordered := sorted(rows, key=lambda row: -row[0])):
        right, taken = right + is_right, taken + 1
        if total and (index + 1 == len(ordered) or ordered[index + 1][0] != value):
            curve.append((right / total, right / taken, value))
    return curve


def average_precision(rows):
    """Returns the step-wise area under the precision-recall curve."""
    curve = precision_recall(rows)
    if not curve or all(right for _, right in rows):
        return None
    return sum((recall - before) * precision
               for (recall, precision, _), before in zip(curve, [0.0] + [recall for recall, _, _ in curve]))


def free_response(records):
    """Returns [(false findings per series, share of nodes localised)] over all cuts."""
    nodes = sum(len(record["nodes"]) for record in records)
    found = [(hit["probability"], True) for record in records for hit in record["hits"]]
    found += [(other["probability"], False) for record in records for other in record["false"]]
    return [(sum(not hit for p, hit in found if p >= cut) / len(records), sum(hit for p, hit in found if p >= cut) / nodes)
            for cut in sorted({p for p, _ in found}, reverse=True)] if nodes else []


def calibration(rows):
    """Returns bins of predicted and observed frequency, the expected calibration error and the Brier score."""
    bins = [[] for _ in range(BINS)]
    for value, right in rows:
        bins[min(int(value * BINS), BINS - 1)].append((value, right))
    told = [{"count": len(entries), "predicted": mean(p for p, _ in entries), "observed": mean(r for _, r in entries)}
            for entries in bins if entries]
    gap = sum(entry["count"] * abs(entry["predicted"] - entry["observed"]) for entry in told)
    return {"bins": told, "error": share(gap, len(rows)), "brier": mean((p - r) ** 2 for p, r in rows)}


def of_findings(records, cut=0.5):
    """Returns the figures of finding comparisons."""
    rows, strict = scored_endplates(records), scored_endplates(records, unseen=1.0)
    entries = [entry for record in records for entry in record["endplates"]]
    hits = [hit for record in records for hit in record["hits"]]
    nodes = sum(len(record["nodes"]) for record in records)
    curve = free_response(records)
    alike = [other for record in records for other in record["look_alikes"]]
    kinds = sorted({other["kind"] for other in alike})
    at_cut = [hit for hit in hits if hit["probability"] >= cut]
    return {
        "series": len(records), "endplates": len(entries), "nodes": nodes,
        "coverage": share(sum(entry["probability"] is not None for entry in entries), len(entries)),
        "auc": area_under_curve(rows), "auc_strict": area_under_curve(strict), "average_precision": average_precision(rows),
        "sensitivity": mean(p >= cut for p, node in rows if node), "specificity": mean(p < cut for p, node in rows if not node),
        "localised": len(at_cut),
        "false_per_series": share(sum(o["probability"] >= cut for r in records for o in r["false"]), len(records)),
        "localised_at": {str(at): max([found for false, found in curve if false <= at], default=0.0)
                         for at in FALSE_PER_SERIES},
        "width_error_mm": mean(hit["width_error_mm"] for hit in at_cut),
        "depth_error_mm": mean(hit["depth_error_mm"] for hit in at_cut),
        "look_alikes": len(alike), "look_alikes_taken": mean(other["taken"] for other in alike),
        "look_alikes_taken_by_kind": {kind: mean(o["taken"] for o in alike if o["kind"] == kind) for kind in kinds},
        "calibration_error": calibration(rows)["error"], "brier": calibration(rows)["brier"]}


def best_cut(rows):
    """Returns the probability above which as many endplates lie as have a node: as many are reported falsely as are missed.
    0.5 where all have one, or none; within 0.001 to 0.999, so that it has a logit.

    The cut of the highest sensitivity + specificity reports more: few endplates have a node, so that a specificity of 0.92
    means a false finding in most series.
    """
    probabilities = sorted((p for p, _ in rows), reverse=True)
    nodes = sum(node for _, node in rows)
    if not 0 < nodes < len(rows):
        return 0.5
    return min(max((probabilities[nodes - 1] + probabilities[nodes]) / 2, 0.001), 0.999)


def summary(records):
    """Returns {"vertebrae": {"strata": ..}, "findings": {"strata": .., "groups": ..}} of {"vertebrae": [..], ..}."""
    made = {}
    for task, figures in (("vertebrae", of_vertebrae), ("findings", of_findings)):
        if records[task]:
            strata = {name: figures(group) for name, group in grouped(records[task], "stratum").items()}
            groups = {name: figures(group) for name, group in grouped(records[task], "group").items()}
            made[task] = {"strata": {**strata, "all": figures(records[task])}, "groups": groups}
    return made

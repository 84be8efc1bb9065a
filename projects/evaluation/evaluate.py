"""Scores vertebrae and Schmorl's nodes on labelled sets, and writes the page that shows how good they are and where not."""
import argparse
import json
import math
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

import figures
import matching
import page

FORMAT = "mlpipe.evaluation/1"
WORST = 10


def read_json(path):
    """Returns the content of a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


# Cases: what was found in one series, with its slices as pictures.


def write_case(folder, volume, vertebrae, findings):
    """Writes what was found in one volume: case.json, and its slices as `[slice, row, column]` u8 in slices.npy."""
    folder.mkdir(parents=True)
    described = read_json(Path(volume) / "volume.json")
    voxels = np.load(Path(volume) / "volume.npy")
    low, high = np.percentile(voxels, (0.5, 99.5))
    np.save(folder / "slices.npy", np.clip((voxels - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8))
    (folder / "case.json").write_text(json.dumps({
        "format": "mlpipe.case/1", "series_instance_uid": described["series_instance_uid"],
        "geometry": described["geometry"], "sources": described["sources"], "vertebrae": read_json(vertebrae),
        "findings": [read_json(path) for path in findings]}))


def json_below(folder):
    """Returns the JSON files below a folder, sorted, through its links."""
    found = [Path(base) / name for base, _, names in os.walk(folder, followlinks=True) for name in names]
    return sorted(path for path in found if path.suffix == ".json" and path.name != "metrics.json")


def case_of(given):
    write_case(Path(given.output), given.volume, given.vertebrae, findings_below(given.findings))


def findings_below(folder):
    """Returns the files of a gathered output: each is a file itself or in a folder of its own."""
    entries = sorted(Path(folder).iterdir())
    return [path for entry in entries for path in (json_below(entry) if entry.is_dir() else [entry])]


class Case:
    """A case that was written, and its slices."""

    def __init__(self, folder):
        self.folder, content = Path(folder), read_json(Path(folder) / "case.json")
        self.series_instance_uid = content["series_instance_uid"]
        self.geometry, self.sources = content["geometry"], content["sources"]
        self.vertebrae, self.findings = content["vertebrae"], content["findings"]

    def on_slice(self, sop, boxes):
        """Returns (the slice of a stored image, boxes of it as boxes of the slice), or None when it has none."""
        index = next((k for k, source in enumerate(self.sources) if source and source["sop_instance_uid"] == sop), None)
        if index is None:
            return None
        source, to = self.sources[index], self.geometry
        axes = np.array([source["column_axis"], source["row_axis"]])
        start = np.array(source["origin_lps"]) - to["origin_lps"]
        moved = []
        for box in boxes:
            corners = [start + np.array(corner) * source["spacing_mm"][::-1] @ axes for corner in (box[:2], box[2:])]
            columns = sorted(float(corner @ to["column_axis"]) / to["spacing_mm"][2] for corner in corners)
            rows = sorted(float(corner @ to["row_axis"]) / to["spacing_mm"][1] for corner in corners)
            moved.append([columns[0], rows[0], columns[1], rows[1]])
        return np.load(self.folder / "slices.npy", mmap_mode="r")[index], moved


# Scores.


def truth_in(folder):
    """Returns (cases of truth_vertebrae.json, cases of truth_schmorl.json) of a folder; a missing file has none."""
    vertebrae, nodes = Path(folder) / "truth_vertebrae.json", Path(folder) / "truth_schmorl.json"
    sagittal = lambda cases: [case for case in cases if case["plane"].upper().startswith("SAG")]
    return (sagittal(read_json(vertebrae)) if vertebrae.exists() else [],
            read_json(nodes)["cases"] if nodes.exists() else [])


def compared(truth, cases):
    """Returns ({"vertebrae": comparisons, "findings": comparisons}, {name of a series: Case})."""
    by_series = {case.series_instance_uid: case for case in cases}
    by_sop = {source["sop_instance_uid"]: case for case in cases for source in case.sources if source}
    records, by_name = {"vertebrae": [], "findings": []}, {}
    for case in truth[0]:
        found = next((by_sop[entry["sop"]] for entry in case["slices"] if entry["sop"] in by_sop), None)
        records["vertebrae"].append(matching.match_vertebrae(case, found and found.vertebrae))
        by_name[case["case"]] = found
    for case in truth[1]:
        found = by_series.get(case["series_instance_uid"])
        records["findings"].append(matching.match_findings(case, found.findings if found else []))
        by_name[case["case"]] = found
    return records, by_name


def worst(records, cases):
    """Returns pictures of the mistakes that the models were surest of."""
    mistakes = []
    for record in records["vertebrae"]:
        sop = record["sop"]
        mistakes += [(1.0, record, sop, [box], [], "vertebra missed") for box in record["missed"]]
        mistakes += [(other["score"], record, sop, [], [other["box"]], f"no vertebra, score {other['score']:.2f}")
                     for other in record["false"]]
        mistakes += [(1 - hit["iou"], record, sop, [hit["truth"]], [hit["box"]],
                      f"IoU {hit['iou']:.2f}, centre {hit['error_mm']:.1f} mm off") for hit in record["hits"] if hit["iou"] < 0.7]
    for record in records["findings"]:
        found = {hit["node"] for hit in record["hits"]}
        mistakes += [(1.0, record, node["sop"], [node["box"]], [], "node not localised")
                     for index, node in enumerate(record["nodes"]) if index not in found]
        mistakes += [(other["probability"], record, other["sop"], [], [other["box"]],
                      f"no node, probability {other['probability']:.2f}") for other in record["false"]]
    # Of each kind the worst come first, in turn: ten missed nodes would hide everything else.
    mistakes.sort(key=lambda mistake: (-mistake[0], mistake[1]["case"]))
    kinds = {}
    for mistake in mistakes:
        kinds.setdefault(mistake[5].split(",")[0].split(" 0.")[0], []).append(mistake)
    turns = [mistake for turn in range(WORST) for group in kinds.values() for mistake in group[turn: turn + 1]]
    pictures = []
    for _, record, sop, truth, found, caption in turns:
        shown = cases.get(record["case"]) and cases[record["case"]].on_slice(sop, truth + found)
        if shown and len(pictures) < WORST:
            colours = ["#3fbf5f"] * len(truth) + ["#ff9d2e"] * len(found)
            pictures.append(page.picture(shown[0], list(zip(shown[1], colours)), f"{record['case']}: {caption}"))
    return pictures


def write_evaluation(output, title, facts, records, pictures):
    """Writes scores.json and report.html, and the main figures as metrics of the step's run; returns the scores."""
    output.mkdir(parents=True, exist_ok=True)
    scores = figures.summary(records)
    told = {"format": FORMAT, "title": title, "facts": facts, "scores": scores, "records": records}
    (output / "scores.json").write_text(json.dumps(rounded(told)) + "\n")
    (output / "report.html").write_text(page.document(title, facts, scores, records, pictures))
    (output / "pictures.json").write_text(json.dumps(pictures))
    metrics = {
        f"{task}_{name}_{key}": value for task, parts in scores.items() for part in parts.values()
        for name, group in part.items() for key, value in group.items() if isinstance(value, (int, float))}
    (output.parent / "metrics.json").write_text(json.dumps(rounded(metrics)))
    for task, parts in scores.items():
        for name, group in {**parts["strata"], **parts["groups"]}.items():
            print(task, name, json.dumps(rounded(group, 3)))
    return scores


def rounded(value, digits=6):
    """Returns a JSON value with rounded numbers."""
    if isinstance(value, dict):
        return {key: rounded(entry, digits) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(entry, digits) for entry in value]
    return round(value, digits) if isinstance(value, float) else value


def facts_of(cases, labelled):
    """Returns what was scored on what, as lines of text."""
    models = {(d["model"]["name"], d["model"]["version"], d["model"]["sha256"][:12])
              for case in cases for d in [case.vertebrae, *case.findings]}
    return [f"{len(cases)} series; {labelled}",
            "Models: " + ", ".join(f"{name} {version} (sha256 {digest})" for name, version, digest in sorted(models))]


def evaluate(given):
    cases = [Case(path) for path in sorted(Path(given.cases).iterdir())]
    records, by_name = compared(truth_in(given.truth), cases)
    found = sum(bool(case.vertebrae["vertebrae"]) for case in cases)
    facts = facts_of(cases, f"vertebrae were found in {found} of them")
    write_evaluation(Path(given.output), given.title, facts, records, worst(records, by_name))


# Volumes that are no DICOM: the steps are run here, one process for all vertebrae.


def step(*words):
    """Runs a built-in step."""
    subprocess.run(["mlpipe", "step", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def volumes(given):
    labelled = Path(given.labelled)
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        names = sorted(path.name for path in (labelled / "volumes").iterdir())
        for name in names:
            step("detect-vertebrae", "--volume", labelled / "volumes" / name, "--model", given.detector, "--output-dir",
                 work / name)
        if given.classifier:
            find_nodes(labelled, names, given.classifier, work)
        for name in names:
            write_case(work / "cases" / name, labelled / "volumes" / name, work / name / "vertebrae.json",
                       sorted((work / "findings" / name).rglob("findings.json")))
        given.cases, given.truth = work / "cases", labelled
        evaluate(given)


def find_nodes(labelled, names, classifier, work):
    """Looks at every vertebra that was found."""
    items = []
    for name in names:
        for vertebra in sorted((work / name / "vertebrae").iterdir()):
            items.append({"key": f"{name}/{vertebra.name}", "output_dir": str(work / "findings" / name / vertebra.name),
                          "parameters": {"volume": str(labelled / "volumes" / name), "vertebra": str(vertebra),
                                         "model": str(classifier), "threshold": "0.5"}})
            Path(items[-1]["output_dir"]).mkdir(parents=True)
    batch = work / "batch.json"
    batch.write_text(json.dumps({"format": "mlpipe.batch/1", "items": items, "results": str(work / "results.ndjson")}))
    if items:
        step("find-nodes", "--batch", batch)


# Selection: which setting of a matrix is best.


def setting_of(name):
    """Returns ({axis: value}, fold) of a matrix key such as `strength=1.0,fold=2`."""
    setting = {}
    for part in name.split(","):
        axis, _, value = part.partition("=")
        try:
            setting[axis] = json.loads(value)
        except ValueError:
            setting[axis] = value
    return setting, setting.pop("fold", 0)


def figure_at(scores, path):
    """Returns a figure by its path, as in `findings.groups.other.auc`; `macro` is the mean over strata."""
    task, *rest = path.split(".")
    if rest[0] == "macro":
        strata = [group for name, group in scores[task]["strata"].items() if name != "all"]
        return figures.mean(group[rest[1]] or 0.0 for group in strata)
    value = scores[task]
    for key in rest:
        value = value[key]
    return value


def pooled(folds, chosen):
    """Returns the comparisons of some folds together."""
    return {task: [record for fold in sorted(chosen) for record in folds[fold][task]] for task in ("vertebrae", "findings")}


def select(given):
    """Chooses the best setting by the folds that all settings have, and writes it with the page of all of its folds."""
    settings = {}
    for path in sorted(Path(given.evaluations).iterdir()):
        setting, fold = setting_of(path.name)
        entry = settings.setdefault(json.dumps(setting, sort_keys=True), {"setting": setting, "folds": {}, "pictures": []})
        entry["folds"][fold] = read_json(path / "scores.json")["records"]
        entry["pictures"] += read_json(path / "pictures.json")
    common = set.intersection(*(set(entry["folds"]) for entry in settings.values()))
    for entry in settings.values():
        scores = figures.summary(pooled(entry["folds"], common))
        entry["values"] = [figure_at(scores, name) for name in given.metric.split(",")]
    # The first metric decides; the later ones only between equals.
    best = max(settings.values(), key=lambda entry: entry["values"])
    setting, records = dict(best["setting"]), pooled(best["folds"], best["folds"])
    if given.place_cut:
        cut = figures.best_cut(figures.scored_endplates(records["findings"]))
        setting["logit_shift"] = round(-math.log(cut / (1 - cut)), 2)
    told = [{**entry["setting"], "folds": sorted(entry["folds"]), **dict(zip(given.metric.split(","), entry["values"]))}
            for entry in settings.values()]
    output = Path(given.output)
    output.mkdir(parents=True)
    # Nothing but the setting: another figure in the last digit must not train the same setting again.
    (output / "chosen.json").write_text(json.dumps({"format": "mlpipe.chosen/1", "setting": setting}, indent=1) + "\n")
    facts = [f"Every volume was scored by a model that had not seen its subject. Chosen by the folds "
             f"{sorted(common)}, which all settings have: {setting}"]
    facts += [", ".join(f"{key}: {page.cell(value)}" for key, value in entry.items()) for entry in told]
    # The worst of every fold, in turn.
    pictures = [picture for turn in range(WORST) for picture in best["pictures"][turn::WORST]][:WORST]
    write_evaluation(output / "evaluation", given.title, facts, records, pictures)
    (output / "metrics.json").replace(output.parent / "metrics.json")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", required=True)
    parser.add_argument("--title", default="Evaluation")
    commands = parser.add_subparsers(required=True)
    for function, names in ((case_of, ["volume", "vertebrae", "findings"]), (evaluate, ["cases", "truth"]),
                            (volumes, ["labelled", "detector"]), (select, ["evaluations", "metric"])):
        command = commands.add_parser(function.__name__.replace("case_of", "case"))
        command.set_defaults(function=function)
        for name in names:
            command.add_argument(f"--{name}", required=True)
        if function is volumes:
            command.add_argument("--classifier")
        if function is select:
            command.add_argument("--place-cut", action="store_true",
                                 help="0.5 becomes the cut with as many false as missed nodes")
    given = parser.parse_args()
    given.function(given)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Measures one study through detection and node classification: milliseconds, and the share that ONNX Runtime takes.

usage: run.py [--mlpipe PATH] [--runs N] [--rows N] [--slices N] [--cpu N]

The study is a phantom's spine, resampled to the size that is asked for, as a mlpipe.volume/1. `elapsed_ms` of a step begins
when its model is open and ends when its files are written; `inference_ms` are those within the runtime. CPU time is user +
system of the whole process: it can be compared while other programs run. The best of N runs counts. A step gets
one core, as pipelines/schmorl.yaml gives it, or as many as --cpu says; what is outside the runtime uses one in any case. Needs
numpy, and ORT_DYLIB_PATH where ONNX Runtime is not found by itself.
"""
import argparse
import json
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

MODELS = Path(__file__).resolve().parents[2] / "projects"


def step(mlpipe, *words):
    """Runs a step; returns its metrics with the wall and CPU milliseconds of its process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([mlpipe, "step", *map(str, words), "--json"], check=True, capture_output=True, text=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**json.loads(done.stdout)["metrics"], "process_ms": wall * 1e3, "cpu_ms": cpu * 1e3}


def write_study(mlpipe, folder, slices, rows):
    """Writes a phantom's sagittal series as a volume of the wanted size."""
    subprocess.run([mlpipe, "phantom", "--seed", "1", "--output", folder], check=True, stdout=subprocess.DEVNULL)
    truth = json.loads((folder / "truth_schmorl.json").read_text())["cases"][0]
    subprocess.run([mlpipe, "dicom", "volume", folder / "studies", "--series", truth["series_instance_uid"], "-o",
                    folder / "voxels.npy"], check=True, stdout=subprocess.DEVNULL)
    voxels = np.load(folder / "voxels.npy")
    spread = np.linspace(0, len(voxels) - 1, slices).round().astype(int)
    margin = [(0, 0), *((max(0, rows - size) // 2, max(0, rows - size + 1) // 2) for size in voxels.shape[1:])]
    voxels = np.pad(voxels[spread], margin)[:, :rows, :rows]
    volume = folder / "volume"
    volume.mkdir()
    np.save(volume / "volume.npy", np.ascontiguousarray(voxels))
    geometry = {"shape": list(voxels.shape), "origin_lps": [0.0] * 3, "slice_axis": [1.0, 0.0, 0.0],
                "row_axis": [0.0, 0.0, -1.0], "column_axis": [0.0, 1.0, 0.0], "spacing_mm": [4.0, 1.0, 1.0]}
    (volume / "volume.json").write_text(json.dumps({
        "format": "mlpipe.volume/1", "series_instance_uid": "1.2.3", "study_instance_uid": "1.2", "modality": "MR",
        "geometry": geometry, "sources": [None] * slices}))
    return volume


def one_study(mlpipe, volume, folder):
    """Detects and classifies; returns the metrics of both steps."""
    folder.mkdir()
    detection = step(mlpipe, "detect-vertebrae", "--volume", volume, "--model", MODELS / "vertebrae/model",
                     "--output-dir", folder / "vertebrae")
    items = [{"key": vertebra.name, "output_dir": str(folder / "nodes" / vertebra.name),
              "parameters": {"volume": str(volume), "vertebra": str(vertebra), "model": str(MODELS / "schmorl/model"),
                             "threshold": 0.5}} for vertebra in sorted((folder / "vertebrae/vertebrae").iterdir())]
    batch = folder / "batch.json"
    batch.write_text(json.dumps({"format": "mlpipe.batch/1", "items": items, "results": str(folder / "results.ndjson")}))
    return detection, step(mlpipe, "find-nodes", "--batch", batch)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mlpipe", default="mlpipe")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--slices", type=int, default=19)
    parser.add_argument("--rows", type=int, default=381)
    parser.add_argument("--cpu", type=int, default=1)
    given = parser.parse_args()
    os.environ["MLPIPE_CPU"] = str(given.cpu)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        volume = write_study(given.mlpipe, folder, given.slices, given.rows)
        runs = [one_study(given.mlpipe, volume, folder / f"run-{turn}") for turn in range(given.runs)]
    total = lambda run, name: sum(part[name] for part in run)
    best = min(runs, key=lambda run: total(run, "elapsed_ms"))
    print(f"{given.slices} slices, {given.rows}x{given.rows}, {best[0]['vertebrae']:.0f} vertebrae; "
          f"{given.cpu} core(s), best of {given.runs}")
    for name, part in (("detect-vertebrae", best[0]), ("find-nodes", best[1])):
        print(f"{name:18} {part['elapsed_ms']:7.1f} ms, {part['inference_ms']:7.1f} in the runtime "
              f"({part['inference_ms'] / part['elapsed_ms']:.0%}); process {part['process_ms']:.0f} ms, {part['cpu_ms']:.0f} CPU ms")
    print(f"{'both':18} {total(best, 'elapsed_ms'):7.1f} ms, {total(best, 'inference_ms'):7.1f} in the runtime "
          f"({total(best, 'inference_ms') / total(best, 'elapsed_ms'):.0%})")


if __name__ == "__main__":
    main()

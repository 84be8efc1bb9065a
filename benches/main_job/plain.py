#!/usr/bin/env python3
"""The main job as a plain script: what a team writes before it has a pipeline. Peer of `mlpipe run pipelines/schmorl.yaml`.

    plain.py DETECTOR.onnx CLASSIFIER.onnx OUT_DIR SERIES_DIR...

Per series, with the models of this repository and the tensors of their model cards: read and order the slices (pydicom), run
the detector on every slice, keep peaks, cut endplate patches, classify them in one batch per vertebra (onnxruntime), write
findings and an overlay picture, and log each of the four steps as a nested MLflow run in a local SQLite store. It does less
than mlpipe: no checks of geometry, no merging into 3-D vertebrae, no levels, no page, no reuse.
"""
import json
import pathlib
import sys

import mlflow
import numpy as np
import onnxruntime
import pydicom
from PIL import Image

CANVAS, STRIDE, PATCH, PATCH_MM = 384, 4, 64, 0.75
THREADS = 2


def read_volume(folder):
    """volume [slice, row, column] f32, ordered along the slice normal; pixel spacing [row, column] mm; SOP instance UIDs"""
    slices = [pydicom.dcmread(path) for path in sorted(pathlib.Path(folder).glob("*.dcm"))]
    row, column = np.split(np.array(slices[0].ImageOrientationPatient, float), 2)
    normal = np.cross(row, column)
    slices.sort(key=lambda s: float(np.dot(normal, np.array(s.ImagePositionPatient, float))))
    scaled = [s.pixel_array.astype(np.float32) * float(getattr(s, "RescaleSlope", 1)) + float(getattr(s, "RescaleIntercept", 0)) for s in slices]
    return np.stack(scaled), [float(v) for v in slices[0].PixelSpacing], [str(s.SOPInstanceUID) for s in slices]


def normalised(volume):
    low, high = np.percentile(volume, [1, 99])
    return np.clip((volume - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)


def on_canvas(image):
    """the image centred on the detector's canvas, and its offset there"""
    rows, columns = image.shape
    top, left = (CANVAS - rows) // 2, (CANVAS - columns) // 2
    canvas = np.zeros((CANVAS, CANVAS), np.float32)
    canvas[max(top, 0):max(top, 0) + rows, max(left, 0):max(left, 0) + columns] = image[max(-top, 0):, max(-left, 0):][:CANVAS, :CANVAS]
    return canvas, top, left


def boxes_of(outputs, top, left, threshold=0.5):
    """[score, x0, y0, x1, y1] of the local maxima of the centre heat map"""
    heat, size, offset = outputs["heatmap"][0, 0], outputs["size"][0], outputs["offset"][0]
    padded = np.pad(heat, 1)
    around = np.max([padded[i:i + heat.shape[0], j:j + heat.shape[1]] for i in range(3) for j in range(3)], axis=0)
    found = []
    for i, j in zip(*np.nonzero((heat >= threshold) & (heat == around))):
        x, y = STRIDE * j + 1.5 + offset[0, i, j] - left, STRIDE * i + 1.5 + offset[1, i, j] - top
        width, height = size[0, i, j], size[1, i, j]
        found.append([float(heat[i, j]), x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    return found


def patch(volume, k, x, y, flip):
    """three neighbouring slices around an endplate's midpoint, [3, 64, 64]"""
    step = (np.arange(PATCH) - (PATCH - 1) / 2) * PATCH_MM
    rows, columns = y + (-step if flip else step), x + step
    r0, c0 = np.floor(rows).astype(int), np.floor(columns).astype(int)
    fr, fc = (rows - r0)[:, None], (columns - c0)[None, :]
    planes = []
    for slice_index in (max(k - 1, 0), k, min(k + 1, len(volume) - 1)):
        image = volume[slice_index]
        take = lambda r, c: np.where(((r >= 0) & (r < image.shape[0]))[:, None] & ((c >= 0) & (c < image.shape[1]))[None, :],
                                     image[np.clip(r, 0, image.shape[0] - 1)[:, None], np.clip(c, 0, image.shape[1] - 1)[None, :]], 0)
        planes.append((1 - fr) * ((1 - fc) * take(r0, c0) + fc * take(r0, c0 + 1)) + fr * ((1 - fc) * take(r0 + 1, c0) + fc * take(r0 + 1, c0 + 1)))
    return np.stack(planes).astype(np.float32)


def run_named(session, name, tensor):
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {name: tensor})))


def process(folder, work, detector, classifier):
    work.mkdir(parents=True, exist_ok=True)
    with mlflow.start_run(run_name="slices", nested=True):
        volume, _, sops = read_volume(folder)
        np.save(work / "volume.npy", volume)
        mlflow.log_param("series", work.name)
        mlflow.log_metric("slices", len(volume))
        mlflow.log_artifact(str(work / "volume.npy"))
    image = normalised(volume)
    with mlflow.start_run(run_name="vertebrae", nested=True):
        found = []
        for k, one in enumerate(image):
            canvas, top, left = on_canvas(one)
            found += [(k, box) for box in boxes_of(run_named(detector, "image", canvas[None, None]), top, left)]
        (work / "vertebrae.json").write_text(json.dumps([{"sop_instance_uid": sops[k], "box": [float(v) for v in box]} for k, box in found]))
        mlflow.log_metric("boxes", len(found))
        mlflow.log_artifact(str(work / "vertebrae.json"))
    with mlflow.start_run(run_name="schmorl", nested=True):
        patches = [patch(image, k, (b[1] + b[3]) / 2, b[2 if side == "superior" else 4], side == "inferior") for k, b in found for side in ("superior", "inferior")]
        scores = [run_named(classifier, "patch", np.stack(patches[i:i + 32]))["probability"][:, 0] for i in range(0, len(patches), 32)]
        probabilities = np.concatenate(scores) if scores else np.zeros(1)
        (work / "findings.json").write_text(json.dumps([float(p) for p in probabilities]))
        mlflow.log_metric("max_probability", float(probabilities.max()))
        mlflow.log_artifact(str(work / "findings.json"))
    with mlflow.start_run(run_name="report", nested=True):
        Image.fromarray((255 * image[len(image) // 2]).astype(np.uint8)).save(work / "overlay.png")
        mlflow.log_artifact(str(work / "overlay.png"))


def main():
    detector_path, classifier_path, out, *folders = sys.argv[1:]
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(f"sqlite:///{out / 'mlflow.db'}")
    mlflow.set_experiment("plain")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    detector = onnxruntime.InferenceSession(detector_path, options, providers=["CPUExecutionProvider"])
    classifier = onnxruntime.InferenceSession(classifier_path, options, providers=["CPUExecutionProvider"])
    with mlflow.start_run(run_name="pipeline"):
        for folder in folders:
            process(folder, out / "-".join(pathlib.Path(folder).parts[-2:]), detector, classifier)


if __name__ == "__main__":
    main()

"""Writes pydicom_files.tsv: what pydicom makes of its own test files.

    pip install pydicom numpy python-gdcm pyjpegls pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg pylibjpeg-rle
    python pydicom_files.py > pydicom_files.tsv

One line per file: name, size in bytes, what is expected, detail. `values`: SHA-256 of all voxels in modality units as
little-endian f32 (rescaled in f64, per frame where functional groups say so), in C order. `colour`: refused as colour.
`near`: lossy JPEG of 12 bits, where decoders may round differently by 1: 64 of its voxels, evenly spread.
`none`: pydicom gives no pixels either.
"""
import hashlib
import pathlib
import warnings

import numpy as np
import pydicom
from pydicom.pixels import apply_modality_lut

warnings.simplefilter("ignore")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


def rescale(dataset, frame):
    """Slope and intercept of a frame: its own functional group, the shared one, the top level."""
    groups = []
    if "PerFrameFunctionalGroupsSequence" in dataset:
        groups.append(dataset.PerFrameFunctionalGroupsSequence[frame])
    if "SharedFunctionalGroupsSequence" in dataset:
        groups.append(dataset.SharedFunctionalGroupsSequence[0])
    for group in groups:
        if "PixelValueTransformationSequence" in group:
            item = group.PixelValueTransformationSequence[0]
            return float(item.RescaleSlope), float(item.RescaleIntercept)
    return float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))


def voxels(dataset):
    pixels = dataset.pixel_array
    if dataset.get("ModalityLUTSequence"):
        return apply_modality_lut(pixels, dataset).astype("<f4")
    pixels = pixels.reshape(-1, dataset.Rows, dataset.Columns).astype("f8")
    for number, frame in enumerate(pixels):
        slope, intercept = rescale(dataset, number)
        frame *= slope
        frame += intercept
    return pixels.astype("<f4")


def expected(path):
    try:
        dataset = pydicom.dcmread(path, force=True)
        if "Rows" not in dataset:
            return "none", "no image"
        if dataset.get("SamplesPerPixel", 1) != 1 or dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
            return "colour", dataset.get("PhotometricInterpretation", "")
        if dataset.file_meta.TransferSyntaxUID == pydicom.uid.JPEGExtended12Bit and dataset.BitsStored > 8:
            flat = voxels(dataset).ravel()
            return "near", " ".join(str(int(value)) for value in flat[:: flat.size // 64][:64])
        return "values", hashlib.sha256(voxels(dataset).tobytes()).hexdigest()
    except Exception as error:
        return "none", f"{type(error).__name__}: {error}".replace("\n", " ").replace("\t", " ")[:100]


root = pathlib.Path(pydicom.__file__).parent / "data" / "test_files"
print(f"# pydicom {pydicom.__version__}")
for path in sorted(root.rglob("*")):
    if path.is_file() and path.suffix not in {".py", ".json", ".zip", ".txt", ".md"}:
        what, detail = expected(path)
        print(path.relative_to(root), path.stat().st_size, what, detail, sep="\t")

#!/usr/bin/env python3
"""DICOM to a volume, and headers of a large folder, side by side with the tools people use.

usage: run.py MLPIPE FOLDER [--rounds 5] [--python PYTHON] [--dcm2niix DCM2NIIX] [--gdcmconv GDCMCONV]

MLPIPE is a release build of the command. FOLDER receives the series (about 800 MB; kept, so that a second call is quick):
200 slices of 512x512 uncompressed, JPEG 2000, JPEG-LS and RLE, and 10,000 files of 16x16. PYTHON has pydicom, numpy and
the decoders:

    pip install pydicom numpy pylibjpeg pylibjpeg-openjpeg pylibjpeg-rle pyjpegls python-gdcm dcm2niix

Every round runs all tools of a series in turn, so that they meet the same machine; the first is not counted. Per tool the
medians of CPU seconds (user and system), wall seconds and peak memory; ratios are of the CPU medians.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

MAKE_SERIES = """
import sys, numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
folder, slices, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(1234)
y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
body = np.where((x / 0.42) ** 2 + (y / 0.30) ** 2 < 1, 40, -1000)
for k in range(slices):
    d = Dataset()
    d.SOPClassUID, d.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"2.25.7.{size}.{k + 1}"
    d.ImageType, d.Modality, d.Manufacturer = ["ORIGINAL", "PRIMARY", "AXIAL"], "CT", "Synthetic"
    d.StudyDate = d.SeriesDate = d.ContentDate = "20260102"
    d.StudyTime = d.SeriesTime = d.ContentTime = "101500"
    d.StudyDescription, d.SeriesDescription = "SYNTHETIC", "AXIAL 1.25 BONE"
    d.PatientName, d.PatientID, d.PatientSex, d.PatientPosition = "SYNTH^ALPHA", "SYN-0001", "O", "HFS"
    d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = "2.25.7", f"2.25.7.{size}", "2.25.7.1"
    d.SeriesNumber, d.AcquisitionNumber, d.InstanceNumber, d.KVP = 2, 1, k + 1, "120"
    d.SliceThickness = d.SpacingBetweenSlices = "1.25"
    d.ImagePositionPatient = ["-180", "-180", str(-300 + 1.25 * k)]
    d.ImageOrientationPatient, d.PixelSpacing = ["1", "0", "0", "0", "1", "0"], ["0.7", "0.7"]
    d.RescaleIntercept, d.RescaleSlope, d.RescaleType = "-1024", "1", "HU"
    d.WindowCenter, d.WindowWidth = "400", "1800"
    d.SamplesPerPixel, d.PhotometricInterpretation, d.Rows, d.Columns = 1, "MONOCHROME2", size, size
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 12, 11, 0
    image = np.clip(body + rng.normal(0, 18, body.shape), -1024, 3071)
    d.PixelData = np.rint(image + 1024).astype("<u2").tobytes()
    d["PixelData"].VR = "OW"
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.save_as(f"{folder}/{k * 7919 % slices:05}.dcm", enforce_file_format=True)
"""

LOAD = """
import sys, os, numpy as np, pydicom
from pydicom.pixels import pixel_array
folder, plugin = sys.argv[1], sys.argv[2]
files = [pydicom.dcmread(os.path.join(folder, name)) for name in os.listdir(folder)]
files.sort(key=lambda d: float(d.ImagePositionPatient[2]))
volume = np.stack([pixel_array(d, decoding_plugin=plugin) * float(d.RescaleSlope) + float(d.RescaleIntercept)
                   for d in files]).astype("f4")
"""

HEADERS = """
import sys, os, pydicom
for name in os.listdir(sys.argv[1]):
    d = pydicom.dcmread(os.path.join(sys.argv[1], name), stop_before_pixels=True)
    d.SeriesInstanceUID, d.ImagePositionPatient, d.ImageOrientationPatient, d.PixelSpacing, d.Rows, d.Columns
"""

# Name of the series, gdcmconv's option that makes it, pydicom's plugins that decode it.
COMPRESSED = [("jpeg2000", "--j2k", ["pylibjpeg", "gdcm"]), ("jpegls", "--jpegls", ["pyjpegls", "gdcm"]),
              ("rle", "--rle", ["pydicom", "pylibjpeg"])]


def make(options, folder):
    """Makes the series that are not there yet."""
    def once(name, write):
        if not (folder / name).is_dir():
            shutil.rmtree(folder / "unfinished", ignore_errors=True)
            (folder / "unfinished").mkdir(parents=True)
            write(folder / "unfinished")
            (folder / "unfinished").rename(folder / name)

    def series(slices, size):
        return lambda target: subprocess.run([options.python, "-c", MAKE_SERIES, target, str(slices), str(size)], check=True)

    once("plain", series(200, 512))
    once("many", series(10_000, 16))
    for name, option, _ in COMPRESSED:
        once(name, lambda target: [subprocess.run([options.gdcmconv, option, "-i", file, "-o", target / file.name], check=True)
                                   for file in sorted((folder / "plain").iterdir())])


def measured(command):
    """Runs a command with an empty folder for its output; returns CPU seconds, wall seconds, peak MiB."""
    out = tempfile.mkdtemp(prefix="bench-dicom-")
    try:
        start = time.perf_counter()
        process = subprocess.Popen([str(part).replace("{out}", out) for part in command],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    finally:
        shutil.rmtree(out)
    if status != 0:
        sys.exit(f"failed: {' '.join(map(str, command))}")
    return usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024


def compare(title, rounds, tools):
    print(f"\n{title}")
    found = {name: [] for name in tools}
    for number in range(rounds + 1):
        for name, command in tools.items():
            result = measured(command)
            if number:
                found[name].append(result)
    medians = {name: [statistics.median(column) for column in zip(*results)] for name, results in found.items()}
    own = medians["mlpipe"][0]
    for name, (cpu, wall, memory) in medians.items():
        print(f"  {name:22} CPU {cpu:7.3f} s  wall {wall:7.3f} s  peak {memory:6.0f} MiB  mlpipe is {own / cpu:5.2f}x of it")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mlpipe")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--dcm2niix", default="dcm2niix")
    parser.add_argument("--gdcmconv", default="gdcmconv")
    options = parser.parse_args()
    make(options, options.folder)

    def ours(name):
        return [options.mlpipe, "dicom", "volume", options.folder / name, "--all", "-o", "{out}"]

    def ours_as_nifti(name):
        inspected = subprocess.run([options.mlpipe, "dicom", "inspect", options.folder / name, "--json"],
                                   check=True, capture_output=True)
        series = json.loads(inspected.stdout)["volumes"][0]["series_instance_uid"]
        return [options.mlpipe, "dicom", "volume", options.folder / name, "--series", series, "-o", "{out}/out.nii"]

    def dcm2niix(name):
        return [options.dcm2niix, "-z", "n", "-b", "y", "-f", "out", "-o", "{out}", options.folder / name]

    def reading(name):
        return ["sh", "-c", f"cat '{options.folder / name}'/* > /dev/null"]

    compare("200 x 512 x 512 uncompressed to a volume", options.rounds, {
        "mlpipe": ours("plain"), "dcm2niix": dcm2niix("plain"), "reading the bytes": reading("plain")})
    compare("the same to NIfTI, int16 as dcm2niix writes it", options.rounds, {
        "mlpipe": ours_as_nifti("plain"), "dcm2niix": dcm2niix("plain")})
    for name, _, plugins in COMPRESSED:
        peers = {f"pydicom {plugin}": [options.python, "-c", LOAD, options.folder / name, plugin] for plugin in plugins}
        compare(f"200 x 512 x 512 {name} to a volume", min(options.rounds, 3),
                {"mlpipe": ours(name), "dcm2niix": dcm2niix(name), **peers})
    compare("headers of 10,000 files", min(options.rounds, 3), {
        "mlpipe": [options.mlpipe, "dicom", "ls", options.folder / "many"],
        "pydicom": [options.python, "-c", HEADERS, options.folder / "many"], "reading the bytes": reading("many")})


main()

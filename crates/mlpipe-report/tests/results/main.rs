//! Result objects, read back by other programs: `dciodvfy -new` accepts each, and `check.py` finds in them, with highdicom,
//! what the documents say. Where these programs are absent a test says which of its checks were skipped.

mod series;
mod tools;

use std::path::{Path, PathBuf};

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use mlpipe_dicom::{Plane, SeriesManifest, Volume, VolumePlan, load_volume, read_attributes, scan};
use mlpipe_report::{
    Code, Error, FindingsDocument, ReportInput, Results, ResultsInput, SourceSeries, VertebraeDocument, write_results,
};
use series::{
    MULLER, Patient, SERIES_FILE, SLICES, Storage, YAMADA, findings, sop_instance_uid, vertebrae, write_series,
};
use tempfile::TempDir;
use tools::Tools;

/// A series on disk and the volume that it forms.
struct Case {
    folder: TempDir,
    volume: Volume,
    source: SourceSeries,
}

impl Case {
    fn new(storage: Storage, patient: &Patient) -> Case {
        let folder = tempfile::tempdir().expect("a folder");
        let images = folder.path().join("images");
        std::fs::create_dir(&images).expect("a folder");
        write_series(&images, storage, patient);
        let plan = plan(&images);
        let volume = load_volume(&plan).expect("the volume loads").canonical().resampled_in_plane(1.0);
        let digest = SeriesManifest::of(&plan).expect("a usable plan").digest();
        let source = SourceSeries::read(&plan, digest).expect("the headers are complete");
        Case { folder, volume, source }
    }

    fn image(&self, slice: usize) -> Option<String> {
        self.volume.sources[slice].as_ref().map(|source| source.sop_instance_uid.clone())
    }

    fn write(&self, vertebrae: &VertebraeDocument, findings: &[FindingsDocument]) -> Results {
        self.try_write(vertebrae, findings, &Code::schmorl_node()).expect("the results are written")
    }

    fn try_write(
        &self,
        vertebrae: &VertebraeDocument,
        findings: &[FindingsDocument],
        node: &Code,
    ) -> Result<Results, Error> {
        let report = ReportInput { volume: &self.volume, vertebrae, findings, run_id: None, mlpipe_version: "0.1.0" };
        write_results(&ResultsInput { report, source: &self.source, node, source_digest: "0123" })
    }

    /// Writes the objects to disk, where the programs look at them.
    fn verify(&self, vertebrae: &VertebraeDocument, findings: &[FindingsDocument]) -> PathBuf {
        let results = self.write(vertebrae, findings);
        let folder = self.folder.path().join("results");
        std::fs::create_dir_all(folder.join("dicom")).expect("a folder");
        let write = |path: PathBuf, bytes: &[u8]| std::fs::write(path, bytes).expect("written");
        results.objects.iter().for_each(|object| write(folder.join("dicom").join(&object.name), &object.bytes));
        write(folder.join("report.pdf"), &results.pdf);
        write(folder.join("fhir.json"), results.bundle.as_bytes());
        let tools = Tools::find();
        results.objects.iter().for_each(|object| tools.validate(&folder.join("dicom").join(&object.name)));
        tools.check(&folder, vertebrae, findings);
        folder
    }
}

fn plan(images: &Path) -> VolumePlan {
    let mut found = scan(&[images.to_owned()]).expect("scans");
    found.series.remove(0).volumes.remove(0)
}

fn stored(path: &Path, tag: Tag) -> Vec<u8> {
    let attributes = read_attributes(path, &[tag]).expect("readable");
    attributes.stored(tag).map(|(_, bytes)| bytes.to_vec()).unwrap_or_default()
}

fn two_nodes(case: &Case) -> (VertebraeDocument, Vec<FindingsDocument>) {
    let vertebrae = vertebrae(&|slice| case.image(slice));
    let [first, second, third] = &vertebrae.vertebrae[..] else { panic!("three bodies") };
    // Documents in another order than the bodies.
    let documents = vec![findings(third, 0.03, 0.914321), findings(first, 0.75, 0.1), findings(second, 0.2, 0.3)];
    (vertebrae, documents)
}

#[test]
fn objects_hold_what_the_documents_say() {
    let case = Case::new(Storage::Classic, &MULLER);
    let (vertebrae, documents) = two_nodes(&case);
    let folder = case.verify(&vertebrae, &documents);
    let names: Vec<String> = std::fs::read_dir(folder.join("dicom"))
        .expect("readable")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names.len(), 5, "{names:?}");
    let rows = [
        "RESEARCH USE ONLY - NOT A MEDICAL DEVICE",
        "2 Schmorl's nodes found on 6 endplates of 3 vertebrae.",
        "v1 (level not asserted) superior Schmorl's node 0.75 8.1 5.1 2",
        "L2 inferior Schmorl's node 0.91 8.1 5.1 2",
        "L1 superior negative 0.20 2",
        "schmorl-classifier 3",
    ];
    Tools::find().shows(&folder.join("report.pdf"), &rows);
}

#[test]
fn a_series_without_findings_says_what_was_examined() {
    let case = Case::new(Storage::Classic, &MULLER);
    let vertebrae = vertebrae(&|slice| case.image(slice));
    let documents: Vec<_> = vertebrae.vertebrae.iter().map(|vertebra| findings(vertebra, 0.01, 0.49)).collect();
    let folder = case.verify(&vertebrae, &documents);
    let rows = ["No Schmorl's node found on 6 endplates of 3 vertebrae.", "L2 inferior negative 0.49 2"];
    Tools::find().shows(&folder.join("report.pdf"), &rows);
    assert!(folder.join("dicom/key-image-1.dcm").exists() && !folder.join("dicom/key-image-2.dcm").exists());
}

#[test]
fn an_endplate_above_the_threshold_without_a_box_is_undetermined() {
    let case = Case::new(Storage::Classic, &MULLER);
    let vertebrae = vertebrae(&|slice| case.image(slice));
    let mut document = findings(&vertebrae.vertebrae[1], 0.8, 0.1);
    document.findings.clear();
    case.verify(&vertebrae, &[document]);
}

#[test]
fn a_series_without_vertebrae_has_a_report_but_no_segmentation() {
    let case = Case::new(Storage::Classic, &MULLER);
    let mut vertebrae = vertebrae(&|slice| case.image(slice));
    vertebrae.vertebrae.clear();
    let folder = case.verify(&vertebrae, &[]);
    assert!(!folder.join("dicom/segmentation.dcm").exists());
    assert!(case.write(&vertebrae, &[]).notes.iter().any(|note| note.contains("no segmentation")));
}

#[test]
fn frames_of_a_multi_frame_image_are_referred_to_by_number() {
    let case = Case::new(Storage::Enhanced, &MULLER);
    assert_eq!(case.image(2).as_deref(), Some(SERIES_FILE));
    let (vertebrae, documents) = two_nodes(&case);
    let results = case.write(&vertebrae, &documents);
    let tools = Tools::find();
    for object in &results.objects {
        let path = case.folder.path().join(&object.name);
        std::fs::write(&path, &object.bytes).expect("written");
        tools.validate(&path);
    }
    let report = dicom_object::open_file(case.folder.path().join("report-sr.dcm")).expect("it can be read");
    // Boxes lie on slice 2 from the right, and the file's frames run from right to left.
    assert_eq!(frames_in(&report), ["3"; 5 + 6]);
}

/// ReferencedFrameNumber of every content item that has one, in order.
fn frames_in(object: &dicom_object::InMemDicomObject) -> Vec<String> {
    let mut found = Vec::new();
    for item in object.get(tags::CONTENT_SEQUENCE).and_then(|element| element.items()).into_iter().flatten() {
        for image in item.get(tags::REFERENCED_SOP_SEQUENCE).and_then(|element| element.items()).into_iter().flatten() {
            let frame = image.element(tags::REFERENCED_FRAME_NUMBER).expect("a frame number").to_str();
            found.push(frame.expect("a text").trim().to_owned());
        }
        found.extend(frames_in(item));
    }
    found
}

#[test]
fn interpolated_slices_give_regions_in_space() {
    let mut case = Case::new(Storage::Classic, &MULLER);
    case.volume = case.volume.reformatted(Plane::Coronal, 1.0).expect("it can be reformatted").canonical();
    assert!(case.volume.sources.iter().all(Option::is_none));
    let mut vertebrae = vertebrae(&|slice| case.image(slice));
    let [_, rows, columns] = case.volume.geometry.shape;
    let (right, bottom) = (columns as f64 - 2.0, rows as f64 / 4.0);
    for (number, body) in vertebrae.vertebrae.iter_mut().enumerate() {
        body.box_px = [1.0, number as f64 * bottom, right, (number as f64 + 0.9) * bottom];
        let box_px = body.box_px;
        body.slices.iter_mut().for_each(|on_slice| on_slice.box_px = box_px);
    }
    let document = findings(&vertebrae.vertebrae[1], 0.2, 0.1);
    case.verify(&vertebrae, &[document]);
}

#[test]
fn the_patient_is_copied_byte_for_byte_in_any_character_set() {
    for patient in [MULLER, YAMADA] {
        let case = Case::new(Storage::Classic, &patient);
        let (vertebrae, documents) = two_nodes(&case);
        let folder = case.verify(&vertebrae, &documents);
        let image = case.folder.path().join("images/9.dcm");
        for name in ["report-sr.dcm", "segmentation.dcm", "key-image-1.dcm", "report-pdf.dcm"] {
            let object = folder.join("dicom").join(name);
            for tag in [
                tags::SPECIFIC_CHARACTER_SET,
                tags::PATIENT_NAME,
                tags::PATIENT_ID,
                tags::PATIENT_BIRTH_DATE,
                tags::PATIENT_WEIGHT,
                tags::STUDY_INSTANCE_UID,
                tags::STUDY_DATE,
                tags::ACCESSION_NUMBER,
            ] {
                assert_eq!(stored(&object, tag), stored(&image, tag), "{name} {tag}");
            }
            assert_eq!(stored(&object, tags::CONTENT_DATE), b"20240229");
        }
    }
}

#[test]
fn only_dicom_objects_name_the_patient() {
    let case = Case::new(Storage::Classic, &MULLER);
    let (vertebrae, documents) = two_nodes(&case);
    let results = case.write(&vertebrae, &documents);
    let holds = |bytes: &[u8], secret: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
    for secret in [&b"Zqxw"[..], b"ZQXWJKV", b"19570223"] {
        assert!(!holds(&results.pdf, secret) && !holds(results.bundle.as_bytes(), secret));
        assert!(results.objects.iter().all(|object| !holds(object.name.as_bytes(), secret)));
        assert!(!holds(format!("{:?}", case.source).as_bytes(), secret), "debug output tells no values");
    }
}

#[test]
fn the_same_input_gives_the_same_bytes_and_other_weights_other_uids() {
    let case = Case::new(Storage::Classic, &MULLER);
    let (vertebrae, mut documents) = two_nodes(&case);
    let first = case.write(&vertebrae, &documents);
    // The order in which findings are gathered is no content.
    documents.reverse();
    assert_eq!(case.write(&vertebrae, &documents), first);
    let elsewhere = Case::new(Storage::Classic, &MULLER);
    assert_eq!(elsewhere.write(&vertebrae, &documents), first);
    let mut other = vertebrae.clone();
    other.model.sha256 = "c".repeat(64);
    let uid = |results: &Results| {
        let path = case.folder.path().join("object.dcm");
        std::fs::write(&path, &results.objects[0].bytes).expect("written");
        stored(&path, tags::SOP_INSTANCE_UID)
    };
    assert_ne!(uid(&case.write(&other, &documents)), uid(&first));
}

#[test]
fn a_code_of_ones_own_stands_for_the_node() {
    let case = Case::new(Storage::Classic, &MULLER);
    let (vertebrae, documents) = two_nodes(&case);
    let node: Code = "I10^M51.4^Schmorl's nodes".parse().expect("a code");
    let results = case.try_write(&vertebrae, &documents, &node).expect("the results are written");
    let path = case.folder.path().join("report-sr.dcm");
    std::fs::write(&path, &results.objects[0].bytes).expect("written");
    Tools::find().validate(&path);
    assert!(results.bundle.contains("http://hl7.org/fhir/sid/icd-10") && results.bundle.contains("M51.4"));
}

#[test]
fn images_of_another_series_are_refused() {
    let mut case = Case::new(Storage::Classic, &MULLER);
    let (vertebrae, documents) = two_nodes(&case);
    let source = case.volume.sources[1].as_mut().expect("a stored image");
    assert_eq!(source.sop_instance_uid, sop_instance_uid(SLICES - 2));
    source.sop_instance_uid = "1.2.3".to_owned();
    let error = case.try_write(&vertebrae, &documents, &Code::schmorl_node()).expect_err("another image");
    assert!(matches!(error, Error::OtherImage { .. } | Error::NotASourceImage { .. }), "{error}");
}

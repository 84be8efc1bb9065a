//! pydicom's own test files: every grey-scale file that pydicom decodes gives the same voxels here, the others are
//! refused, nothing panics. `pydicom_files.py` writes the table; its head says how. The files are those of a Python
//! that has pydicom: `MLPIPE_TEST_PYDICOM=/path/to/python`, else `python3`; without one the test says that it was skipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use mlpipe_dicom::{Error, Limits, load_volume, read_pixels, scan};
use sha2::{Digest, Sha256};

use crate::images::skipped;

const TABLE: &str = include_str!("pydicom_files.tsv");

pub(crate) fn test_files() -> Option<PathBuf> {
    let python = std::env::var("MLPIPE_TEST_PYDICOM").unwrap_or_else(|_| "python3".into());
    let script = "import pydicom, os; print(os.path.join(os.path.dirname(pydicom.__file__), 'data', 'test_files'))";
    let output = Command::new(&python).args(["-c", script]).output().ok().filter(|output| output.status.success());
    if output.is_none() {
        skipped(&format!("`{python}` has no pydicom; set MLPIPE_TEST_PYDICOM to a Python that has it"));
    }
    let path = String::from_utf8(output?.stdout).ok()?;
    Some(PathBuf::from(path.trim()))
}

struct Row<'a> {
    name: &'a str,
    size: u64,
    expected: &'a str,
    detail: &'a str,
}

fn rows() -> Vec<Row<'static>> {
    let row = |line: &'static str| {
        let [name, size, expected, detail] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        Row { name, size: size.parse().expect("a size"), expected, detail }
    };
    TABLE.lines().filter(|line| !line.starts_with('#')).map(row).collect()
}

/// Returns what is wrong with the outcome of a file.
fn wrong(row: &Row, path: &Path) -> Option<String> {
    let read = read_pixels(path, Limits::default());
    let right = match (row.expected, &read) {
        ("values", Ok(pixels)) => sha256(&pixels.values) == row.detail,
        ("near", Ok(pixels)) => {
            let expected = row.detail.split(' ').map(|value| value.parse::<f32>().expect("a number"));
            let found = pixels.values.iter().step_by(pixels.values.len() / 64);
            expected.zip(found).all(|(expected, found)| (expected - found).abs() <= 1.0)
        }
        ("colour", Err(Error::Pixels { code, .. })) => code == "colour" || row.name == WRONG_TRANSFER_SYNTAX,
        ("none", Err(_)) => true,
        ("none", Ok(_)) => row.name == ONLY_DECODED_HERE,
        _ => false,
    };
    (!right).then(|| format!("{}: {} {}, found {:?}", row.name, row.expected, row.detail, read.map(|read| read.shape)))
}

/// A colour image whose data set is not in its transfer syntax: refused for that.
const WRONG_TRANSFER_SYNTAX: &str = "SC_rgb_jpeg.dcm";
/// Its scan header is that of another process, which only pydicom's decoders mind; the same image as JPGExtended.dcm.
const ONLY_DECODED_HERE: &str = "JPEG-lossy.dcm";

fn sha256(values: &[f32]) -> String {
    let mut hasher = Sha256::new();
    values.iter().for_each(|value| hasher.update(value.to_le_bytes()));
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn greyscale_files_of_pydicom_give_the_voxels_pydicom_gives() {
    let Some(folder) = test_files() else { return };
    let rows = rows();
    let found = rows.iter().map(|row| (row, folder.join(row.name)));
    let found = found.filter(|(row, path)| std::fs::metadata(path).is_ok_and(|file| file.len() == row.size));
    let outcomes: Vec<Option<String>> = found.map(|(row, path)| wrong(row, &path)).collect();
    assert!(outcomes.len() > 60, "only {} files of the table are there", outcomes.len());
    let wrong: Vec<String> = outcomes.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn scanning_all_of_them_loads_or_refuses_each_volume() {
    let Some(folder) = test_files() else { return };
    let scan = scan(&[folder]).expect("scans");
    assert!(scan.series.len() > 20);
    for plan in scan.series.iter().flat_map(|series| &series.volumes) {
        assert_eq!(load_volume(plan).is_ok(), plan.is_usable(), "{:?}", plan.files());
    }
}

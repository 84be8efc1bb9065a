//! Finds the ONNX Runtime library on this machine, without loading it and without running anything.
//!
//! Order: `ORT_DYLIB_PATH` (then nothing else counts), beside the program, the active Python's `onnxruntime` package,
//! the system's library directories, the user cache. A library whose file name tells a version that is too old is
//! passed over. Loading is left to `onnxruntime.rs`.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::path::{Path, PathBuf};

/// Lowest `x` of ONNX Runtime `1.x` that can be used: the C API version that this crate is built for.
pub const MINIMUM_MINOR_VERSION: u32 = ort::MINOR_VERSION;

/// A library file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeLibrary {
    /// The file.
    pub path: PathBuf,
    /// Version in its file name, as in `libonnxruntime.so.1.24.4`.
    pub version: Option<String>,
}

impl RuntimeLibrary {
    fn at(path: PathBuf) -> RuntimeLibrary {
        // `libonnxruntime.so` is often a link to the file that carries the version.
        let target = path.canonicalize().unwrap_or_else(|_| path.clone());
        let version = [&path, &target].into_iter().find_map(|file| version_in_name(file.file_name()?.to_str()?));
        RuntimeLibrary { path, version }
    }

    fn is_too_old(&self) -> bool {
        self.version.as_deref().and_then(minor_version).is_some_and(|minor| minor < MINIMUM_MINOR_VERSION)
    }
}

/// Returns the ONNX Runtime library that [`Model::open`](crate::Model::open) would load, `None` when there is none.
pub fn find_runtime_library() -> Option<RuntimeLibrary> {
    Places::of_this_process().search().ok()
}

/// As [`find_runtime_library`], or the reason in words.
pub(crate) fn runtime_library() -> Result<RuntimeLibrary, String> {
    Places::of_this_process().search()
}

/// Where to look.
#[derive(Debug, Default)]
struct Places {
    /// Value of `ORT_DYLIB_PATH`.
    named: Option<PathBuf>,
    /// Directories that hold the library itself.
    directories: Vec<PathBuf>,
    /// Python prefixes: directories that hold `lib/python3.x`.
    python_prefixes: Vec<PathBuf>,
    /// Searched last.
    last: Vec<PathBuf>,
}

impl Places {
    fn of_this_process() -> Places {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = variable("HOME").or_else(|| variable("USERPROFILE"));
        let program = std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_owned));
        let mut python_prefixes: Vec<PathBuf> =
            [variable("VIRTUAL_ENV"), variable("CONDA_PREFIX")].into_iter().flatten().collect();
        python_prefixes
            .extend(std::env::var_os("PATH").and_then(|path| python_prefix_on(std::env::split_paths(&path))));
        if !python_prefixes.is_empty() {
            python_prefixes.extend(home.as_ref().map(|home| home.join(".local")));
        }
        let cache = variable("XDG_CACHE_HOME").or_else(|| home.map(|home| home.join(".cache")));
        let mut last: Vec<PathBuf> = SYSTEM_DIRECTORIES.iter().map(PathBuf::from).collect();
        last.extend(cache.map(|cache| cache.join("mlpipe").join("onnxruntime")));
        Places {
            named: variable("ORT_DYLIB_PATH"),
            directories: program.map(|folder| vec![folder.join("../lib"), folder]).map(reversed).unwrap_or_default(),
            python_prefixes,
            last,
        }
    }

    fn search(&self) -> Result<RuntimeLibrary, String> {
        if let Some(named) = &self.named {
            let file = if named.is_dir() { libraries_in(named).into_iter().next() } else { Some(named.clone()) };
            return match file.filter(|file| file.is_file()) {
                Some(file) => Ok(RuntimeLibrary::at(file)),
                None => Err(format!("ORT_DYLIB_PATH names `{}`, which holds no library", named.display())),
            };
        }
        let mut too_old = None;
        for file in self.candidates() {
            let library = RuntimeLibrary::at(file);
            if !library.is_too_old() {
                return Ok(library);
            }
            too_old.get_or_insert(library.path);
        }
        Err(too_old.map_or("no ONNX Runtime library was found".to_owned(), |path| {
            format!("`{}` is older than 1.{MINIMUM_MINOR_VERSION}", path.display())
        }))
    }

    fn candidates(&self) -> impl Iterator<Item = PathBuf> {
        let python = self.python_prefixes.iter().flat_map(|prefix| python_package_directories(prefix));
        let directories = self.directories.iter().cloned().chain(python).chain(self.last.iter().cloned());
        directories.flat_map(|directory| libraries_in(&directory))
    }
}

const SYSTEM_DIRECTORIES: &[&str] = if cfg!(windows) {
    &[]
} else {
    &[
        "/usr/local/lib",
        "/usr/local/lib64",
        "/usr/lib",
        "/usr/lib64",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/opt/onnxruntime/lib",
        "/opt/homebrew/lib",
    ]
};

fn reversed(mut directories: Vec<PathBuf>) -> Vec<PathBuf> {
    directories.reverse();
    directories
}

/// The prefix of the first `python3` on the search path: the folder above `bin`.
fn python_prefix_on(folders: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    let program = if cfg!(windows) { "python.exe" } else { "python3" };
    let folder = folders.into_iter().find(|folder| folder.join(program).is_file())?;
    if cfg!(windows) { Some(folder) } else { folder.parent().map(Path::to_owned) }
}

/// `onnxruntime/capi` of every Python below a prefix, newest Python first.
fn python_package_directories(prefix: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for library in ["lib", "lib64", "local/lib", "Lib"] {
        let mut pythons = entries(&prefix.join(library));
        pythons.retain(|path| file_name(path).starts_with("python3") || file_name(path) == "site-packages");
        pythons.reverse();
        for python in pythons {
            let packages =
                ["site-packages", "dist-packages", ""].map(|folder| python.join(folder).join("onnxruntime/capi"));
            found.extend(packages.into_iter().filter(|folder| folder.is_dir()));
        }
    }
    found
}

/// ONNX Runtime libraries directly in a directory; the plain name first, then the highest version.
fn libraries_in(directory: &Path) -> Vec<PathBuf> {
    // A directory of the system holds thousands of other files.
    let mut found = entries_where(directory, is_library_name);
    found.retain(|path| path.is_file());
    found.sort_by_key(|path| std::cmp::Reverse(version_in_name(&file_name(path)).as_deref().and_then(minor_version)));
    found.sort_by_key(|path| file_name(path) != format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}"));
    found
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    entries_where(directory, |_| true)
}

/// Paths of the entries whose names are wanted, sorted.
fn entries_where(directory: &Path, is_wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let listing = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let wanted = listing.filter(|entry| is_wanted(&entry.file_name().to_string_lossy()));
    let mut paths: Vec<PathBuf> = wanted.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// `libonnxruntime.so`, `libonnxruntime.so.1.24.4`, `libonnxruntime.1.24.4.dylib`, `onnxruntime.dll`.
fn is_library_name(name: &str) -> bool {
    let stem = name.strip_prefix(DLL_PREFIX).and_then(|rest| rest.strip_prefix("onnxruntime"));
    let suffix =
        |rest: &str| rest.ends_with(DLL_SUFFIX) || (rest.starts_with(DLL_SUFFIX) && version_in_name(name).is_some());
    stem.is_some_and(|rest| rest.starts_with('.') && suffix(rest))
}

/// The first `number.number[.number]` in a file name.
fn version_in_name(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let start = parts.iter().position(is_number)?;
    let numbers: Vec<&str> = parts[start..].iter().copied().take_while(is_number).collect();
    (numbers.len() >= 2).then(|| numbers.join("."))
}

/// `24` of `1.24.4`; a later major version counts as newer than any.
fn minor_version(version: &str) -> Option<u32> {
    let mut numbers = version.split('.').map(str::parse::<u32>);
    match (numbers.next()?.ok()?, numbers.next()?.ok()?) {
        (0, _) => Some(0),
        (1, minor) => Some(minor),
        _ => Some(u32::MAX),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary directory can be made");
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().expect("it has a parent")).expect("the folder can be made");
            std::fs::write(path, b"").expect("the file can be written");
        }
        root
    }

    fn found(root: &tempfile::TempDir, places: &Places) -> String {
        let text = match places.search() {
            Ok(library) => format!("{} {}", library.path.display(), library.version.as_deref().unwrap_or("-")),
            Err(reason) => reason,
        };
        text.replace(&format!("{}/", root.path().display()), "")
    }

    #[test]
    fn the_active_python_comes_before_the_system() {
        let package = "venv/lib/python3.11/site-packages/onnxruntime/capi/libonnxruntime.so.1.32.0";
        let root = folder(&[package, "usr/libonnxruntime.so.1.24.1"]);
        let mut places = Places { last: vec![root.path().join("usr")], ..Places::default() };
        assert_eq!(found(&root, &places), "usr/libonnxruntime.so.1.24.1 1.24.1");
        places.python_prefixes.push(root.path().join("venv"));
        assert_eq!(found(&root, &places), format!("{package} 1.32.0"));
    }

    #[test]
    fn libraries_that_are_too_old_are_passed_over() {
        let root = folder(&["a/libonnxruntime.so.1.20.1", "b/libonnxruntime.so.1.25.0"]);
        let mut places = Places { last: vec![root.path().join("a")], ..Places::default() };
        assert_eq!(found(&root, &places), "`a/libonnxruntime.so.1.20.1` is older than 1.24");
        places.last.push(root.path().join("b"));
        assert_eq!(found(&root, &places), "b/libonnxruntime.so.1.25.0 1.25.0");
    }

    #[test]
    fn a_named_library_is_the_only_candidate() {
        let root = folder(&["a/libonnxruntime.so.1.25.0"]);
        let named = Some(root.path().join("absent.so"));
        let places = Places { named, last: vec![root.path().join("a")], ..Places::default() };
        assert_eq!(found(&root, &places), "ORT_DYLIB_PATH names `absent.so`, which holds no library");
    }

    #[test]
    fn other_libraries_of_the_package_are_not_taken() {
        let root = folder(&["a/libonnxruntime_providers_shared.so", "a/onnxruntime.txt", "a/libonnxruntime.so.old"]);
        let places = Places { last: vec![root.path().join("a")], ..Places::default() };
        assert_eq!(found(&root, &places), "no ONNX Runtime library was found");
    }

    #[test]
    fn versions_are_read_from_file_names() {
        assert_eq!(version_in_name("libonnxruntime.1.24.4.dylib").as_deref(), Some("1.24.4"));
        assert_eq!(version_in_name("libonnxruntime.so"), None);
        assert_eq!(minor_version("1.9.0"), Some(9));
        assert_eq!(minor_version("2.0.0"), Some(u32::MAX));
    }
}

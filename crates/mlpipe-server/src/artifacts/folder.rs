//! [`Folder`]: artifacts in a local folder. Every name of a path is opened from its parent and no symbolic link is followed, so
//! that nothing outside the folder can be read or written, even while somebody renames things.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use super::download::{Content, OpenArtifact};
use super::path::{ArtifactPath, UPLOADS};
use crate::api::error::{ApiError, Code};

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// None for a folder.
    pub(crate) size: Option<u64>,
}

/// A folder of artifacts.
#[derive(Debug)]
pub(crate) struct Folder {
    root: OwnedFd,
}

impl Folder {
    /// Opens the folder, making it where it is missing.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let root = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { root })
    }

    /// Lists a folder in the order of the names; a file, and a path that is not there, have no entries.
    pub(crate) fn list(&self, path: &ArtifactPath) -> Result<Vec<Entry>, ApiError> {
        let folder = match self.walk(path) {
            Ok(folder) => folder,
            Err(error) if is_absent(error) => return Ok(Vec::new()),
            Err(error) => return Err(refusal(path, error)),
        };
        let mut entries = entries(&folder).map_err(|error| refusal(path, error))?;
        entries.retain(|entry| !(path.is_root() && entry.name == UPLOADS));
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Opens a file.
    pub(crate) fn read(&self, path: &ArtifactPath) -> Result<OpenArtifact, ApiError> {
        self.open_file(path).map_err(|error| match error {
            rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::ISDIR => {
                ApiError::missing(format!("No such artifact: '{path}'"))
            }
            error => refusal(path, error),
        })
    }

    fn open_file(&self, path: &ArtifactPath) -> rustix::io::Result<OpenArtifact> {
        let (folder, name) = path.split_last().ok_or(rustix::io::Errno::ISDIR)?;
        let folder = self.walk(&folder)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(&folder, name, flags, Mode::empty())?;
        let status = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Err(rustix::io::Errno::ISDIR);
        }
        let file = File::from(file);
        let modified = file.metadata().and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let nanoseconds = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let size = u64::try_from(status.st_size).unwrap_or_default();
        Ok(OpenArtifact {
            content: Content::File(file),
            size,
            modified,
            etag: format!("\"{nanoseconds:x}-{size:x}-{:x}\"", status.st_ino),
        })
    }

    /// Returns whether there is a file.
    pub(crate) fn has(&self, path: &ArtifactPath) -> bool {
        self.open_file(path).is_ok()
    }

    /// Removes a file, or a folder with all that is in it.
    pub(crate) fn remove(&self, path: &ArtifactPath) -> Result<(), ApiError> {
        let Some((folder, name)) = path.split_last() else { return Err(refusal(path, rustix::io::Errno::ISDIR)) };
        let removed = self.walk(&folder).and_then(|folder| remove_entry(&folder, name));
        removed.map_err(|error| match error {
            error if is_absent(error) => ApiError::missing(format!("No such artifact: '{path}'")),
            error => refusal(path, error),
        })
    }

    /// Makes a new empty file among the uploads.
    pub(crate) fn create_upload(&self, name: &str) -> Result<File, ApiError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.open_upload(name, flags)
    }

    /// Opens or makes an upload that goes on later.
    pub(crate) fn continue_upload(&self, name: &str) -> Result<File, ApiError> {
        self.open_upload(name, OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC)
    }

    /// Opens an upload for reading.
    pub(crate) fn read_upload(&self, name: &str) -> Result<File, ApiError> {
        self.open_upload(name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC)
    }

    fn open_upload(&self, name: &str, flags: OFlags) -> Result<File, ApiError> {
        let opened = make_folder(self.root.as_fd(), UPLOADS)
            .and_then(|folder| rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o644)));
        opened.map(File::from).map_err(|error| upload_refusal(&error.into()))
    }

    /// Puts an upload in its place, which makes the folders that lead there.
    pub(crate) fn publish(&self, name: &str, path: &ArtifactPath) -> Result<(), ApiError> {
        let Some((folder, last)) = path.split_last() else {
            return Err(ApiError::invalid("Invalid path: an artifact needs a name"));
        };
        let published = self.make_walk(&folder).and_then(|folder| {
            let uploads = make_folder(self.root.as_fd(), UPLOADS)?;
            rustix::fs::renameat(uploads, name, folder, last)
        });
        published.map_err(|error| refusal(path, error))
    }

    /// Puts an upload in its place unless there is something; the upload itself stays.
    pub(crate) fn publish_new(&self, name: &str, path: &ArtifactPath) -> Result<(), ApiError> {
        let Some((folder, last)) = path.split_last() else {
            return Err(ApiError::invalid("Invalid path: an artifact needs a name"));
        };
        let published = self.make_walk(&folder).and_then(|folder| {
            let uploads = make_folder(self.root.as_fd(), UPLOADS)?;
            rustix::fs::linkat(uploads, name, folder, last, AtFlags::empty())
        });
        published.map_err(|error| match error {
            rustix::io::Errno::EXIST => super::upload::taken(path),
            error => refusal(path, error),
        })
    }

    /// Removes an upload; one that is not there is no error.
    pub(crate) fn discard_upload(&self, name: &str) {
        let removed = make_folder(self.root.as_fd(), UPLOADS)
            .and_then(|folder| rustix::fs::unlinkat(folder, name, AtFlags::empty()));
        if let Err(error) = removed.or_else(|error| if is_absent(error) { Ok(()) } else { Err(error) }) {
            tracing::warn!(%error, "a part of an upload stays behind");
        }
    }

    /// Returns the names of uploads under way.
    pub(crate) fn uploads(&self) -> Result<Vec<Entry>, ApiError> {
        let listed = make_folder(self.root.as_fd(), UPLOADS).and_then(|folder| entries(&folder));
        listed.map_err(|error| upload_refusal(&error.into()))
    }

    /// Removes uploads that nobody has touched for `age`.
    pub(crate) fn discard_uploads_older_than(&self, age: std::time::Duration) -> Result<(), ApiError> {
        for upload in self.uploads()? {
            let file = self.read_upload(&upload.name)?;
            let modified = file.metadata().and_then(|data| data.modified()).unwrap_or(SystemTime::now());
            if modified.elapsed().is_ok_and(|elapsed| elapsed > age) {
                self.discard_upload(&upload.name);
            }
        }
        Ok(())
    }

    fn walk(&self, path: &ArtifactPath) -> rustix::io::Result<OwnedFd> {
        path.names().try_fold(self.root.try_clone().map_err(errno)?, |folder, name| open_folder(folder.as_fd(), name))
    }

    fn make_walk(&self, path: &ArtifactPath) -> rustix::io::Result<OwnedFd> {
        path.names().try_fold(self.root.try_clone().map_err(errno)?, |folder, name| make_folder(folder.as_fd(), name))
    }
}

fn errno(error: io::Error) -> rustix::io::Errno {
    rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO)
}

fn open_folder(parent: impl AsFd, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn make_folder(parent: impl AsFd, name: &str) -> rustix::io::Result<OwnedFd> {
    match open_folder(&parent, name) {
        Err(rustix::io::Errno::NOENT) => {}
        opened => return opened,
    }
    match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => open_folder(parent, name),
        Err(error) => Err(error),
    }
}

/// Links and devices are left out: they cannot be read here.
fn entries(folder: &OwnedFd) -> rustix::io::Result<Vec<Entry>> {
    let mut all = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if name == "." || name == ".." {
            continue;
        }
        let status = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(error) if is_absent(error) => continue,
            status => status?,
        };
        match FileType::from_raw_mode(status.st_mode) {
            FileType::Directory => all.push(Entry { name: name.to_owned(), size: None }),
            FileType::RegularFile => {
                all.push(Entry { name: name.to_owned(), size: u64::try_from(status.st_size).ok() });
            }
            _ => {}
        }
    }
    Ok(all)
}

fn remove_entry(folder: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        // Linux says EISDIR, POSIX says EPERM.
        Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => {}
        removed => return removed,
    }
    let below = open_folder(folder, name)?;
    let names: Vec<_> = Dir::read_from(&below)?.map(|entry| entry.map(|entry| entry.file_name().to_owned())).collect();
    for entry in names {
        let entry = entry?;
        let Ok(entry) = entry.to_str() else { return Err(rustix::io::Errno::ILSEQ) };
        if entry != "." && entry != ".." {
            remove_entry(&below, entry)?;
        }
    }
    rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)
}

fn is_absent(error: rustix::io::Errno) -> bool {
    matches!(error, rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR)
}

/// A link on the way is refused like any path that leads out.
fn refusal(path: &ArtifactPath, error: rustix::io::Errno) -> ApiError {
    use rustix::io::Errno;
    match error {
        Errno::LOOP => ApiError::invalid(format!("Invalid path: '{path}' leads through a symbolic link")),
        Errno::NAMETOOLONG => ApiError::invalid(format!("Invalid path: '{path}' is too long")),
        Errno::NOTDIR | Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY => ApiError::invalid(format!(
            "Invalid path: '{path}' is a folder where a file is meant, or the other way round"
        )),
        error => upload_refusal(&error.into()),
    }
}

/// Turns a failure of the disk into an answer after which a client tries again.
pub(crate) fn upload_refusal(error: &io::Error) -> ApiError {
    let message = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk of the artifact store is full; free space and try again".to_owned()
        }
        io::ErrorKind::NotFound => return ApiError::missing("No such upload"),
        _ => format!("the artifact store failed: {error}"),
    };
    ApiError::new(Code::TemporarilyUnavailable, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn path(text: &str) -> ArtifactPath {
        ArtifactPath::parse(text).expect("a path")
    }

    fn put(folder: &Folder, at: &str, content: &str) {
        folder.create_upload("up").expect("an upload").write_all(content.as_bytes()).expect("written");
        folder.publish("up", &path(at)).expect("published");
    }

    fn names(folder: &Folder, at: &str) -> Vec<String> {
        folder.list(&path(at)).expect("listed").into_iter().map(|entry| entry.name).collect()
    }

    #[test]
    fn files_are_put_listed_read_and_removed() {
        let directory = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(directory.path()).expect("opened");
        put(&folder, "0/run/a.txt", "hi");
        put(&folder, "0/run/a.txt", "hello");
        put(&folder, "0/run/sub/b", "");
        assert_eq!(names(&folder, ""), ["0"]);
        assert_eq!(names(&folder, "0/run"), ["a.txt", "sub"]);
        assert_eq!(names(&folder, "0/run/a.txt"), Vec::<String>::new());
        let mut content = String::new();
        let opened = folder.read(&path("0/run/a.txt")).expect("opened");
        let size = opened.size;
        #[cfg_attr(not(feature = "object-store"), expect(clippy::infallible_destructuring_match))]
        let mut file = match opened.content {
            Content::File(file) => file,
            #[cfg(feature = "object-store")]
            Content::Object(_) => unreachable!("a folder has files"),
        };
        file.read_to_string(&mut content).expect("read");
        assert_eq!((content.as_str(), size), ("hello", 5));
        folder.remove(&path("0/run")).expect("removed");
        assert_eq!(names(&folder, "0"), Vec::<String>::new());
        for gone in ["0/run", "x/y"] {
            assert_eq!(folder.remove(&path(gone)).expect_err("gone").code, Code::ResourceDoesNotExist);
        }
        assert!(folder.remove(&ArtifactPath::root()).is_err());
    }

    #[test]
    fn symbolic_links_are_not_followed() {
        let outside = tempfile::tempdir().expect("a folder");
        std::fs::write(outside.path().join("secret"), "s").expect("written");
        let directory = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(directory.path()).expect("opened");
        std::os::unix::fs::symlink(outside.path(), directory.path().join("out")).expect("linked");
        std::os::unix::fs::symlink(outside.path().join("secret"), directory.path().join("file")).expect("linked");
        assert!(folder.read(&path("out/secret")).is_err());
        assert!(folder.read(&path("file")).is_err());
        assert!(folder.remove(&path("out/secret")).is_err());
        folder.create_upload("up").expect("an upload");
        assert!(folder.publish("up", &path("out/new")).is_err());
        assert_eq!(names(&folder, ""), Vec::<String>::new());
        assert_eq!(std::fs::read_dir(outside.path()).expect("listed").count(), 1);
    }
}

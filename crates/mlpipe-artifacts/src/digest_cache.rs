//! [`DigestCache`]: digests of files that were read before, so that a file is read again only when it may have changed.
//!
//! A digest is believed while the file's [`Stamp`] (device, inode, size, time of modification, time of change) is the one that
//! was seen when it was taken. Clocks of file systems tick, so a content that was written in the tick in which it was read
//! could be replaced without a trace: a file that is not clearly older than the reading is not remembered (git's rule for
//! "racily clean" entries), and neither is one that is not older than the moment at which the cache is written.
//!
//! On disk: 16 files by the first digit of the key, read when first needed. One that is damaged or of another version counts as
//! empty. Losing it all costs time and nothing else, so nothing waits for the disk.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::digest::digest_open_file;
use crate::tree::{digest_of_one_file, digest_tree_with};
use crate::{Digest, Error, Result, Tree};

/// Begins each file; another number for another layout.
const HEADER: &[u8] = b"mlpipe.digests/1\n";
const SHARDS: usize = 16;
/// Files remembered per shard, about two million in all: those that were asked for longest ago are forgotten first.
const MOST_PER_SHARD: usize = 131_072;
/// How much older than its reading a file must be: two ticks of the slowest usual kernel clock (100 Hz).
const TICK_NS: i64 = 20_000_000;
/// The same where times are whole seconds (FAT counts in twos).
const COARSE_TICK_NS: i64 = 2_000_000_000;
const SECOND_NS: i64 = 1_000_000_000;
const DAY_NS: i64 = 86_400 * SECOND_NS;

/// The first half of BLAKE3 of the absolute path: files are told apart, and no path is kept.
type Key = [u8; 16];

/// What the file system says of a file's content without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified_ns: i64,
    changed_ns: i64,
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let ns = |seconds: i64, rest: i64| seconds.saturating_mul(SECOND_NS).saturating_add(rest);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Tells whether the two are of one file whose content was not written to in between: names may have come or gone.
    pub(crate) fn has_content_of(&self, earlier: &Self) -> bool {
        *self == Self { changed_ns: self.changed_ns, ..*earlier }
    }

    fn newest_ns(&self) -> i64 {
        self.modified_ns.max(self.changed_ns)
    }

    /// Tells whether a change at `moment_ns` or later cannot leave the same stamp.
    fn is_settled(&self, moment_ns: i64) -> bool {
        let tick = if self.modified_ns % SECOND_NS == 0 { COARSE_TICK_NS } else { TICK_NS };
        self.newest_ns().saturating_add(tick) <= moment_ns
    }
}

#[derive(Clone, Copy, Debug)]
struct Known {
    stamp: Stamp,
    digest: Digest,
    /// Day since 1970 on which it was last asked for.
    used: u32,
}

#[derive(Debug, Default)]
struct Shard {
    is_loaded: bool,
    is_changed: bool,
    known: HashMap<Key, Known>,
}

/// Digests of files by path, believed while the files look as they did. Threads may share it.
#[derive(Debug)]
pub struct DigestCache {
    /// None for one that is not kept.
    directory: Option<PathBuf>,
    today: u32,
    shards: Vec<Mutex<Shard>>,
}

impl Default for DigestCache {
    /// Returns one that knows nothing at first and is not kept.
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        let today = u32::try_from(now_ns() / DAY_NS).unwrap_or(0);
        Self { directory: None, today, shards }
    }
}

impl DigestCache {
    /// Uses the cache in `directory`, which need not exist. Nothing is read yet.
    pub fn new(directory: &Path) -> Self {
        Self { directory: Some(directory.to_owned()), ..Self::default() }
    }

    /// Returns the digest of a file's bytes, as [`crate::digest_file`] does, without reading it when it has not changed.
    ///
    /// # Errors
    /// Those of [`crate::digest_file`].
    pub fn digest_file(&self, path: &Path) -> Result<Digest> {
        self.digest_seen_file(path, &fs::metadata(path).map_err(Error::io("read", path))?)
    }

    fn digest_seen_file(&self, path: &Path, metadata: &Metadata) -> Result<Digest> {
        let stamp = Stamp::of(metadata);
        let key = key(path);
        if let Some(digest) = self.find(key, stamp) {
            return Ok(digest);
        }
        let read_at = now_ns();
        let file = File::open(path).map_err(Error::io("open", path))?;
        let (digest, _) = digest_open_file(&file, path)?;
        let after = Stamp::of(&file.metadata().map_err(Error::io("read", path))?);
        if after == stamp && stamp.is_settled(read_at) {
            self.keep(key, stamp, digest);
        }
        Ok(digest)
    }

    /// Reads the content of a file or a directory as [`Tree::read`] does, without reading files that have not changed.
    ///
    /// # Errors
    /// Those of [`Tree::read`].
    pub fn read_tree(&self, path: &Path, ignore: &[&str]) -> Result<Tree> {
        Tree::read_with(path, ignore, |file| self.digest_file(file))
    }

    /// Returns the digest of a file or a directory as [`crate::digest_tree`] does, without reading files that have not changed.
    ///
    /// # Errors
    /// Those of [`crate::digest_tree`].
    pub fn digest_tree(&self, path: &Path, ignore: &[&str]) -> Result<Digest> {
        let metadata = fs::metadata(path).map_err(Error::io("read", path))?;
        if metadata.is_file() {
            return Ok(digest_of_one_file(self.digest_seen_file(path, &metadata)?));
        }
        digest_tree_with(path, ignore, |file| self.digest_file(file))
    }

    /// Returns the digest that the file at `path` has if it still looks like `stamp`; none when that is not known.
    pub(crate) fn known(&self, path: &Path, stamp: Stamp) -> Option<Digest> {
        self.find(key(path), stamp)
    }

    /// Remembers a digest that the caller vouches for.
    pub(crate) fn vouch(&self, path: &Path, stamp: Stamp, digest: Digest) {
        self.keep(key(path), stamp, digest);
    }

    fn find(&self, key: Key, stamp: Stamp) -> Option<Digest> {
        let mut shard = self.shard(key);
        let shard = &mut *shard;
        let known = shard.known.get_mut(&key).filter(|known| known.stamp == stamp)?;
        shard.is_changed |= known.used != self.today;
        known.used = self.today;
        Some(known.digest)
    }

    fn keep(&self, key: Key, stamp: Stamp, digest: Digest) {
        let mut shard = self.shard(key);
        shard.is_changed = true;
        shard.known.insert(key, Known { stamp, digest, used: self.today });
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        let number = usize::from(key[0] >> 4);
        // A thread that panicked has left whole entries behind.
        let mut shard = self.shards[number].lock().unwrap_or_else(PoisonError::into_inner);
        if !shard.is_loaded {
            shard.is_loaded = true;
            let kept = self.directory.as_deref().and_then(|directory| read(&shard_path(directory, number)));
            shard.known = kept.unwrap_or_default();
        }
        shard
    }

    /// Writes what was learnt, by way of files in `staging`, a directory of the same file system. Of two processes that write at
    /// the same time one is forgotten.
    ///
    /// # Errors
    /// [`Error::Io`]. What is on disk is good all the same.
    pub fn save(&self, staging: &Path) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let mut written_at = None;
        for (number, shard) in self.shards.iter().enumerate() {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            if !shard.is_changed {
                continue;
            }
            let written_at = match written_at {
                Some(moment) => moment,
                None => {
                    fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
                    *written_at.insert(clock_of(staging)?)
                }
            };
            shard.known.retain(|_, known| known.stamp.newest_ns() < written_at);
            forget_oldest(&mut shard.known);
            crate::place_atomically_via(staging, &shard_path(directory, number), &encoded(&shard.known))?;
            shard.is_changed = false;
        }
        Ok(())
    }
}

fn shard_path(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("{number:x}"))
}

/// What the file system's own clock says.
fn clock_of(staging: &Path) -> Result<i64> {
    let moment = || -> io::Result<i64> {
        let mut file = tempfile::Builder::new().prefix(".tmp-").tempfile_in(staging)?;
        file.write_all(b"x")?;
        Ok(Stamp::of(&file.as_file().metadata()?).modified_ns)
    };
    moment().map_err(Error::io("create a file in", staging))
}

fn forget_oldest(known: &mut HashMap<Key, Known>) {
    if known.len() > MOST_PER_SHARD {
        let mut days: Vec<u32> = known.values().map(|known| known.used).collect();
        days.sort_unstable_by(|a, b| b.cmp(a));
        let last = days[MOST_PER_SHARD - 1];
        let mut room = days[..MOST_PER_SHARD].iter().filter(|day| **day == last).count();
        known.retain(|_, known| {
            let stays = known.used > last || (known.used == last && room > 0);
            room -= usize::from(stays && known.used == last);
            stays
        });
    }
}

fn key(path: &Path) -> Key {
    // Only a path that is empty cannot be made absolute, and nothing lies there.
    let absolute = if path.is_absolute() { None } else { std::path::absolute(path).ok() };
    let bytes = absolute.as_deref().unwrap_or(path).as_os_str().as_bytes();
    let mut key = Key::default();
    key.copy_from_slice(&blake3::hash(bytes).as_bytes()[..size_of::<Key>()]);
    key
}

fn now_ns() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.map_or(0, |duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

// ---- on disk: header, records, BLAKE3 of both. Numbers are little endian.

const CHECKSUM_BYTES: usize = 32;
const RECORD_BYTES: usize = size_of::<Key>() + 5 * 8 + 4 + 32;

fn encoded(known: &HashMap<Key, Known>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER.len() + known.len() * RECORD_BYTES + CHECKSUM_BYTES);
    bytes.extend_from_slice(HEADER);
    for (key, Known { stamp, digest, used }) in known {
        bytes.extend_from_slice(key);
        for number in [stamp.device, stamp.inode, stamp.size] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for time in [stamp.modified_ns, stamp.changed_ns] {
            bytes.extend_from_slice(&time.to_le_bytes());
        }
        bytes.extend_from_slice(&used.to_le_bytes());
        bytes.extend_from_slice(digest.as_bytes());
    }
    let checksum = blake3::hash(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes
}

/// None for a file that is missing, damaged or of another version.
fn read(path: &Path) -> Option<HashMap<Key, Known>> {
    let bytes = fs::read(path).ok()?;
    let (content, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_BYTES)?)?;
    let records = content.strip_prefix(HEADER)?;
    if blake3::hash(content).as_bytes() != checksum || records.len() % RECORD_BYTES != 0 {
        return None;
    }
    Some(records.chunks_exact(RECORD_BYTES).map(decoded).collect())
}

fn decoded(record: &[u8]) -> (Key, Known) {
    let mut rest = record;
    let key = take(&mut rest);
    let mut number = || u64::from_le_bytes(take(&mut rest));
    let (device, inode, size) = (number(), number(), number());
    let mut time = || i64::from_le_bytes(take(&mut rest));
    let (modified_ns, changed_ns) = (time(), time());
    let used = u32::from_le_bytes(take(&mut rest));
    let stamp = Stamp { device, inode, size, modified_ns, changed_ns };
    (key, Known { stamp, used, digest: Digest::from_bytes(take(&mut rest)) })
}

fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (first, others) = rest.split_first_chunk().expect("a record has a fixed length");
    *rest = others;
    *first
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::FileTimes;
    use std::time::Duration;

    /// A folder with one file, `file`, that was written long ago, and a place for a cache.
    struct Fixture {
        folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let fixture = Self { folder: tempfile::tempdir().expect("a folder") };
            fs::create_dir(fixture.path("tmp")).expect("made");
            fixture.write("one");
            fixture
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn write(&self, text: &str) {
            fs::write(self.path("file"), text).expect("written");
        }

        fn set_modified(&self, time: SystemTime) {
            let file = File::open(self.path("file")).expect("there");
            file.set_times(FileTimes::new().set_modified(time)).expect("set");
        }

        fn cache(&self) -> DigestCache {
            DigestCache::new(&self.path("digests"))
        }

        fn stamp(&self) -> Stamp {
            Stamp::of(&fs::metadata(self.path("file")).expect("there"))
        }

        /// A cache on disk that takes the file for one with another content: whoever believes it has not read the file.
        fn remember_wrongly(&self, stamp: Stamp) {
            let cache = self.cache();
            cache.vouch(&self.path("file"), stamp, Digest::of(b"remembered"));
            let bytes = encoded(&cache.shards[self.shard()].lock().expect("free").known);
            fs::create_dir_all(self.path("digests")).expect("made");
            fs::write(self.shard_path(), bytes).expect("written");
        }

        fn shard(&self) -> usize {
            usize::from(key(&self.path("file"))[0] >> 4)
        }

        fn shard_path(&self) -> PathBuf {
            shard_path(&self.path("digests"), self.shard())
        }

        fn digest(&self) -> Digest {
            self.cache().digest_file(&self.path("file")).expect("digested")
        }
    }

    #[test]
    fn file_that_looks_as_it_did_is_not_read_again() {
        let fixture = Fixture::new();
        fixture.remember_wrongly(fixture.stamp());
        assert_eq!(fixture.digest(), Digest::of(b"remembered"));
    }

    #[test]
    fn every_part_of_the_stamp_counts() {
        let fixture = Fixture::new();
        let now = fixture.stamp();
        for other in [
            Stamp { device: now.device + 1, ..now },
            Stamp { inode: now.inode + 1, ..now },
            Stamp { size: now.size + 1, ..now },
            Stamp { modified_ns: now.modified_ns - 1, ..now },
            Stamp { changed_ns: now.changed_ns - 1, ..now },
        ] {
            fixture.remember_wrongly(other);
            assert_eq!(fixture.digest(), Digest::of(b"one"), "{other:?}");
        }
    }

    #[test]
    fn content_of_the_same_size_with_the_old_time_of_modification_is_noticed() {
        let fixture = Fixture::new();
        fixture.remember_wrongly(fixture.stamp());
        let modified = fs::metadata(fixture.path("file")).and_then(|data| data.modified()).expect("known");
        fixture.write("two");
        fixture.set_modified(modified);
        assert_eq!(fixture.digest(), Digest::of(b"two"));
    }

    #[test]
    fn file_that_was_written_just_now_is_not_remembered() {
        let fixture = Fixture::new();
        let cache = fixture.cache();
        // A tick lies in the future: however slow this test is, the file is as new as its reading.
        fixture.set_modified(SystemTime::now() + Duration::from_secs(3600));
        assert_eq!(cache.digest_file(&fixture.path("file")).expect("digested"), Digest::of(b"one"));
        assert_eq!(cache.known(&fixture.path("file"), fixture.stamp()), None);
    }

    #[test]
    fn settled_means_older_than_a_tick_of_the_clock_that_wrote_the_time() {
        let at = |modified_ns| Stamp { modified_ns, changed_ns: 0, ..Fixture::new().stamp() };
        let moment = 1_000 * SECOND_NS + 1;
        assert!(at(moment - TICK_NS).is_settled(moment));
        assert!(!at(moment - TICK_NS + 1).is_settled(moment));
        assert!(!at(999 * SECOND_NS).is_settled(moment), "whole seconds: the clock may be a coarse one");
        assert!(at(998 * SECOND_NS).is_settled(moment));
    }

    #[test]
    fn what_is_not_older_than_the_cache_is_not_written_to_it() {
        let fixture = Fixture::new();
        let stamp = Stamp { changed_ns: now_ns() + 3600 * SECOND_NS, ..fixture.stamp() };
        let cache = fixture.cache();
        cache.vouch(&fixture.path("file"), stamp, Digest::of(b"one"));
        cache.save(&fixture.path("tmp")).expect("saved");
        assert_eq!(fixture.cache().known(&fixture.path("file"), stamp), None);
    }

    #[test]
    fn what_was_learnt_is_there_the_next_time_and_damage_is_forgotten() {
        let fixture = Fixture::new();
        let stamp = Stamp { modified_ns: 5, changed_ns: 7, ..fixture.stamp() };
        let cache = fixture.cache();
        cache.vouch(&fixture.path("file"), stamp, Digest::of(b"one"));
        cache.save(&fixture.path("tmp")).expect("saved");
        let known = || fixture.cache().known(&fixture.path("file"), stamp);
        assert_eq!(known(), Some(Digest::of(b"one")));

        let path = fixture.shard_path();
        let good = fs::read(&path).expect("there");
        let mut flipped = good.clone();
        flipped[HEADER.len() + 20] ^= 1;
        let other_version = [b"mlpipe.digests/2\n".as_slice(), &good[HEADER.len()..]].concat();
        for bad in [flipped, other_version, good[..good.len() - 1].to_vec(), Vec::new(), b"text".to_vec()] {
            fs::write(&path, &bad).expect("written");
            assert_eq!(known(), None);
        }
    }

    #[test]
    fn the_longest_unused_are_forgotten_first() {
        let stamp = Fixture::new().stamp();
        let entry = |number: u32| {
            let mut key = Key::default();
            key[1..5].copy_from_slice(&number.to_le_bytes());
            let used = if number < 10 { 1 } else { 2 };
            (key, Known { stamp, digest: Digest::of(b""), used })
        };
        let most = u32::try_from(MOST_PER_SHARD).expect("small");
        let mut known: HashMap<Key, Known> = (0..most + 5).map(entry).collect();
        forget_oldest(&mut known);
        assert_eq!(known.len(), MOST_PER_SHARD);
        assert_eq!(known.values().filter(|known| known.used == 1).count(), 5);
    }

    #[test]
    fn trees_have_the_digests_that_they_have_without_a_cache() {
        let fixture = Fixture::new();
        for path in [fixture.path("file"), fixture.path("")] {
            let expected = crate::digest_tree(&path, &[]).expect("digested");
            assert_eq!(fixture.cache().digest_tree(&path, &[]).expect("digested"), expected);
            assert_eq!(fixture.cache().read_tree(&path, &[]).expect("read").digest(), expected);
        }
    }

    #[test]
    fn missing_file_is_named() {
        let fixture = Fixture::new();
        let error = fixture.cache().digest_file(&fixture.path("nowhere")).expect_err("refused");
        assert!(error.to_string().ends_with("nowhere"), "{error}");
    }
}

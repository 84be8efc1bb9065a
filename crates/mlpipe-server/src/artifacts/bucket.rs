//! [`Bucket`]: artifacts in an object store. A file is there when all of it is: what is too large for one request is sent in parts
//! that the store joins at the end, or drops. Keys are the paths as they are, so that MLflow's own clients find them.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::{Body, Bytes};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path as Key;
use object_store::{
    Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload, WriteMultipart,
};
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;

use super::cloud::with_causes;
use super::download::{Content, OpenArtifact, file_body};
use super::folder::{Entry, upload_refusal};
use super::path::ArtifactPath;
use super::upload::{Existing, Sha256Digest, check_digest, drain, drained, gather, taken};
use crate::api::error::{ApiError, Code};

/// Smallest part; S3 wants 5 MiB.
const PART_BYTES: u64 = 8 << 20;
/// S3 takes 10,000 parts; a body that does not say how long it is may grow to PART_BYTES times as many.
const MAX_PARTS: u64 = 9_000;
/// Parts of one file that are sent at a time.
const PARTS_AT_A_TIME: usize = 3;

/// A bucket, or what lies below a prefix of it.
#[derive(Debug)]
pub(crate) struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    /// For callers on blocking threads. The server's own runtime would need one more of those to look up the store's name, and
    /// when all of them wait here there is none.
    runtime: Option<Runtime>,
}

impl Drop for Bucket {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A file of a bucket that can be sent.
#[derive(Debug)]
pub(crate) struct Object {
    store: Arc<dyn ObjectStore>,
    runtime: tokio::runtime::Handle,
    meta: ObjectMeta,
}

impl Bucket {
    /// Makes a bucket of a store.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn new(store: Arc<dyn ObjectStore>, prefix: &str) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self { store, prefix: prefix.to_owned(), runtime: Some(runtime) })
    }

    /// Asks whether the bucket can be reached and read; blocks.
    pub(crate) fn check(&self) -> object_store::Result<()> {
        let prefix = Key::parse(&self.prefix)?;
        self.block_on(async { self.store.list(Some(&prefix)).next().await.transpose() }).map(drop)
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.handle().block_on(work)
    }

    fn handle(&self) -> &tokio::runtime::Handle {
        self.runtime.as_ref().expect("only dropping takes it").handle()
    }

    fn key(&self, path: &ArtifactPath) -> Result<Key, ApiError> {
        let key = Key::parse(format!("{}/{path}", self.prefix).trim_matches('/'));
        key.map_err(|_| ApiError::invalid(format!("Invalid path: '{path}' has characters that no key may have")))
    }

    /// Lists a folder in the order of the names; a file, and a path that is not there, have no entries. Blocks.
    pub(crate) fn list(&self, path: &ArtifactPath) -> Result<Vec<Entry>, ApiError> {
        let key = self.key(path)?;
        let listed =
            self.block_on(self.store.list_with_delimiter(Some(&key))).map_err(|error| refusal(path, &error))?;
        let name = |key: &Key| key.filename().unwrap_or_default().to_owned();
        let folders = listed.common_prefixes.iter().map(|key| Entry { name: name(key), size: None });
        // Some programs mark a folder by an empty object of its name.
        let files = listed.objects.iter().filter(|object| object.location != key);
        let files = files.map(|object| Entry { name: name(&object.location), size: Some(object.size) });
        let mut entries: Vec<Entry> = folders.chain(files).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Looks a file up; blocks.
    pub(crate) fn read(&self, path: &ArtifactPath) -> Result<OpenArtifact, ApiError> {
        if path.is_root() {
            return Err(missing(path));
        }
        let key = self.key(path)?;
        let meta = self.block_on(self.store.head(&key)).map_err(|error| refusal(path, &error))?;
        let own = || format!("{:x}-{:x}", meta.last_modified.timestamp_micros(), meta.size);
        let etag = meta.e_tag.clone().unwrap_or_else(own);
        Ok(OpenArtifact {
            size: meta.size,
            modified: SystemTime::from(meta.last_modified),
            etag: format!("\"{}\"", etag.trim_start_matches("W/").trim_matches('"')),
            content: Content::Object(Object { store: Arc::clone(&self.store), runtime: self.handle().clone(), meta }),
        })
    }

    /// Removes a file, or all that lies below a path; blocks.
    pub(crate) fn remove(&self, path: &ArtifactPath) -> Result<(), ApiError> {
        let key = self.key(path)?;
        let removed = self.block_on(async {
            let below = self.store.list(Some(&key)).map_ok(|object| object.location);
            let mut keys: Vec<Key> = below.try_collect().await?;
            match self.store.head(&key).await {
                Ok(_) => keys.push(key.clone()),
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
            let count = keys.len();
            let keys = futures_util::stream::iter(keys.into_iter().map(Ok)).boxed();
            self.store.delete_stream(keys).try_for_each(|_| std::future::ready(Ok(()))).await?;
            Ok(count)
        });
        match removed.map_err(|error| refusal(path, &error))? {
            0 => Err(missing(path)),
            _ => Ok(()),
        }
    }

    /// Stores a local file; blocks.
    pub(crate) fn put_file(&self, file: File, path: &ArtifactPath, existing: Existing) -> Result<(), ApiError> {
        let length = file.metadata().map_err(|error| upload_refusal(&error))?.len();
        self.block_on(async {
            let body = file_body(file, 0..length).map_err(|error| upload_refusal(&error))?;
            self.put(path, existing, None, Some(length), body).await
        })
    }

    /// Stores what a body brings.
    ///
    /// [`Existing::Keep`] is decided by the store for what fits into one part. Of larger files only another server on the same
    /// bucket could slip in between the last look and the joining of the parts.
    pub(crate) async fn put(
        &self,
        path: &ArtifactPath,
        existing: Existing,
        expected: Option<Sha256Digest>,
        length: Option<u64>,
        body: Body,
    ) -> Result<(), ApiError> {
        let key = match self.key_to_write(path, existing).await {
            Ok(key) => key,
            Err(error) => return Err(drained(body, error).await),
        };
        let part_bytes = length.unwrap_or_default().div_ceil(MAX_PARTS).max(PART_BYTES);
        let part_bytes = usize::try_from(part_bytes).map_err(|_| ApiError::invalid("the file is too large"))?;
        let mut hash = expected.map(|_| Sha256::new());
        let mut frames = body.into_data_stream();
        let (pieces, is_all) = gather(&mut frames, part_bytes).await?;
        update(&mut hash, &pieces);
        if is_all {
            check_digest(expected, hash)?;
            let mode = if existing == Existing::Keep { PutMode::Create } else { PutMode::Overwrite };
            let put = self.store.put_opts(&key, PutPayload::from_iter(pieces), mode.into()).await;
            return put.map(drop).map_err(|error| refusal(path, &error));
        }
        let mut parts = match Parts::begin(self, &key, part_bytes).await {
            Ok(parts) => parts,
            Err(error) => {
                drain(&mut frames).await;
                return Err(refusal(path, &error));
            }
        };
        let mut gathered = (pieces, false);
        loop {
            if let Err(error) = parts.write(gathered.0).await {
                drain(&mut frames).await;
                return Err(refusal(path, &error));
            }
            if gathered.1 {
                break;
            }
            gathered = gather(&mut frames, part_bytes).await?;
            update(&mut hash, &gathered.0);
        }
        check_digest(expected, hash)?;
        self.key_to_write(path, existing).await?;
        parts.finish().await.map_err(|error| refusal(path, &error))
    }

    async fn key_to_write(&self, path: &ArtifactPath, existing: Existing) -> Result<Key, ApiError> {
        if path.is_root() {
            return Err(ApiError::invalid("Invalid path: an artifact needs a name"));
        }
        let key = self.key(path)?;
        if existing == Existing::Keep {
            match self.store.head(&key).await {
                Ok(_) => return Err(taken(path)),
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(refusal(path, &error)),
            }
        }
        Ok(key)
    }
}

fn update(hash: &mut Option<Sha256>, pieces: &[Bytes]) {
    if let Some(hash) = hash {
        pieces.iter().for_each(|piece| hash.update(piece));
    }
}

/// The parts of a file under way; the store forgets them when this is dropped before they are joined.
struct Parts {
    writing: Option<WriteMultipart>,
    runtime: tokio::runtime::Handle,
}

impl Parts {
    async fn begin(bucket: &Bucket, key: &Key, part_bytes: usize) -> object_store::Result<Self> {
        let upload = bucket.store.put_multipart(key).await?;
        let writing = WriteMultipart::new_with_chunk_size(upload, part_bytes);
        Ok(Self { writing: Some(writing), runtime: bucket.handle().clone() })
    }

    async fn write(&mut self, pieces: Vec<Bytes>) -> object_store::Result<()> {
        let writing = self.writing.as_mut().expect("only finishing takes it");
        pieces.into_iter().for_each(|piece| writing.put(piece));
        writing.wait_for_capacity(PARTS_AT_A_TIME).await
    }

    async fn finish(mut self) -> object_store::Result<()> {
        let writing = self.writing.take().expect("only finishing takes it");
        writing.finish().await.map(drop)
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        let Some(writing) = self.writing.take() else { return };
        self.runtime.spawn(async {
            if let Err(error) = writing.abort().await {
                tracing::warn!(%error, "parts of an upload stay in the bucket");
            }
        });
    }
}

impl Object {
    /// The bytes of a range; blocks until the store begins to send them.
    pub(crate) fn body(self, range: Range<u64>) -> Result<Body, ApiError> {
        // Another file under the same name would not fit the headers that were answered.
        let options =
            GetOptions { if_match: self.meta.e_tag, range: Some(GetRange::Bounded(range)), ..Default::default() };
        let got = self.runtime.block_on(self.store.get_opts(&self.meta.location, options));
        match got {
            Ok(got) => Ok(Body::from_stream(got.into_stream())),
            Err(Error::Precondition { .. } | Error::NotFound { .. }) => Err(ApiError::new(
                Code::TemporarilyUnavailable,
                "the artifact was replaced while it was asked for; try again",
            )),
            Err(error) => Err(unavailable(&error)),
        }
    }
}

fn missing(path: &ArtifactPath) -> ApiError {
    ApiError::missing(format!("No such artifact: '{path}'"))
}

fn refusal(path: &ArtifactPath, error: &Error) -> ApiError {
    match error {
        Error::NotFound { .. } => missing(path),
        Error::AlreadyExists { .. } | Error::Precondition { .. } => taken(path),
        error => unavailable(error),
    }
}

/// The store's own words may hold names of buckets and accounts: they go to the log, not to clients.
fn unavailable(error: &Error) -> ApiError {
    tracing::warn!(error = with_causes(error), "the artifact store failed");
    let message = match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            "the artifact store refused this server's credentials"
        }
        _ => "the artifact store failed; the server's log says why",
    };
    ApiError::new(Code::TemporarilyUnavailable, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    fn bucket() -> (Bucket, Arc<InMemory>) {
        let store = Arc::new(InMemory::new());
        (Bucket::new(Arc::clone(&store) as Arc<dyn ObjectStore>, "pre/fix").expect("a bucket"), store)
    }

    fn path(text: &str) -> ArtifactPath {
        ArtifactPath::parse(text).expect("a path")
    }

    fn put(bucket: &Bucket, at: &str, content: &[u8], existing: Existing) -> Result<(), ApiError> {
        let body = Body::from(content.to_vec());
        bucket.block_on(bucket.put(&path(at), existing, None, None, body))
    }

    fn names(bucket: &Bucket, at: &str) -> Vec<String> {
        bucket.list(&path(at)).expect("listed").into_iter().map(|entry| entry.name).collect()
    }

    fn content(bucket: &Bucket, at: &str, range: Range<u64>) -> Vec<u8> {
        let Content::Object(object) = bucket.read(&path(at)).expect("opened").content else { panic!("an object") };
        let body = object.body(range).expect("a body");
        bucket.block_on(axum::body::to_bytes(body, usize::MAX)).expect("bytes").to_vec()
    }

    #[test]
    fn files_are_put_listed_read_and_removed_below_the_prefix() {
        let (bucket, store) = bucket();
        put(&bucket, "0/run/a 50%.txt", b"hi", Existing::Replace).expect("put");
        put(&bucket, "0/run/a 50%.txt", b"hello", Existing::Replace).expect("put");
        put(&bucket, "0/run/sub/b", b"", Existing::Replace).expect("put");
        assert_eq!(
            (names(&bucket, ""), names(&bucket, "0/run")),
            (vec!["0".to_owned()], vec!["a 50%.txt".to_owned(), "sub".to_owned()])
        );
        assert_eq!(names(&bucket, "0/run/a 50%.txt"), Vec::<String>::new());
        assert_eq!(content(&bucket, "0/run/a 50%.txt", 1..4), b"ell");
        let keys =
            bucket.block_on(store.list(None).map_ok(|object| object.location.to_string()).try_collect::<Vec<_>>());
        assert_eq!(keys.expect("keys"), ["pre/fix/0/run/a 50%.txt", "pre/fix/0/run/sub/b"]);
        bucket.remove(&path("0/run")).expect("removed");
        assert_eq!(names(&bucket, "0"), Vec::<String>::new());
        for gone in ["0/run", "x/y"] {
            assert_eq!(bucket.remove(&path(gone)).expect_err("gone").code, Code::ResourceDoesNotExist);
            assert_eq!(bucket.read(&path(gone)).expect_err("gone").code, Code::ResourceDoesNotExist);
        }
    }

    #[test]
    fn files_of_many_parts_and_of_one_are_whole_or_not_there() {
        let (bucket, _) = bucket();
        let part = usize::try_from(PART_BYTES).expect("small");
        for size in [0, 1, part - 1, part, part + 1, 3 * part + 7] {
            let bytes: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            put(&bucket, "f", &bytes, Existing::Replace).expect("put");
            assert_eq!(bucket.read(&path("f")).expect("there").size, size as u64);
            if size > 0 {
                assert!(content(&bucket, "f", 0..size as u64) == bytes, "{size}");
            }
            assert_eq!(put(&bucket, "f", &bytes, Existing::Keep).expect_err("taken").code, Code::ResourceConflict);
            let expected = Some([7; 32]);
            let refused = bucket.block_on(bucket.put(&path("g"), Existing::Replace, expected, None, Body::from(bytes)));
            assert_eq!(refused.expect_err("another digest").code, Code::InvalidParameterValue);
            assert!(bucket.read(&path("g")).is_err());
        }
    }
}

//! How a file is received: streamed into an upload, checked, then put in its place in one step, so that no reader ever sees half
//! of it. A body that breaks off leaves nothing behind, unless the client said which part of the whole it is (`Content-Range`):
//! then what has come stays, and the client goes on from there.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use super::folder::{Folder, upload_refusal};
use super::path::ArtifactPath;
use super::{Artifacts, Place};
use crate::api::error::{ApiError, Code};
use crate::random;

/// Gathered before it is written to a file; larger gains nothing.
const CHUNK_BYTES: usize = 1 << 20;
/// Read of a body that is refused, so that the client hears why instead of a broken connection.
const DRAINED_BYTES: usize = 64 << 20;

/// An upload under way; it is gone when this is dropped before it is published.
#[derive(Debug)]
pub(crate) struct Upload {
    uploads: Arc<Folder>,
    name: String,
    /// Whether dropping this leaves it alone.
    is_left: bool,
}

impl Upload {
    /// Begins an upload that nobody else can go on with.
    pub(crate) fn begin(uploads: &Arc<Folder>, prefix: &str) -> Result<(Self, File), ApiError> {
        let name = format!("{prefix}-{}", random::hex128());
        let file = uploads.create_upload(&name)?;
        Ok((Self { uploads: Arc::clone(uploads), name, is_left: false }, file))
    }

    /// Goes on with the upload of this name, which stays when it is not put in its place.
    fn resume(uploads: &Arc<Folder>, name: &str) -> Self {
        Self { uploads: Arc::clone(uploads), name: name.to_owned(), is_left: true }
    }

    /// Puts the upload in its place.
    pub(crate) fn publish(mut self, place: &Place, path: &ArtifactPath, existing: Existing) -> Result<(), ApiError> {
        match (place, existing) {
            (Place::Folder(folder), Existing::Replace) => {
                folder.publish(&self.name, path)?;
                self.is_left = true;
            }
            (Place::Folder(folder), Existing::Keep) => folder.publish_new(&self.name, path)?,
            #[cfg(feature = "object-store")]
            (Place::Bucket(bucket), existing) => {
                bucket.put_file(self.uploads.read_upload(&self.name)?, path, existing)?;
                self.is_left = false;
            }
        }
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.is_left {
            self.uploads.discard_upload(&self.name);
        }
    }
}

/// What becomes of a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It is replaced.
    Replace,
    /// It stays, and the upload is refused (`If-None-Match: *`).
    Keep,
}

impl Existing {
    fn of(headers: &HeaderMap) -> Self {
        match headers.get(header::IF_NONE_MATCH) {
            Some(value) if value == "*" => Self::Keep,
            _ => Self::Replace,
        }
    }
}

/// Receives a whole file.
pub(crate) async fn whole(
    artifacts: &Artifacts,
    path: ArtifactPath,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let existing = Existing::of(headers);
    let expected = expected_digest(headers)?;
    match &artifacts.place {
        Place::Folder(folder) => into_folder(folder, path, existing, expected, body).await?,
        #[cfg(feature = "object-store")]
        Place::Bucket(bucket) => bucket.put(&path, existing, expected, length(headers), body).await?,
    }
    Ok(empty_object())
}

#[cfg(feature = "object-store")]
fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn into_folder(
    folder: &Arc<Folder>,
    path: ArtifactPath,
    existing: Existing,
    expected: Option<Sha256Digest>,
    body: Body,
) -> Result<(), ApiError> {
    let begun = {
        let (folder, path) = (Arc::clone(folder), path.clone());
        blocking(move || {
            if existing == Existing::Keep && folder.has(&path) {
                return Err(taken(&path));
            }
            Upload::begin(&folder, "put")
        })
    };
    let (upload, file) = match begun.await {
        Ok(begun) => begun,
        Err(error) => return Err(drained(body, error).await),
    };
    let sink = Sink { file, hash: expected.map(|_| Sha256::new()) };
    let sink = receive(body, sink).await?;
    let place = Place::Folder(Arc::clone(folder));
    blocking(move || {
        check_digest(expected, sink.hash)?;
        drop(sink.file);
        upload.publish(&place, &path, existing)
    })
    .await
}

/// `{}`, MLflow's empty success.
pub(crate) fn empty_object() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], "{}").into_response()
}

pub(crate) fn taken(path: &ArtifactPath) -> ApiError {
    ApiError::new(Code::ResourceConflict, format!("There is an artifact '{path}' already"))
}

/// Runs file work on a blocking thread.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    spawn_blocking(work).await.map_err(|error| ApiError::bug(&error))?
}

/// Where a body goes.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) file: File,
    pub(crate) hash: Option<Sha256>,
}

impl Sink {
    fn write(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        for piece in pieces {
            self.file.write_all(piece)?;
            if let Some(hash) = &mut self.hash {
                hash.update(piece);
            }
        }
        Ok(())
    }
}

/// Writes a body to a file; the next chunk is gathered while one is written.
pub(crate) async fn receive(body: Body, sink: Sink) -> Result<Sink, ApiError> {
    let mut frames = body.into_data_stream();
    let mut writing = spawn_blocking(move || Ok(sink));
    loop {
        let (pieces, is_end) = gather(&mut frames, CHUNK_BYTES).await?;
        let written: io::Result<Sink> = writing.await.map_err(|error| ApiError::bug(&error))?;
        let mut sink = match written {
            Ok(sink) => sink,
            Err(error) => {
                let refusal = upload_refusal(&error);
                drain(&mut frames).await;
                return Err(refusal);
            }
        };
        writing = spawn_blocking(move || sink.write(&pieces).map(|()| sink));
        if is_end {
            let written = writing.await.map_err(|error| ApiError::bug(&error))?;
            return written.map_err(|error| upload_refusal(&error));
        }
    }
}

/// Reads at least so many bytes; says whether that was all.
pub(crate) async fn gather(
    frames: &mut axum::body::BodyDataStream,
    bytes: usize,
) -> Result<(Vec<Bytes>, bool), ApiError> {
    let (mut pieces, mut count) = (Vec::new(), 0);
    while count < bytes {
        match frames.try_next().await {
            Ok(Some(piece)) => {
                count += piece.len();
                pieces.push(piece);
            }
            Ok(None) => return Ok((pieces, true)),
            Err(error) => return Err(ApiError::new(Code::BadRequest, format!("the body broke off: {error}"))),
        }
    }
    Ok((pieces, frames.is_end_stream()))
}

/// Reads on for a while and throws it away: a client that is still sending does not listen.
pub(crate) async fn drain(frames: &mut axum::body::BodyDataStream) {
    let mut count = 0;
    while let Ok(Some(piece)) = frames.try_next().await {
        count += piece.len();
        if count > DRAINED_BYTES {
            return;
        }
    }
}

pub(crate) async fn drained(body: Body, error: ApiError) -> ApiError {
    drain(&mut body.into_data_stream()).await;
    error
}

pub(crate) type Sha256Digest = [u8; 32];

/// The SHA-256 that the client announces (RFC 9530, `Content-Digest` or `Repr-Digest`); other algorithms are not checked.
fn expected_digest(headers: &HeaderMap) -> Result<Option<Sha256Digest>, ApiError> {
    let announced = ["repr-digest", "content-digest"].iter().find_map(|name| headers.get(*name));
    let Some(text) = announced.and_then(|value| value.to_str().ok()) else { return Ok(None) };
    let of_sha256 = |entry: &str| entry.trim().strip_prefix("sha-256=:")?.strip_suffix(':').map(str::to_owned);
    let Some(encoded) = text.split(',').find_map(of_sha256) else { return Ok(None) };
    let digest = STANDARD.decode(encoded).ok().and_then(|bytes| Sha256Digest::try_from(bytes).ok());
    digest.map(Some).ok_or_else(|| ApiError::invalid("the digest of the content is not a SHA-256 in base64"))
}

pub(crate) fn check_digest(expected: Option<Sha256Digest>, hash: Option<Sha256>) -> Result<(), ApiError> {
    let found = hash.map(|hash| hash.finalize().into());
    if found == expected {
        return Ok(());
    }
    Err(ApiError::invalid("the content does not have the SHA-256 digest that was announced; nothing was kept"))
}

/// Resumable uploads that somebody is sending right now.
#[derive(Debug, Default)]
pub(crate) struct Busy(Mutex<HashSet<String>>);

impl Busy {
    fn begin(self: &Arc<Self>, name: &str) -> Result<BusyGuard, ApiError> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !names.insert(name.to_owned()) {
            return Err(ApiError::new(Code::ResourceConflict, "somebody else is sending this artifact right now"));
        }
        Ok(BusyGuard { busy: Arc::clone(self), name: name.to_owned() })
    }
}

struct BusyGuard {
    busy: Arc<Busy>,
    name: String,
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.busy.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

/// `Content-Range: bytes FIRST-LAST/TOTAL`, or `bytes */TOTAL` to ask how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    first: Option<u64>,
    total: u64,
}

impl Part {
    /// Reads the header; none when the request is about a whole file.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let Some(value) = headers.get(header::CONTENT_RANGE) else { return Ok(None) };
        let part = value.to_str().ok().and_then(Self::parse);
        part.map(Some)
            .ok_or_else(|| ApiError::invalid("Content-Range must be `bytes FIRST-LAST/TOTAL` or `bytes */TOTAL`"))
    }

    fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let total = total.parse().ok()?;
        if range == "*" {
            return Some(Self { first: None, total });
        }
        let (first, last) = range.split_once('-')?;
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last && last < total).then_some(Self { first: Some(first), total })
    }
}

/// Receives a part of a file. The answer is 308 with the `Range` that is here, until all of it is and the file is in its place.
pub(crate) async fn resumed(
    artifacts: &Artifacts,
    path: ArtifactPath,
    part: Part,
    body: Body,
) -> Result<Response, ApiError> {
    let name = format!("resume-{}", blake3::hash(format!("{path}\0{}", part.total).as_bytes()));
    let _guard = match artifacts.busy.begin(&name) {
        Ok(guard) => guard,
        Err(error) => return Err(drained(body, error).await),
    };
    let opened = {
        let (uploads, name) = (Arc::clone(&artifacts.uploads), name.clone());
        blocking(move || open_at_end(&uploads, &name)).await
    };
    let (file, length) = match opened {
        Ok(opened) => opened,
        Err(error) => return Err(drained(body, error).await),
    };
    // All of it may be here already, when putting it in its place failed the last time.
    let is_question = part.first.is_none() && length == part.total;
    if part.first != Some(length) && !is_question {
        drain(&mut body.into_data_stream()).await;
        return Ok(incomplete(length));
    }
    let sink = receive(body, Sink { file, hash: None }).await?;
    let (uploads, place) = (Arc::clone(&artifacts.uploads), artifacts.place.clone());
    blocking(move || {
        let length = sink.file.metadata().map_err(|error| upload_refusal(&error))?.len();
        if length > part.total {
            uploads.discard_upload(&name);
            return Err(ApiError::invalid("more has come than the total of Content-Range; begin again"));
        }
        if length < part.total {
            return Ok(incomplete(length));
        }
        drop(sink.file);
        Upload::resume(&uploads, &name).publish(&place, &path, Existing::Replace)?;
        Ok(empty_object())
    })
    .await
}

fn open_at_end(folder: &Folder, name: &str) -> Result<(File, u64), ApiError> {
    use std::io::Seek;
    let mut file = folder.continue_upload(name)?;
    let length = file.seek(io::SeekFrom::End(0)).map_err(|error| upload_refusal(&error))?;
    Ok((file, length))
}

fn incomplete(length: u64) -> Response {
    let mut response = StatusCode::PERMANENT_REDIRECT.into_response();
    if length > 0 {
        let range = HeaderValue::from_str(&format!("bytes=0-{}", length - 1)).expect("digits are ASCII");
        response.headers_mut().insert(header::RANGE, range);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_and_nonsense_is_not() {
        assert_eq!(Part::parse("bytes 0-9/100"), Some(Part { first: Some(0), total: 100 }));
        assert_eq!(Part::parse("bytes */100"), Some(Part { first: None, total: 100 }));
        for text in ["bytes 9-0/100", "bytes 0-100/100", "bytes 0-9/*", "0-9/100", "bytes -5/100"] {
            assert_eq!(Part::parse(text), None, "{text}");
        }
    }
}

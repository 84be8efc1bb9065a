//! Multipart upload as MLflow's client does it: create, one PUT per part to the address it is given, complete or abort. The
//! address of a part holds 128 random bits and needs no other credential, as a presigned one.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde::Serialize;

use super::Artifacts;
use super::folder::{Folder, upload_refusal};
use super::path::ArtifactPath;
use super::upload::{Existing, Sink, Upload, blocking, empty_object, receive};
use crate::api::error::ApiError;
use crate::api::message::{Field, Message, integer, messages, text};
use crate::random;

/// As many as S3 allows.
const MAX_PARTS: i64 = 10_000;

/// `mpu/create`: `path` is the client's own; its last name counts.
pub(crate) const CREATE: &[Field] = &[text("path").required(), integer("num_parts").required()];
const PART: &[Field] = &[integer("part_number").required(), text("etag").required(), text("url")];
/// `mpu/complete`.
pub(crate) const COMPLETE: &[Field] = &[text("path").required(), text("upload_id").required(), messages("parts", PART)];
/// `mpu/abort`.
pub(crate) const ABORT: &[Field] = &[text("path").required(), text("upload_id").required()];

#[derive(Serialize)]
pub(crate) struct Created {
    upload_id: String,
    credentials: Vec<Credential>,
}

#[derive(Serialize)]
struct Credential {
    url: String,
    part_number: i64,
    headers: std::collections::BTreeMap<String, String>,
}

/// Begins an upload of some parts, which are put below `base`.
pub(crate) fn create(folder: &Folder, base: &str, request: &Message) -> Result<Created, ApiError> {
    let count = request.integer("num_parts").unwrap_or_default();
    if !(1..=MAX_PARTS).contains(&count) {
        return Err(ApiError::invalid(format!("num_parts must be between 1 and {MAX_PARTS}")));
    }
    let upload_id = random::hex128();
    folder.create_upload(&marker(&upload_id))?;
    let credential = |part_number| Credential {
        url: format!("{base}/{upload_id}/{part_number}"),
        part_number,
        headers: std::collections::BTreeMap::new(),
    };
    Ok(Created { credentials: (1..=count).map(credential).collect(), upload_id })
}

/// Receives a part; the answer's `ETag` is what `complete` wants to hear.
pub(crate) async fn put_part(
    folder: &Arc<Folder>,
    upload_id: String,
    number: u32,
    body: Body,
) -> Result<Response, ApiError> {
    let file = {
        let folder = Arc::clone(folder);
        blocking(move || {
            folder.read_upload(&marker(checked(&upload_id)?))?;
            let file = folder.continue_upload(&part_name(&upload_id, number))?;
            file.set_len(0).map_err(|error| upload_refusal(&error))?;
            Ok(file)
        })
        .await?
    };
    let sink = receive(body, Sink { file, hash: None }).await?;
    let etag = blocking(move || etag(&sink.file)).await?;
    let mut response = empty_object();
    response.headers_mut().insert(header::ETAG, HeaderValue::from_str(&etag).expect("digits are ASCII"));
    Ok(response)
}

/// Joins the parts in the order of their numbers and puts the file in its place.
pub(crate) fn complete(artifacts: &Artifacts, path: &ArtifactPath, request: &Message) -> Result<(), ApiError> {
    let folder = &artifacts.uploads;
    let upload_id = checked(request.str("upload_id"))?;
    let mut parts = request.messages("parts").iter().collect::<Vec<_>>();
    parts.sort_by_key(|part| part.integer("part_number"));
    let (upload, mut whole) = Upload::begin(folder, "join")?;
    for part in parts {
        let number = part.integer("part_number").and_then(|number| u32::try_from(number).ok()).unwrap_or_default();
        let mut file = folder.read_upload(&part_name(upload_id, number))?;
        if etag(&file)?.trim_matches('"') != part.str("etag").trim_matches('"') {
            return Err(ApiError::invalid(format!("part {number} is not the one that was sent")));
        }
        io::copy(&mut file, &mut whole).map_err(|error| upload_refusal(&error))?;
    }
    drop(whole);
    upload.publish(&artifacts.place, path, Existing::Replace)?;
    abort(folder, upload_id)
}

/// Removes the parts.
pub(crate) fn abort(folder: &Folder, upload_id: &str) -> Result<(), ApiError> {
    let own = marker(checked(upload_id)?);
    for upload in folder.uploads()? {
        if upload.name.starts_with(&own) {
            folder.discard_upload(&upload.name);
        }
    }
    Ok(())
}

fn checked(upload_id: &str) -> Result<&str, ApiError> {
    let is_id = upload_id.len() == 32 && upload_id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id { Ok(upload_id) } else { Err(ApiError::invalid("the upload_id is not one of this server")) }
}

fn marker(upload_id: &str) -> String {
    format!("parts-{upload_id}")
}

fn part_name(upload_id: &str, number: u32) -> String {
    format!("{}.{number}", marker(upload_id))
}

fn etag(file: &File) -> Result<String, ApiError> {
    let data = file.metadata().map_err(|error| upload_refusal(&error))?;
    Ok(format!("\"{:x}-{:x}-{:x}\"", data.mtime(), data.mtime_nsec(), data.len()))
}

//! How a file is sent: whole, as the range that was asked for, or not at all when the client has it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::time::SystemTime;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::task::{JoinHandle, spawn_blocking};

use super::folder::upload_refusal;
use super::mime::media_type;
use crate::api::error::ApiError;

/// Read and sent at once; larger gains nothing.
const CHUNK_BYTES: u64 = 1 << 20;

/// RFC 8187, `attr-char`.
const NOT_ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// A file that can be sent.
#[derive(Debug)]
pub(crate) struct OpenArtifact {
    pub(crate) content: Content,
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
    /// Strong, in quotes: changes whenever the file is replaced.
    pub(crate) etag: String,
}

/// Where the bytes of a file come from.
#[derive(Debug)]
pub(crate) enum Content {
    File(File),
    #[cfg(feature = "object-store")]
    Object(super::bucket::Object),
}

impl Content {
    /// The bytes of a range; blocks until the first of them is here.
    fn body(self, range: Range<u64>) -> Result<Body, ApiError> {
        match self {
            Self::File(file) => file_body(file, range).map_err(|error| upload_refusal(&error)),
            #[cfg(feature = "object-store")]
            Self::Object(object) => object.body(range),
        }
    }
}

/// What a request asks of a file of some size.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Part(Range<u64>),
    Nothing,
    BeyondTheEnd,
}

/// Answers a request for a file. Blocks while it reads a small one.
pub(crate) fn send(artifact: OpenArtifact, name: &str, request: &HeaderMap) -> Result<Response, ApiError> {
    let wanted = wanted(request, &artifact.etag, artifact.size);
    let (status, range) = match &wanted {
        Wanted::All => (StatusCode::OK, 0..artifact.size),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range.clone()),
        Wanted::Nothing => (StatusCode::NOT_MODIFIED, 0..0),
        Wanted::BeyondTheEnd => (StatusCode::RANGE_NOT_SATISFIABLE, 0..0),
    };
    let mut headers = headers(&artifact, name);
    match &wanted {
        Wanted::Part(range) => {
            let text = format!("bytes {}-{}/{}", range.start, range.end - 1, artifact.size);
            headers.insert(header::CONTENT_RANGE, ascii(&text));
        }
        Wanted::BeyondTheEnd => {
            headers.insert(header::CONTENT_RANGE, ascii(&format!("bytes */{}", artifact.size)));
        }
        Wanted::All | Wanted::Nothing => {}
    }
    if wanted == Wanted::Nothing {
        headers.remove(header::CONTENT_TYPE);
        return Ok((status, headers).into_response());
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    let body = if range.is_empty() { Body::empty() } else { artifact.content.body(range)? };
    Ok((status, headers, body).into_response())
}

fn headers(artifact: &OpenArtifact, name: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(name)));
    headers.insert(header::CONTENT_DISPOSITION, ascii(&disposition(name)));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::LAST_MODIFIED, ascii(&httpdate::fmt_http_date(artifact.modified)));
    headers.insert(header::ETAG, ascii(&artifact.etag));
    headers
}

fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("the text was made of printable ASCII")
}

/// RFC 6266: a token of RFC 9110 as it is, any other name percent-encoded, and one with `%` too, which some readers decode.
fn disposition(name: &str) -> String {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte));
    if is_plain {
        return format!("attachment; filename={name}");
    }
    format!("attachment; filename*=UTF-8''{}", utf8_percent_encode(name, NOT_ATTR_CHAR))
}

fn wanted(request: &HeaderMap, etag: &str, size: u64) -> Wanted {
    let text = |name: header::HeaderName| request.get(name).and_then(|value| value.to_str().ok());
    let is_known = |tags: &str| {
        tags.split(',').any(|tag| matches!(tag.trim().trim_start_matches("W/"), tag if tag == etag || tag == "*"))
    };
    if text(header::IF_NONE_MATCH).is_some_and(is_known) {
        return Wanted::Nothing;
    }
    let is_same = text(header::IF_RANGE).is_none_or(|tag| tag == etag);
    match text(header::RANGE).filter(|_| is_same) {
        Some(range) => part(range, size),
        None => Wanted::All,
    }
}

/// RFC 9110 14.2: one range of bytes. Several, and what cannot be understood, are answered with the whole file.
fn part(range: &str, size: u64) -> Wanted {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
        return Wanted::All;
    };
    let part = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Ok(first), Err(_)) if last.is_empty() => first..size,
        (Err(_), Ok(count)) if first.is_empty() => size.saturating_sub(count)..size,
        _ => return Wanted::All,
    };
    if part.is_empty() { Wanted::BeyondTheEnd } else { Wanted::Part(part) }
}

/// The bytes of a range of a file, read while they are sent.
pub(crate) fn file_body(mut file: File, range: Range<u64>) -> io::Result<Body> {
    file.seek(SeekFrom::Start(range.start))?;
    let length = range.end - range.start;
    if length <= CHUNK_BYTES {
        return read_chunk(&mut file, length).map(Body::from);
    }
    Ok(Body::from_stream(stream::try_unfold(read_ahead(file, length), send_chunk)))
}

/// A chunk that is being read while the one before it is sent.
struct Ahead {
    reading: Option<JoinHandle<io::Result<(File, Bytes)>>>,
    remaining: u64,
}

fn read_ahead(mut file: File, remaining: u64) -> Ahead {
    let count = remaining.min(CHUNK_BYTES);
    let reading = (count > 0).then(|| spawn_blocking(move || read_chunk(&mut file, count).map(|bytes| (file, bytes))));
    Ahead { reading, remaining }
}

async fn send_chunk(ahead: Ahead) -> io::Result<Option<(Bytes, Ahead)>> {
    let Some(reading) = ahead.reading else { return Ok(None) };
    let (file, bytes) = reading.await.map_err(io::Error::other)??;
    let remaining = ahead.remaining - bytes.len() as u64;
    Ok(Some((bytes, read_ahead(file, remaining))))
}

fn read_chunk(file: &mut File, count: u64) -> io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(usize::try_from(count).unwrap_or_default());
    file.take(count).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != count {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was sent"));
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_rfc_9110() {
        for (range, expected) in [
            ("bytes=0-3", Wanted::Part(0..4)),
            ("bytes=5-", Wanted::Part(5..10)),
            ("bytes=-3", Wanted::Part(7..10)),
            ("bytes=8-99", Wanted::Part(8..10)),
            ("bytes=10-", Wanted::BeyondTheEnd),
            ("bytes=-0", Wanted::BeyondTheEnd),
            ("bytes=4-2", Wanted::All),
            ("bytes=0-1,4-5", Wanted::All),
            ("lines=1-2", Wanted::All),
        ] {
            assert_eq!(part(range, 10), expected, "{range}");
        }
    }

    #[test]
    fn known_file_is_not_sent_and_a_changed_one_is_sent_whole() {
        let request = |name: header::HeaderName, value: &str| {
            HeaderMap::from_iter([(name, ascii(value)), (header::RANGE, ascii("bytes=0-1"))])
        };
        assert_eq!(wanted(&request(header::IF_NONE_MATCH, "\"x\", W/\"a\""), "\"a\"", 9), Wanted::Nothing);
        assert_eq!(wanted(&request(header::IF_RANGE, "\"old\""), "\"a\"", 9), Wanted::All);
        assert_eq!(wanted(&request(header::IF_RANGE, "\"a\""), "\"a\"", 9), Wanted::Part(0..2));
    }

    #[test]
    fn names_beyond_ascii_are_encoded() {
        assert_eq!(disposition("a.txt"), "attachment; filename=a.txt");
        assert_eq!(disposition("dog+step+20.png"), "attachment; filename=dog+step+20.png");
        assert_eq!(disposition("dog%20.png"), "attachment; filename*=UTF-8''dog%2520.png");
        assert_eq!(disposition("ü \"x\".txt"), "attachment; filename*=UTF-8''%C3%BC%20%22x%22.txt");
    }
}

//! [`Client`]: one request, its retries, and what its answer means.
//!
//! A request that changes nothing when it is sent twice is sent again after any failure that may pass. One that would do
//! something twice is sent again only where the server cannot have acted on it: no connection came about, or it answered 429
//! or 503. After anything else the caller has to look whether it was done ([`Error::Unreachable`]).

use std::io;
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::address::{Credentials, TrackingUri};
use crate::{Error, Result};

/// Below this path the methods lie.
const API: &str = "/api/2.0/mlflow";
/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the server may think about a request. MLflow's own client gives it as long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// How long it may be silent in the middle of a body.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// Shorter than the 5 s after which MLflow's server closes a connection that nobody uses.
const IDLE_CONNECTION: Duration = Duration::from_secs(4);
/// The largest answer that is taken: a page of runs, or of a metric's history.
const MAX_ANSWER_BYTES: u64 = 256 << 20;

/// How often a request is sent, and how long the pauses are: they double from the first to the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// How often in all; at least 1.
    pub attempts: u32,
    /// The first pause.
    pub first_pause: Duration,
    /// The longest pause, also where the server asks for a longer one (`Retry-After`).
    pub longest_pause: Duration,
}

impl Retries {
    /// Once: the caller tries again by itself.
    pub const NONE: Self = Self { attempts: 1, first_pause: Duration::ZERO, longest_pause: Duration::ZERO };
}

impl Default for Retries {
    /// Six times within about 16 seconds.
    fn default() -> Self {
        Self { attempts: 6, first_pause: Duration::from_millis(500), longest_pause: Duration::from_secs(30) }
    }
}

/// A client of a tracking server.
#[derive(Clone, Debug)]
pub struct Client {
    agent: ureq::Agent,
    uri: TrackingUri,
    authorization: Option<String>,
    retries: Retries,
}

/// Whether sending a request again could do something twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    Harmless,
    Doubles,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
    Delete,
}

/// Why an attempt came to nothing.
struct Failed {
    error: Error,
    /// The server may have acted on it.
    may_be_done: bool,
    /// It may go better another time.
    passes: bool,
    retry_after: Option<Duration>,
}

pub(super) type Answer = ureq::http::Response<ureq::Body>;

impl Client {
    /// Makes a client; nothing is asked of the server yet. Credentials in the address come before the others.
    pub fn new(uri: TrackingUri, credentials: Credentials, retries: Retries) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .timeout_per_read(Some(SILENCE_TIMEOUT))
            .timeout_per_write(Some(SILENCE_TIMEOUT))
            .max_idle_age(IDLE_CONNECTION)
            .user_agent(concat!("mlpipe/", env!("CARGO_PKG_VERSION")));
        let authorization = uri.credentials().unwrap_or(credentials).header();
        Self { agent: config.build().into(), uri, authorization, retries }
    }

    /// Returns the address of the server.
    pub fn uri(&self) -> &TrackingUri {
        &self.uri
    }

    /// Returns the same client with other retries.
    pub fn with_retries(&self, retries: Retries) -> Self {
        Self { retries, ..self.clone() }
    }

    /// Asks for something: a `GET` with a query.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T> {
        self.retrying(Repeat::Harmless, || self.call(Method::Get, path, query, None))
    }

    /// Asks for something to be done, or for something with a body.
    pub(super) fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        repeat: Repeat,
    ) -> Result<T> {
        self.retrying(repeat, || self.call(method, path, &[], Some(body)))
    }

    /// Does it until it succeeds, cannot succeed, or was tried often enough.
    fn retrying<T>(&self, repeat: Repeat, mut attempt: impl FnMut() -> Result<T, Failed>) -> Result<T> {
        let mut pause = self.retries.first_pause;
        for attempts_left in (0..self.retries.attempts.max(1)).rev() {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(failed) => {
                    let again = failed.passes && (repeat == Repeat::Harmless || !failed.may_be_done);
                    if !again || attempts_left == 0 {
                        return Err(failed.error);
                    }
                    let wait = failed.retry_after.unwrap_or(pause).min(self.retries.longest_pause);
                    tracing::debug!(error = %failed.error, wait_ms = wait.as_millis(), "tracking server: trying again");
                    thread::sleep(wait);
                    pause = (pause * 2).min(self.retries.longest_pause);
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<T, Failed> {
        let url = format!("{}{API}{path}", self.uri);
        let bytes = body.map(|body| serde_json::to_vec(body).expect("a JSON value has string keys"));
        let mut answer = self.request(method, &url, query, bytes.as_deref()).map_err(|error| failed(&url, error))?;
        self.check(&url, &mut answer)?;
        let bytes = read(&mut answer).map_err(|error| failed(&url, error))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let error = Error::InvalidAnswer { url: url.clone(), reason: error.to_string() };
            Failed { error, may_be_done: true, passes: false, retry_after: None }
        })
    }

    fn request(
        &self,
        method: Method,
        url: &str,
        query: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer, ureq::Error> {
        const JSON: &str = "application/json";
        let bytes = body.unwrap_or_default();
        match method {
            Method::Get => self.authorized(self.agent.get(url)).query_pairs(query.iter().copied()).call(),
            Method::Post => self.authorized(self.agent.post(url)).content_type(JSON).send(bytes),
            Method::Delete => self.authorized(self.agent.delete(url)).force_send_body().content_type(JSON).send(bytes),
        }
    }

    /// Opens a file of the server.
    pub(super) fn open(&self, url: &str, query: &[(&str, &str)]) -> Result<Answer> {
        self.retrying(Repeat::Harmless, || {
            let mut answer = self.request(Method::Get, url, query, None).map_err(|error| failed(url, error))?;
            self.check(url, &mut answer)?;
            Ok(answer)
        })
    }

    /// Stores a file on the server; `open` opens it anew for each attempt.
    pub(super) fn put(&self, url: &str, open: impl Fn() -> io::Result<std::fs::File>) -> Result<()> {
        self.retrying(Repeat::Harmless, || {
            let file = open().map_err(|source| Failed {
                error: Error::Unreachable { url: url.to_owned(), reason: source.to_string() },
                may_be_done: false,
                passes: false,
                retry_after: None,
            })?;
            let request = self.authorized(self.agent.put(url)).content_type("application/octet-stream");
            let mut answer = request.send(file).map_err(|error| failed(url, error))?;
            self.check(url, &mut answer)
        })
    }

    fn authorized<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.authorization {
            Some(value) => request.header("authorization", value),
            None => request,
        }
    }

    /// Turns an answer that is an error into one.
    fn check(&self, url: &str, answer: &mut Answer) -> Result<(), Failed> {
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let retry_after =
            answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let body = answer.body_mut().with_config().limit(1 << 20).read_to_string().unwrap_or_default();
        let said: Value = serde_json::from_str(&body).unwrap_or_default();
        let text = |field: &str| said[field].as_str().map(str::to_owned);
        let error = Error::RefusedByServer {
            url: url.to_owned(),
            status: status.as_u16(),
            code: text("error_code").unwrap_or_default(),
            message: text("message").unwrap_or_else(|| body.lines().next().unwrap_or_default().to_owned()),
        };
        Err(Failed {
            error,
            may_be_done: !matches!(status.as_u16(), 429 | 503) && !status.is_client_error(),
            passes: is_passing(status.as_u16()),
            retry_after: retry_after.map(Duration::from_secs),
        })
    }
}

/// Statuses after which MLflow's client tries again, too.
pub(crate) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

fn read(answer: &mut Answer) -> Result<Vec<u8>, ureq::Error> {
    answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec()
}

/// Says what a request that got no answer means.
fn failed(url: &str, error: ureq::Error) -> Failed {
    use ureq::{Error as Cause, Timeout};
    let (may_be_done, passes) = match &error {
        Cause::HostNotFound | Cause::ConnectionFailed => (false, true),
        Cause::Timeout(Timeout::Connect | Timeout::Resolve) => (false, true),
        Cause::Io(cause) => (cause.kind() != io::ErrorKind::ConnectionRefused, true),
        Cause::Timeout(_) | Cause::Protocol(_) => (true, true),
        _ => (true, false),
    };
    let error = Error::Unreachable { url: url.to_owned(), reason: error.to_string() };
    Failed { error, may_be_done, passes, retry_after: None }
}

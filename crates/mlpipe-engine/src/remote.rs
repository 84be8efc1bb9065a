//! Finished work shared with other machines over HTTP, in the shape of Bazel's cache: `GET` and `PUT` of `ac/{fingerprint}` and
//! `cas/{digest}` below one address.
//!
//! What comes from there is checked against its digest. What goes there is sent in the background, content first. A remote cache
//! that fails is told of once and then left alone for the rest of the run: it can make a run faster, never fail it.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use mlpipe_artifacts::{ContentStore, Digest};

use crate::cache::Action;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What to do about a 401.
const UNKNOWN: &str =
    "give a token of `mlpipe tokens create` in MLPIPE_REMOTE_CACHE_TOKEN or --remote-cache-token-file";
/// Largest record of finished work that is taken in.
const MAX_ACTION_BYTES: u64 = 64 << 20;

/// A remote cache in use.
#[derive(Debug)]
pub(crate) struct RemoteCache {
    client: Arc<Client>,
    uploads: Mutex<Option<Uploads>>,
}

/// The thread that sends, and the queue to it.
#[derive(Debug)]
struct Uploads {
    queue: Sender<(Digest, Action)>,
    thread: JoinHandle<()>,
}

impl RemoteCache {
    /// Uses the cache at `url`, as in `http://cache:5000/cache`, as the user whose token it is. Nothing is asked of it yet.
    ///
    /// # Errors
    /// A message when the address is not one of plain HTTP, or the token cannot be one.
    pub(crate) fn new(url: &str, token: Option<&str>, content: ContentStore) -> Result<Self, String> {
        if !url.starts_with("http://") {
            return Err(format!(
                "`{url}` must begin with http://; put a tunnel or proxy in front of an encrypted cache"
            ));
        }
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_connect(Some(CONNECT_TIMEOUT));
        let client = Arc::new(Client {
            agent: config.build().into(),
            base: url.trim_end_matches('/').to_owned(),
            authorization: token.map(Authorization::bearer).transpose()?,
            content,
            given_up: AtomicBool::new(false),
        });
        let (queue, receiver) = mpsc::channel();
        let uploading = client.clone();
        let thread = std::thread::spawn(move || {
            for (fingerprint, action) in receiver {
                uploading.attempt("upload", || uploading.upload(fingerprint, &action));
            }
        });
        Ok(Self { client, uploads: Mutex::new(Some(Uploads { queue, thread })) })
    }

    /// Brings finished work here with all of its content; none when it is not there or cannot be had.
    pub(crate) fn fetch(&self, fingerprint: Digest) -> Option<Action> {
        self.client.attempt("download", || self.client.download(fingerprint)).flatten()
    }

    /// Sends finished work, in the background.
    pub(crate) fn send(&self, fingerprint: Digest, action: &Action) {
        let uploads = self.uploads.lock().expect("no thread panics while it holds this");
        if let Some(uploads) = &*uploads {
            // The thread ends only when the queue is dropped.
            let _ = uploads.queue.send((fingerprint, action.clone()));
        }
    }

    /// Waits until everything is sent.
    pub(crate) fn finish(&self) {
        let uploads = self.uploads.lock().expect("no thread panics while it holds this").take();
        if let Some(uploads) = uploads {
            drop(uploads.queue);
            if uploads.thread.join().is_err() {
                tracing::warn!("uploads to the remote cache ended early");
            }
        }
    }
}

/// The value of a header that says who we are; never printed.
struct Authorization(String);

impl Authorization {
    fn bearer(token: &str) -> Result<Self, String> {
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the remote cache's token is empty or has characters that no token has".to_owned());
        }
        Ok(Self(format!("Bearer {token}")))
    }
}

impl std::fmt::Debug for Authorization {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Authorization(..)")
    }
}

#[derive(Debug)]
struct Client {
    agent: ureq::Agent,
    base: String,
    authorization: Option<Authorization>,
    content: ContentStore,
    given_up: AtomicBool,
}

impl Client {
    /// Does something with the cache unless it has failed before; its first failure is told.
    fn attempt<T>(&self, what: &str, work: impl FnOnce() -> Result<T, String>) -> Option<T> {
        if self.given_up.load(Ordering::SeqCst) {
            return None;
        }
        match work() {
            Ok(value) => Some(value),
            Err(error) => {
                if !self.given_up.swap(true, Ordering::SeqCst) {
                    tracing::warn!(cache = self.base, "remote cache: {what} failed, going on without it: {error}");
                }
                None
            }
        }
    }

    fn download(&self, fingerprint: Digest) -> Result<Option<Action>, String> {
        let Some(mut answer) = self.get(&self.action_url(fingerprint))? else { return Ok(None) };
        let bytes = answer.body_mut().with_config().limit(MAX_ACTION_BYTES).read_to_vec().map_err(text)?;
        let action: Action = serde_json::from_slice(&bytes).map_err(text)?;
        if !action.is_of(fingerprint) {
            return Err(format!("the record under {fingerprint} is that of other work"));
        }
        for entry in &action.tree.entries {
            if self.content.content_path(entry.digest).exists() {
                continue;
            }
            // Content that is gone makes the whole work a miss.
            let Some(mut answer) = self.get(&self.content_url(entry.digest))? else { return Ok(None) };
            let body = answer.body_mut().with_config().limit(u64::MAX).reader();
            self.content.import(entry.digest, body).map_err(text)?;
        }
        Ok(Some(action))
    }

    fn upload(&self, fingerprint: Digest, action: &Action) -> Result<(), String> {
        for entry in &action.tree.entries {
            let url = self.content_url(entry.digest);
            let known = self.signed(self.agent.head(&url)).call().map_err(text)?.status();
            if known.is_success() {
                continue;
            }
            if known.as_u16() == 401 {
                return Err(format!("{url} asks who this is: {UNKNOWN}"));
            }
            let file = File::open(self.content.content_path(entry.digest)).map_err(text)?;
            accepted(self.signed(self.agent.put(&url)).send(file).map_err(text)?)?;
        }
        let bytes = serde_json::to_vec(action).map_err(text)?;
        let request = self.signed(self.agent.put(&self.action_url(fingerprint)));
        accepted(request.send(&bytes[..]).map_err(text)?)
    }

    fn get(&self, url: &str) -> Result<Option<ureq::http::Response<ureq::Body>>, String> {
        let answer = self.signed(self.agent.get(url)).call().map_err(text)?;
        match answer.status().as_u16() {
            200 => Ok(Some(answer)),
            404 => Ok(None),
            401 => Err(format!("{url} asks who this is: {UNKNOWN}")),
            status => Err(format!("{url} answered {status}")),
        }
    }

    fn signed<Body>(&self, request: ureq::RequestBuilder<Body>) -> ureq::RequestBuilder<Body> {
        match &self.authorization {
            Some(Authorization(value)) => request.header("Authorization", value),
            None => request,
        }
    }

    fn action_url(&self, fingerprint: Digest) -> String {
        format!("{}/ac/{fingerprint}", self.base)
    }

    fn content_url(&self, digest: Digest) -> String {
        format!("{}/cas/{digest}", self.base)
    }
}

fn accepted(mut answer: ureq::http::Response<ureq::Body>) -> Result<(), String> {
    if answer.status().is_success() {
        return Ok(());
    }
    let reason = answer.body_mut().read_to_string().unwrap_or_default();
    Err(format!("it answered {}: {}", answer.status(), reason.trim()))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

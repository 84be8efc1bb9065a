//! [`Deliveries`]: sends what is to be told, again and again until it is heard or has failed too often. What waits is in the store.

use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mlpipe_tracking::Store;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use ureq::unversioned::transport::DefaultConnector;

use super::addresses::{CheckedResolver, Reach, is_reachable};
use super::signature::signature;
use super::{SecretKey, Webhook};
use crate::api::error::ApiError;
use crate::random;

const DELIVERY: &str = "webhook_delivery";
/// How long a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Waits between attempts; one more attempt than waits.
const BACKOFF: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(16),
    Duration::from_secs(64),
    Duration::from_secs(256),
];
/// Sent at the same time.
const MAX_AT_ONCE: usize = 8;
/// Read of a receiver's answer.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// Something that is to be told to one webhook.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Delivery {
    format: String,
    webhook_id: String,
    body: String,
}

/// Sends deliveries.
#[derive(Debug, Clone)]
pub(crate) struct Deliveries {
    reach: Reach,
    agent: ureq::Agent,
    store: Arc<Store>,
    runtime: Handle,
    slots: Arc<Semaphore>,
    key: SecretKey,
}

/// What to do after an attempt.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Heard,
    Again(String),
    GiveUp(String),
}

impl Deliveries {
    /// Sends from threads of `runtime`.
    pub(crate) fn new(reach: Reach, key: SecretKey, store: Arc<Store>, runtime: Handle) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            // A redirect would go where nobody looked; a proxy would connect where nobody can look.
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("mlpipe/", env!("CARGO_PKG_VERSION")))
            .build();
        let agent = ureq::Agent::with_parts(config, DefaultConnector::default(), CheckedResolver(reach));
        Self { reach, agent, store, runtime, slots: Arc::new(Semaphore::new(MAX_AT_ONCE)), key }
    }

    /// The key that secrets are sealed with.
    pub(super) fn key(&self) -> &SecretKey {
        &self.key
    }

    /// Goes on with what an earlier process left undelivered.
    pub(crate) fn resume(&self) {
        match self.store.documents(DELIVERY) {
            Ok(waiting) => waiting.into_iter().for_each(|(id, text)| self.spawn(id, text)),
            Err(error) => tracing::error!(%error, "webhooks that wait are not told"),
        }
    }

    /// Stores something to be told, then sends it without being waited for.
    pub(super) fn begin(&self, store: &Store, webhook_id: &str, body: String) -> Result<(), ApiError> {
        let delivery =
            Delivery { format: "mlpipe.webhook_delivery/1".to_owned(), webhook_id: webhook_id.to_owned(), body };
        let text = serde_json::to_string(&delivery).expect("deliveries have text keys");
        let id = random::uuid();
        store.put_document(DELIVERY, &id, &text)?;
        self.spawn(id, text);
        Ok(())
    }

    fn spawn(&self, id: String, text: String) {
        let this = self.clone();
        self.runtime.spawn(async move { this.deliver(id, text).await });
    }

    async fn deliver(self, id: String, text: String) {
        for wait in BACKOFF.iter().map(Some).chain([None]) {
            let next = {
                let Ok(_slot) = self.slots.acquire().await else { return };
                let (this, id, text) = (self.clone(), id.clone(), text.clone());
                tokio::task::spawn_blocking(move || this.attempt(&id, &text)).await
            };
            match (next, wait) {
                (Ok(Next::Heard), _) => break,
                (Ok(Next::Again(error)), Some(wait)) => {
                    tracing::warn!(delivery = id, error, "a webhook was not told, it is tried again");
                    tokio::time::sleep(*wait).await;
                }
                (Ok(Next::Again(error) | Next::GiveUp(error)), _) => {
                    tracing::error!(delivery = id, error, "a webhook was not told");
                    break;
                }
                (Err(error), _) => return tracing::error!(%error, "a webhook was not told"),
            }
        }
        let store = Arc::clone(&self.store);
        let removed = tokio::task::spawn_blocking(move || store.delete_document(DELIVERY, &id)).await;
        if let Ok(Err(error)) = removed {
            tracing::error!(%error, "a delivered webhook may be told again");
        }
    }

    fn attempt(&self, id: &str, text: &str) -> Next {
        let Ok(delivery) = serde_json::from_str::<Delivery>(text) else {
            return Next::GiveUp("the stored delivery is damaged".to_owned());
        };
        let webhook = match self.store.document(super::WEBHOOK, &delivery.webhook_id) {
            Ok(Some(text)) => super::parse(&text),
            Ok(None) => return Next::GiveUp("the webhook is gone".to_owned()),
            Err(error) => return Next::Again(error.to_string()),
        };
        let webhook = match webhook {
            Ok(webhook) => webhook,
            Err(error) => return Next::GiveUp(error.message),
        };
        next(self.send(&webhook, id, &delivery.body))
    }

    /// Sends a body once; returns status and body of the answer, or what went wrong.
    pub(super) fn send(&self, webhook: &Webhook, id: &str, body: &str) -> Result<(u16, String), String> {
        let secret = webhook.secret(&self.key)?;
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_string();
        let mut request = self
            .agent
            .post(&webhook.url)
            .header("Content-Type", "application/json")
            .header("X-MLflow-Delivery-Id", id)
            .header("X-MLflow-Timestamp", &timestamp);
        if let Some(secret) = secret {
            request = request.header("X-MLflow-Signature", signature(&secret, id, &timestamp, body));
        }
        let mut answer = request.send(body).map_err(|error| error.to_string())?;
        let text = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).lossy_utf8(true).read_to_string();
        Ok((answer.status().as_u16(), text.unwrap_or_default()))
    }

    /// Refuses an address that nothing is sent to. A name that does not resolve now may do so later.
    pub(super) fn check_url(&self, url: &str) -> Result<(), ApiError> {
        if url.trim().is_empty() {
            return Err(ApiError::invalid(format!("Webhook URL cannot be empty or just whitespace: '{url}'")));
        }
        let uri: ureq::http::Uri = url
            .parse()
            .map_err(|error| ApiError::invalid(format!("Invalid webhook URL '{}': {error}", url.escape_default())))?;
        let port = match uri.scheme_str() {
            Some("https") if cfg!(feature = "tls") => 443,
            Some("https") => {
                return Err(ApiError::invalid("Invalid webhook URL scheme: this mlpipe was built without TLS"));
            }
            Some("http") => 80,
            scheme => {
                let scheme = scheme.unwrap_or_default();
                return Err(ApiError::invalid(format!(
                    "Invalid webhook URL scheme: '{scheme}'. Allowed schemes are: https, http."
                )));
            }
        };
        let Some(host) = uri.host().filter(|host| !host.is_empty()) else {
            return Err(ApiError::invalid(format!("Webhook URL must include a hostname: '{url}'")));
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let Ok(mut addresses) = (host, uri.port_u16().unwrap_or(port)).to_socket_addrs() else { return Ok(()) };
        if addresses.all(|address| is_reachable(&address, self.reach)) {
            return Ok(());
        }
        Err(ApiError::invalid("Webhook URL must not resolve to a private, loopback or link-local address."))
    }
}

/// Which answers are worth another attempt: those that MLflow tries again.
fn next(sent: Result<(u16, String), String>) -> Next {
    match sent {
        Ok((status, _)) if matches!(status, 429 | 500 | 502 | 503 | 504) => Next::Again(format!("HTTP {status}")),
        Ok((status, _)) if status >= 300 => Next::GiveUp(format!("HTTP {status}")),
        Ok(_) => Next::Heard,
        Err(error) => Next::Again(error),
    }
}

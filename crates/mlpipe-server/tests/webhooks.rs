//! Webhooks against a receiver that listens.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use common::{Server, unique};
use serde_json::{Value, json};

/// A request that was received: headers in lower case, body, its text.
type Received = (Vec<(String, String)>, Value, String);

/// Answers requests with these statuses, the last one for all that follow.
fn receiver(statuses: &'static [u16]) -> (String, Receiver<Received>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for (count, stream) in listener.incoming().enumerate() {
            let mut stream = stream.expect("a connection");
            let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
            let mut lines =
                reader.by_ref().lines().map(|line| line.expect("a line")).take_while(|line| !line.is_empty());
            lines.next();
            let headers: Vec<_> = lines
                .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())))
                .collect();
            let length = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, value)| value);
            let mut body = vec![0; length.parse().expect("a number")];
            reader.read_exact(&mut body).expect("a body");
            let status = statuses[count.min(statuses.len() - 1)];
            write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
                .expect("answered");
            let text = String::from_utf8(body).expect("UTF-8");
            if sender.send((headers, serde_json::from_str(&text).expect("JSON"), text)).is_err() {
                return;
            }
        }
    });
    (url, receiver)
}

fn header<'a>(received: &'a Received, name: &str) -> &'a str {
    received.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
}

#[test]
fn new_model_is_told_signed_and_again_when_the_receiver_fails() {
    let server = Server::with(|options| options.webhooks_allow_private = true);
    let (url, received) = receiver(&[503, 200]);
    let events = json!([{"entity": "REGISTERED_MODEL", "action": "CREATED"}]);
    let created = server.post("/webhooks", &json!({"name": "ci", "url": url, "events": events, "secret": "s"})).json();
    assert_eq!(created["webhook"]["status"], "ACTIVE");
    assert!(created["webhook"].get("secret").is_none());
    let name = unique("model");
    server.post("/registered-models/create", &json!({"name": name, "tags": [{"key": "a", "value": "b"}]}));
    let (first, second) = (received.recv().expect("told"), received.recv().expect("told again"));
    assert_eq!(first.1["entity"], "registered_model");
    assert_eq!(
        (&first.1["action"], &first.1["data"]["name"], &first.1["data"]["tags"]["a"]),
        (&json!("created"), &json!(name), &json!("b"))
    );
    assert!(header(&first, "x-mlflow-signature").starts_with("v1,"));
    assert_eq!(header(&first, "x-mlflow-delivery-id"), header(&second, "x-mlflow-delivery-id"));
}

#[test]
fn webhooks_are_changed_tested_and_deleted() {
    let server = Server::with(|options| options.webhooks_allow_private = true);
    let (url, received) = receiver(&[200]);
    let events = json!([{"entity": "MODEL_VERSION_ALIAS", "action": "CREATED"}]);
    let created = server.post("/webhooks", &json!({"name": "ci", "url": url, "events": events})).json();
    let id = created["webhook"]["webhook_id"].as_str().expect("an id").to_owned();
    let tested = server.post(&format!("/webhooks/{id}/test"), &json!({})).json();
    assert_eq!(tested["result"], json!({"success": true, "response_status": 200, "response_body": "ok"}));
    assert_eq!(received.recv().expect("told").1["data"]["alias"], "example_alias");
    let changed = server.call("PATCH", &format!("/webhooks/{id}"), &[], &json!({"status": "DISABLED"})).json();
    assert_eq!((&changed["webhook"]["status"], &changed["webhook"]["name"]), (&json!("DISABLED"), &json!("ci")));
    assert_eq!(server.get("/api/2.0/mlflow/webhooks").json()["webhooks"].as_array().map(Vec::len), Some(1));
    assert_eq!(server.call("DELETE", &format!("/webhooks/{id}"), &[], &json!({})).status, 200);
    assert_eq!(server.get(&format!("/api/2.0/mlflow/webhooks/{id}")).status, 404);
    let longest = json!({"name": "a".repeat(63), "url": url, "events": events});
    assert_eq!(server.post("/webhooks", &longest).status, 200);
    let too_long = json!({"name": "a".repeat(64), "url": url, "events": events});
    assert_eq!(server.post("/webhooks", &too_long).status, 400);
    let blank = server.post("/webhooks", &json!({"name": "ci", "url": "   ", "events": events})).json();
    assert_eq!(blank["message"], "Webhook URL cannot be empty or just whitespace: '   '");
    let nonsense = json!({"name": "ci", "url": url, "events": [{"entity": "MODEL_VERSION", "action": "DELETED"}]});
    assert_eq!(server.post("/webhooks", &nonsense).status, 400);
}

#[test]
fn private_addresses_are_refused_unless_allowed() {
    let server = Server::start();
    let events = json!([{"entity": "REGISTERED_MODEL", "action": "CREATED"}]);
    for url in [
        "http://127.0.0.1/x",
        "http://localhost:8080/x",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/",
        "http://10.0.0.1/",
        "http://[::ffff:127.0.0.1]/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "no url",
    ] {
        let answer = server.post("/webhooks", &json!({"name": "ci", "url": url, "events": events}));
        assert_eq!(answer.code(), (400, "INVALID_PARAMETER_VALUE".to_owned()), "{url}");
    }
}

#[test]
fn secrets_are_neither_shown_nor_readable_in_the_store_and_still_sign() {
    let server = Server::with(|options| options.webhooks_allow_private = true);
    let (url, received) = receiver(&[200]);
    let events = json!([{"entity": "REGISTERED_MODEL", "action": "CREATED"}]);
    let secret = "hush-hush-hush-hush";
    let made = server.post("/webhooks", &json!({"name": "ci", "url": url, "events": events, "secret": secret}));
    let id = made.json()["webhook"]["webhook_id"].as_str().expect("an id").to_owned();
    let changed = server.call("PATCH", &format!("/webhooks/{id}"), &[], &json!({"description": "d"}));
    let one = server.get(&format!("/api/2.0/mlflow/webhooks/{id}"));
    let all = server.get("/api/2.0/mlflow/webhooks");
    for answer in [&made, &changed, &one, &all] {
        assert!(answer.status == 200 && !String::from_utf8_lossy(&answer.body).contains("hush"));
    }
    let store = ["store.db", "store.db-wal"].map(|name| std::fs::read(server.path().join(name)).unwrap_or_default());
    let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(store.iter().any(|bytes| holds(bytes, &id)), "the webhook is in the store");
    assert!(!store.iter().any(|bytes| holds(bytes, secret)), "the secret is readable in the store");

    server.post(&format!("/webhooks/{id}/test"), &json!({}));
    let told = received.recv().expect("told");
    let (delivery, timestamp) = (header(&told, "x-mlflow-delivery-id"), header(&told, "x-mlflow-timestamp"));
    let body = told.2.clone();
    assert_eq!(header(&told, "x-mlflow-signature"), signature(secret, &format!("{delivery}.{timestamp}.{body}")));
}

/// HMAC-SHA256 for a key below the size of a block, as MLflow's documentation tells receivers to check it.
fn signature(secret: &str, content: &str) -> String {
    use base64::Engine;
    use sha2::{Digest, Sha256};
    let mut key = [0; 64];
    key[..secret.len()].copy_from_slice(secret.as_bytes());
    let hash = |pad: u8, content: &[u8]| {
        Sha256::new().chain_update(key.map(|byte| byte ^ pad)).chain_update(content).finalize()
    };
    let signed = hash(0x5c, &hash(0x36, content.as_bytes()));
    format!("v1,{}", base64::engine::general_purpose::STANDARD.encode(signed))
}

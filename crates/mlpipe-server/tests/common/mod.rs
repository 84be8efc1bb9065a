//! A server on a free port of the loopback, and requests to it.

#![allow(dead_code, reason = "every test program uses its own part")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::net::SocketAddr;
use std::path::Path;

use mlpipe_server::{Accounts, ServerOptions, serve};
use serde_json::Value;
use tempfile::TempDir;

/// A server with a state directory of its own; it ends with the test program.
pub(crate) struct Server {
    pub(crate) folder: TempDir,
    pub(crate) address: SocketAddr,
}

/// An answer: status, headers, body.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn code(&self) -> (u16, String) {
        (self.status, self.json()["error_code"].as_str().unwrap_or_default().to_owned())
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut ServerOptions)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = ServerOptions::local(folder.path().to_owned(), SocketAddr::from(([127, 0, 0, 1], 0)));
        change(&mut options);
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || serve(&options, |address| sender.send(address).expect("the test listens")));
        Self { folder, address: receiver.recv().expect("the server starts") }
    }

    /// A server whose artifacts lie in a folder and, where `MLPIPE_TEST_S3` names a bucket as in `s3://bucket`, one whose lie there;
    /// the variables of AWS say how it is reached.
    pub(crate) fn on_every_place() -> Vec<Self> {
        let mut servers = vec![Self::start()];
        match std::env::var("MLPIPE_TEST_S3") {
            Ok(bucket) if cfg!(feature = "s3") => servers.push(Self::with(|options| {
                options.artifacts_destination = Some(format!("{bucket}/{}", unique("server")));
            })),
            Ok(_) => eprintln!("skipped on a bucket: built without the feature s3"),
            Err(_) => eprintln!("skipped on a bucket: MLPIPE_TEST_S3 names none"),
        }
        servers
    }

    /// A server with an administrator and two users; the password of each is its name, three times.
    pub(crate) fn with_users() -> Self {
        Self::with(|options| {
            options.auth = true;
            options.audit_log = Some(options.state_directory.join("audit.ndjson"));
            let store = options.open_store().expect("a store");
            for (name, is_admin) in [("chief", true), ("reader", false), ("writer", false)] {
                Accounts::new(&store).add_user(name, &password(name), is_admin).expect("a user");
            }
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut request = ureq::http::Request::builder().method(method).uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .allow_non_standard_methods(true)
            .build()
            .into();
        let request = request.body(body).expect("a request");
        let mut answer = agent.run(request).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let body = answer.body_mut().with_config().limit(u64::MAX).read_to_vec().expect("a body");
        Reply { status: answer.status().as_u16(), headers: answer.headers().clone(), body }
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        self.call("POST", path, &[], body)
    }

    /// A request of MLflow's API with a JSON body.
    pub(crate) fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
        let headers: Vec<_> = headers.iter().copied().chain([("content-type", "application/json")]).collect();
        self.send(method, &format!("/api/2.0/mlflow{path}"), &headers, body.to_string().as_bytes())
    }

    /// Makes an experiment and a run; returns both ids.
    pub(crate) fn run(&self) -> (String, String) {
        let experiment = self.post("/experiments/create", &serde_json::json!({"name": unique("experiment")})).json();
        let experiment = experiment["experiment_id"].as_str().expect("an id").to_owned();
        let run = self.post("/runs/create", &serde_json::json!({"experiment_id": experiment})).json();
        (experiment, run["run"]["info"]["run_id"].as_str().expect("an id").to_owned())
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// The password of a user of [`Server::with_users`].
pub(crate) fn password(name: &str) -> String {
    name.repeat(3)
}

/// The header of a user of [`Server::with_users`].
pub(crate) fn basic(name: &str) -> String {
    use base64::Engine;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{name}:{}", password(name))))
}

/// A name that nothing else has.
pub(crate) fn unique(kind: &str) -> String {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("{kind}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

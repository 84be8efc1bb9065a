//! The committed schemas work in an editor: yaml-language-server, which VS Code and others use, is asked for real.
//!
//! Skipped where it is not installed: `npm install yaml-language-server`, and
//! `MLPIPE_TEST_YAML_LANGUAGE_SERVER=node_modules/.bin/yaml-language-server`, or have it in `PATH`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// A language server and what it said of the files so far.
struct Server {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    requests: u64,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// Starts the server; none where there is none.
    fn start() -> Option<Server> {
        let program = std::env::var_os("MLPIPE_TEST_YAML_LANGUAGE_SERVER");
        let mut command = Command::new(program.unwrap_or_else(|| "yaml-language-server".into()));
        command.arg("--stdio").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().ok()?;
        let (input, output) = (process.stdin.take()?, BufReader::new(process.stdout.take()?));
        let mut server = Server { process, input, output, requests: 0 };
        let root = format!("file://{}", repository().display());
        let abilities = json!({"workspace": {"configuration": true}, "textDocument": {"completion": {}}});
        server.ask("initialize", json!({"processId": null, "rootUri": root, "capabilities": abilities}));
        server.send(json!({"method": "initialized", "params": {}}));
        Some(server)
    }

    fn send(&mut self, mut message: Value) {
        message["jsonrpc"] = json!("2.0");
        let text = message.to_string();
        write!(self.input, "Content-Length: {}\r\n\r\n{text}", text.len()).expect("the server listens");
        self.input.flush().expect("the server listens");
    }

    fn receive(&mut self) -> Value {
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).expect("readable") > 0, "the server ended");
            match line.trim().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().expect("a number");
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut text = vec![0; length];
        self.output.read_exact(&mut text).expect("a whole message");
        serde_json::from_slice(&text).expect("JSON")
    }

    /// Answers what the server asks: it gets settings that say nothing, and loads no schemas from elsewhere.
    fn answer(&mut self, message: &Value) {
        let Some(id) = message.get("id").filter(|_| message.get("method").is_some()) else { return };
        let settings = |item: &Value| match item["section"].as_str() {
            Some("yaml") => json!({"validate": true, "completion": true, "schemaStore": {"enable": false}}),
            _ => json!({}),
        };
        let result = match message["params"]["items"].as_array() {
            Some(items) => items.iter().map(settings).collect(),
            None => Value::Null,
        };
        self.send(json!({"id": id, "result": result}));
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.requests += 1;
        let id = self.requests;
        self.send(json!({"id": id, "method": method, "params": params}));
        loop {
            let message = self.receive();
            if message["id"] == json!(id) && message.get("method").is_none() {
                return message["result"].clone();
            }
            self.answer(&message);
        }
    }

    /// Opens a text as if it stood in this file and returns what is wrong with it: line from 1, and message.
    fn mistakes(&mut self, path: &Path, text: &str) -> Vec<(u64, String)> {
        let uri = format!("file://{}", path.display());
        let document = json!({"uri": uri, "languageId": "yaml", "version": 1, "text": text});
        self.send(json!({"method": "textDocument/didOpen", "params": {"textDocument": document}}));
        loop {
            let message = self.receive();
            if message["method"] == "textDocument/publishDiagnostics" && message["params"]["uri"] == json!(uri) {
                let found = message["params"]["diagnostics"].as_array().expect("a list").iter();
                let line = |one: &Value| one["range"]["start"]["line"].as_u64().expect("a number") + 1;
                return found.map(|one| (line(one), one["message"].as_str().unwrap_or_default().to_owned())).collect();
            }
            self.answer(&message);
        }
    }

    /// The keys that are offered at a line, from 1, and column, from 0, of an open text.
    fn completions(&mut self, path: &Path, line: usize, column: usize) -> Vec<String> {
        let document = json!({"uri": format!("file://{}", path.display())});
        let place = json!({"line": line - 1, "character": column});
        let result = self.ask("textDocument/completion", json!({"textDocument": document, "position": place}));
        let items = result.get("items").unwrap_or(&result).as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|item| item["label"].as_str().map(str::to_owned)).collect()
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository is there")
}

/// Pipelines and projects below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("an entry").path();
        let is_ours = path.extension().is_some_and(|ending| ending == "yaml") || path.ends_with("MLproject");
        match path.is_dir() {
            true => files(&path, found),
            false if is_ours => found.push(path),
            false => {}
        }
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "who runs the tests is told what was not tested")]
fn editors_find_mistakes_and_offer_keys() {
    let Some(mut server) = Server::start() else {
        eprintln!("skipped: yaml-language-server is not installed");
        return;
    };
    let mut examples = Vec::new();
    files(&repository().join("pipelines"), &mut examples);
    assert!(examples.len() > 20);
    for path in examples {
        let text = fs::read_to_string(&path).expect("readable");
        assert_eq!(server.mistakes(&path, &text), [], "{}", path.display());
    }
    let folder = repository().join("pipelines/examples");
    let text = fs::read_to_string(folder.join("defaults.yaml")).expect("committed");
    let cases = [
        ("    timeout: 1m", "    timeuot: 1m", "timeuot"),
        ("    timeout: 1m", "    timeout: soon", "pattern"),
        ("    timeout: 1m", "    pipeline: other.yaml", "multiple schemas"),
        ("  retries: 1", "  retries: many", "integer"),
    ];
    for (number, (from, to, expected)) in cases.into_iter().enumerate() {
        let line = text.lines().position(|line| line.starts_with(from)).expect("it is there") as u64 + 1;
        let mistakes = server.mistakes(&folder.join(format!("case-{number}.yaml")), &text.replacen(from, to, 1));
        let [(found, message)] = mistakes.as_slice() else { panic!("{to}: {mistakes:?}") };
        assert!(message.contains(expected), "{to}: {message}");
        assert!(found.abs_diff(line) <= 2, "{to}: line {found} instead of {line}");
    }
    let unfinished = text.replacen("    timeout: 1m\n", "    \n", 1);
    let line = unfinished.lines().position(|line| line == "    ").expect("it is there") + 1;
    let path = folder.join("unfinished.yaml");
    server.mistakes(&path, &unfinished);
    let offered = server.completions(&path, line, 4);
    for key in ["for_each", "timeout", "retries", "needs"] {
        assert!(offered.iter().any(|label| label == key), "{key} is not offered: {offered:?}");
    }
    assert!(!offered.iter().any(|label| label == "parameters"), "it is there already: {offered:?}");
}

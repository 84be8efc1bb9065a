//! Users, tokens and permissions over HTTP, with MLflow's rules.

mod common;

use common::{Reply, Server, basic, password, unique};
use mlpipe_server::{Accounts, ServerOptions};
use serde_json::{Value, json};

fn call(server: &Server, user: &str, method: &str, path: &str, body: &Value) -> Reply {
    server.call(method, path, &[("authorization", &basic(user))], body)
}

fn grant(server: &Server, granter: &str, user: &str, (kind, id): (&str, &str), permission: &str) -> u16 {
    let body = json!({"username": user, "resource_type": kind, "resource_id": id, "permission": permission});
    let headers = [("authorization", basic(granter)), ("content-type", "application/json".to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    server.send("POST", "/api/3.0/mlflow/users/permissions/grant", &headers, body.to_string().as_bytes()).status
}

#[test]
fn who_makes_an_experiment_manages_it_and_others_read_it() {
    let server = Server::with_users();
    let made = call(&server, "writer", "POST", "/experiments/create", &json!({"name": unique("x")})).json();
    let id = made["experiment_id"].as_str().expect("an id").to_owned();
    let in_it = json!({"experiment_id": id});
    assert_eq!(call(&server, "writer", "POST", "/runs/create", &in_it).status, 200);
    let refused = call(&server, "reader", "POST", "/runs/create", &in_it);
    assert_eq!(refused.code(), (403, "PERMISSION_DENIED".to_owned()));
    let read = server.send(
        "GET",
        &format!("/api/2.0/mlflow/experiments/get?experiment_id={id}"),
        &[("authorization", &basic("reader"))],
        b"",
    );
    assert_eq!(read.status, 200);
    let artifact = format!("/api/2.0/mlflow-artifacts/artifacts/{id}/r/artifacts/a.txt");
    assert_eq!(server.send("PUT", &artifact, &[("authorization", &basic("reader"))], b"x").status, 403);
    assert_eq!(server.send("PUT", &artifact, &[("authorization", &basic("writer"))], b"x").status, 200);
    assert_eq!(grant(&server, "reader", "reader", ("experiment", &id), "MANAGE"), 403);
    assert_eq!(grant(&server, "writer", "reader", ("experiment", &id), "EDIT"), 200);
    assert_eq!(call(&server, "reader", "POST", "/runs/create", &in_it).status, 200);
    assert_eq!(call(&server, "reader", "POST", "/experiments/delete", &in_it).status, 403);
    assert_eq!(grant(&server, "chief", "reader", ("experiment", &id), "NO_PERMISSIONS"), 200);
    let searched = call(&server, "reader", "POST", "/experiments/search", &json!({}));
    assert!(!String::from_utf8_lossy(&searched.body).contains(&format!("\"{id}\"")));
    assert_eq!(call(&server, "reader", "POST", "/runs/search", &json!({"experiment_ids": [id]})).json(), json!({}));
    assert_eq!(call(&server, "chief", "POST", "/experiments/delete", &in_it).status, 200);
}

#[test]
fn permissions_of_a_model_follow_its_name_and_end_with_it() {
    let server = Server::with_users();
    let (name, new_name) = (unique("model"), unique("renamed"));
    assert_eq!(call(&server, "writer", "POST", "/registered-models/create", &json!({"name": name})).status, 200);
    let tag = |user: &str, name: &str| {
        let body = json!({"name": name, "key": "a", "value": "b"});
        call(&server, user, "POST", "/registered-models/set-tag", &body).status
    };
    assert_eq!((tag("writer", &name), tag("reader", &name)), (200, 403));
    let renamed =
        call(&server, "writer", "POST", "/registered-models/rename", &json!({"name": name, "new_name": new_name}));
    assert_eq!(renamed.status, 200);
    assert_eq!(tag("writer", &new_name), 200);
    assert_eq!(call(&server, "writer", "DELETE", "/registered-models/delete", &json!({"name": new_name})).status, 200);
    call(&server, "chief", "POST", "/registered-models/create", &json!({"name": new_name}));
    assert_eq!(tag("writer", &new_name), 403, "a later model of the name is another one");
}

#[test]
fn requests_without_valid_credentials_are_refused_and_soon_not_looked_at() {
    let server = Server::with_users();
    let path = "/api/2.0/mlflow/experiments/search?max_results=5";
    let get = |authorization: &str| server.send("GET", path, &[("authorization", authorization)], b"");
    assert_eq!(server.get(path).code(), (401, "UNAUTHENTICATED".to_owned()));
    assert!(server.get(path).header("www-authenticate").starts_with("Basic"));
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(get(&basic("reader")).status, 200);
    use base64::Engine;
    let wrong = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("writer:wrong password"));
    for _ in 0..10 {
        assert_eq!(get(&wrong).status, 401);
    }
    assert_eq!(get(&wrong).code(), (429, "REQUEST_LIMIT_EXCEEDED".to_owned()));
    assert_eq!(get(&basic("writer")).status, 429, "guessing on does not help");
    assert_eq!(get(&basic("reader")).status, 200, "others are not locked out");
}

#[test]
fn token_stands_for_its_user_until_it_is_revoked() {
    let server = Server::with_users();
    let options = ServerOptions::local(server.path().to_owned(), server.address);
    let store = options.open_store().expect("a store");
    let token = Accounts::new(&store).create_token("writer", "ci", 1).expect("a token");
    let make = |authorization: &str| {
        server
            .call("POST", "/experiments/create", &[("authorization", authorization)], &json!({"name": unique("t")}))
            .status
    };
    let bearer = format!("Bearer {}", token.text);
    assert_eq!(make(&bearer), 200);
    assert_eq!(make(&format!("{bearer}0")), 401);
    Accounts::new(&store).remove_token(&token.id).expect("revoked");
    assert_eq!(make(&bearer), 401);
}

#[test]
fn users_change_themselves_and_administrators_everybody() {
    let server = Server::with_users();
    let new_password = json!({"username": "reader", "password": "another password"});
    assert_eq!(call(&server, "writer", "PATCH", "/users/update-password", &new_password).status, 403);
    assert_eq!(
        call(&server, "reader", "POST", "/users/create", &json!({"username": "x", "password": password("long")}))
            .status,
        403
    );
    let short = call(&server, "chief", "POST", "/users/create", &json!({"username": "x", "password": "short"}));
    assert_eq!(short.code(), (400, "INVALID_PARAMETER_VALUE".to_owned()));
    let body = json!({"username": "x", "password": password("long")});
    assert_eq!(call(&server, "chief", "POST", "/users/create", &body).json()["user"]["username"], "x");
    assert_eq!(
        call(&server, "chief", "POST", "/users/create", &body).code(),
        (400, "RESOURCE_ALREADY_EXISTS".to_owned())
    );
    assert_eq!(call(&server, "reader", "PATCH", "/users/update-password", &new_password).status, 200);
    assert_eq!(
        call(&server, "reader", "POST", "/experiments/search", &json!({})).status,
        401,
        "the old password is no longer right"
    );
    assert_eq!(call(&server, "chief", "DELETE", "/users/delete", &json!({"username": "x"})).status, 200);
}

#[test]
fn audit_log_says_who_did_what_and_nothing_of_content() {
    let server = Server::with_users();
    let name = unique("secret-name");
    call(&server, "writer", "POST", "/experiments/create", &json!({"name": name}));
    server.call("POST", "/experiments/create", &[], &json!({"name": name}));
    let log = std::fs::read_to_string(server.path().join("audit.ndjson")).expect("a log");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let said = |line: &Value| (line["user"].clone(), line["status"].clone(), line["path"].clone());
    let path = json!("/api/2.0/mlflow/experiments/create");
    assert_eq!(said(&lines[0]), (json!("writer"), json!(200), path.clone()));
    assert_eq!(said(&lines[1]), (Value::Null, json!(401), path));
    assert!(!log.contains(&name) && !log.contains(&password("writer")));
}

//! The shape of MLflow's REST API on the wire: spellings, errors, limits, and what pages of other sites cannot do. That every
//! operation does what MLflow's does is shown with MLflow's own client, see `mlflow_client.rs`.

mod common;

use common::{Server, unique};
use serde_json::json;

#[test]
fn run_is_written_as_mlflow_writes_it() {
    let server = Server::start();
    let (experiment, run) = server.run();
    server
        .post("/runs/log-metric", &json!({"run_uuid": run, "key": "m", "value": "NaN", "timestamp": "12", "step": 3}));
    server.post("/runs/log-parameter", &json!({"run_id": run, "key": "p", "value": "1", "future": {}}));
    let answer = server.get(&format!("/ajax-api/2.0/mlflow/runs/get?run_id={run}"));
    assert_eq!(answer.header("content-type"), "application/json");
    let json = answer.json();
    let (info, data) = (&json["run"]["info"], &json["run"]["data"]);
    assert_eq!((&info["run_id"], &info["run_uuid"], &info["status"]), (&json!(run), &json!(run), &json!("RUNNING")));
    assert_eq!(info["artifact_uri"], format!("mlflow-artifacts:/{experiment}/{run}/artifacts"));
    assert_eq!(data["metrics"], json!([{"key": "m", "value": "NaN", "timestamp": 12, "step": 3}]));
    assert_eq!(data["params"], json!([{"key": "p", "value": "1"}]));
    assert!(info.get("end_time").is_none() && json["run"]["inputs"] == json!({}));
}

#[test]
fn mistakes_are_answered_in_mlflows_words() {
    let server = Server::start();
    let missing = server.post("/experiments/create", &json!({}));
    assert_eq!(missing.code(), (400, "INVALID_PARAMETER_VALUE".to_owned()));
    let message =
        "Missing value for required parameter 'name'. See the API docs for more information about request parameters.";
    assert_eq!(missing.json()["message"], message);
    assert_eq!(missing.json()["sqlstate"], "KAM00");
    let unknown = server.get("/api/2.0/mlflow/experiments/get?experiment_id=99999999");
    assert_eq!(unknown.code(), (404, "RESOURCE_DOES_NOT_EXIST".to_owned()));
    assert_eq!(unknown.json()["error_class"], "RESOURCE_NOT_FOUND");
    let name = unique("twice");
    server.post("/experiments/create", &json!({"name": name}));
    assert_eq!(
        server.post("/experiments/create", &json!({"name": name})).code(),
        (400, "RESOURCE_ALREADY_EXISTS".to_owned())
    );
    let nowhere = server.get("/api/2.0/mlflow/no/such");
    assert_eq!((nowhere.status, nowhere.header("content-type")), (404, "text/html; charset=utf-8"));
    assert_eq!(server.get("/api/2.0/mlflow/runs/create").status, 405);
    let no_json =
        server.send("POST", "/api/2.0/mlflow/experiments/create", &[("content-type", "application/json")], b"{no");
    assert_eq!(no_json.status, 400);
}

#[test]
fn refusals_begin_with_the_words_that_clients_look_for() {
    let server = Server::start();
    let (_, run) = server.run();
    let ids: String = (0..101).map(|n| format!("run_id=r{n}&")).collect();
    let upload = "/ajax-api/2.0/mlflow/upload-artifact";
    let answers = [
        (
            server.post("/experiments/create", &json!({"name": "x", "artifact_location": 9.0})),
            "Invalid value 9.0 for parameter 'artifact_location'",
        ),
        (
            server.get(&format!("/ajax-api/2.0/mlflow/metrics/get-history-bulk?{ids}metric_key=m")),
            "GetMetricHistoryBulk request cannot specify more than 100 run_ids. Received 101 run_ids.",
        ),
        (server.get(&format!("/api/2.0/mlflow/artifacts/list?run_id={run}&path=../x")), "Invalid path"),
        (server.send("POST", upload, &[], b"x"), "Request must specify run_uuid."),
        (server.send("POST", &format!("{upload}?run_uuid={run}"), &[], b"x"), "Request must specify path."),
        (server.send("POST", &format!("{upload}?run_uuid={run}&path=a"), &[], b""), "Request must specify data."),
    ];
    for (answer, words) in answers {
        assert_eq!(answer.code(), (400, "INVALID_PARAMETER_VALUE".to_owned()), "{words}");
        let message = answer.json()["message"].as_str().expect("a text").to_owned();
        assert!(message.starts_with(words), "{message}");
    }
}

#[test]
fn relative_artifact_location_is_below_the_working_directory() {
    let server = Server::start();
    let new = json!({"name": unique("relative"), "artifact_location": "some/place"});
    let id = server.post("/experiments/create", &new).json()["experiment_id"].as_str().expect("an id").to_owned();
    let here = std::env::current_dir().expect("a directory").join("some/place");
    let found = server.get(&format!("/api/2.0/mlflow/experiments/get?experiment_id={id}")).json();
    assert_eq!(found["experiment"]["artifact_location"], here.to_str().expect("UTF-8"));
}

#[test]
fn versions_name_runs_of_other_servers_and_are_noted_at_their_logged_model() {
    let server = Server::start();
    let (name, other) = (unique("model"), unique("model"));
    let (experiment, _) = server.run();
    for name in [&name, &other] {
        server.post("/registered-models/create", &json!({"name": name}));
    }
    let model = server.post("/logged-models", &json!({"experiment_id": experiment, "name": "m"})).json();
    let info = &model["model"]["info"];
    let (model_id, place) = (info["model_id"].as_str().expect("an id"), &info["artifact_uri"]);
    let made = [
        json!({"name": name, "source": "runs:/elsewhere/model", "run_id": "elsewhere"}),
        json!({"name": name, "source": place, "model_id": model_id}),
        json!({"name": other, "source": place, "model_id": model_id}),
    ]
    .map(|new| server.post("/model-versions/create", &new).json());
    assert_eq!(made[0]["model_version"]["run_id"], "elsewhere");
    let tags = server.get(&format!("/api/2.0/mlflow/logged-models/{model_id}")).json()["model"]["info"]["tags"].clone();
    let noted = format!(r#"[{{"name": "{name}", "version": 2}}, {{"name": "{other}", "version": 1}}]"#);
    assert_eq!(tags, json!([{"key": "mlflow.modelVersions", "value": noted}]));

    let change = json!({"name": name, "version": "1", "description": "changed last"});
    server.call("PATCH", "/model-versions/update", &[], &change);
    let found = server.get("/api/2.0/mlflow/model-versions/search").json();
    let versions = found["model_versions"].as_array().expect("versions");
    let changed = |version: &serde_json::Value| version["last_updated_timestamp"].as_i64();
    assert!(versions.len() == 3 && versions.is_sorted_by(|one, next| changed(one) >= changed(next)), "{found}");
}

#[test]
fn body_that_is_too_large_is_refused() {
    let server = Server::start();
    let body = vec![b' '; 33 << 20];
    let answer = server.send("POST", "/api/2.0/mlflow/runs/log-batch", &[("content-type", "application/json")], &body);
    assert_eq!(answer.status, 413);
    assert_eq!(server.get("/health").body, b"OK");
}

#[test]
fn pages_of_other_sites_are_refused_and_told_nothing() {
    let server = Server::start();
    let body = json!({"name": unique("x")}).to_string();
    let path = "/api/2.0/mlflow/experiments/create";
    let json_type = ("content-type", "application/json");
    for header in [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
        let answer = server.send("POST", path, &[json_type, header], body.as_bytes());
        assert_eq!(answer.code(), (403, "PERMISSION_DENIED".to_owned()), "{header:?}");
        assert!(answer.headers.get("access-control-allow-origin").is_none());
    }
    let preflight = server.send(
        "OPTIONS",
        path,
        &[("origin", "https://evil.example"), ("access-control-request-method", "POST")],
        b"",
    );
    assert_eq!(preflight.status, 403);
    let form = server.send("POST", path, &[("content-type", "text/plain")], body.as_bytes());
    assert_eq!(form.status, 400, "what a form can send is not read");
    let own = format!("http://{}", server.address);
    assert_eq!(server.send("POST", path, &[json_type, ("origin", &own)], body.as_bytes()).status, 200);
}

#[test]
fn openapi_document_has_every_operation_with_its_fields() {
    let document = Server::start().get("/openapi.json").json();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() > 60, "{}", paths.len());
    let batch =
        &paths["/api/2.0/mlflow/runs/log-batch"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    let metrics = &batch["properties"]["metrics"]["anyOf"];
    assert_eq!(metrics[0]["items"]["required"], json!(["key", "value", "timestamp"]));
    assert_eq!(metrics[1], json!({"type": "null"}), "in a body null is unset");
}

#[test]
fn version_is_that_of_the_mlflow_whose_api_it_is() {
    let server = Server::start();
    assert_eq!(server.get("/version").body, b"3.17.2");
    assert!(server.get("/").header("content-type").starts_with("text/html"));
    let info = server.get("/api/3.0/mlflow/server-info").json();
    assert_eq!((&info["multipart_uploads_enabled"], &info["workspaces_enabled"]), (&json!(true), &json!(false)));
}

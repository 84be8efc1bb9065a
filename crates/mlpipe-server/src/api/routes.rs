//! Every operation: method, path, version, fields, who may call it, and what answers. MLflow 3.17.2's P0 and P1, webhooks, users.

use axum::http::Method;

use super::message::{Field, Kind, flag, integer, message, messages, name_of, number, text, texts};
use super::{Call, Route};
use super::{
    experiments, files, inputs, logged_models, metrics, model_versions, registered_models, runs, server_info, users,
    webhooks,
};
use crate::access::Needs;
use crate::access::Permission::{Edit, Manage, Read};

const V2: &str = "2.0";
const V3: &str = "3.0";

const VIEW: &[(&str, i64)] = &[("ACTIVE_ONLY", 1), ("DELETED_ONLY", 2), ("ALL", 3)];
const STATUS: &[(&str, i64)] = &[("RUNNING", 1), ("SCHEDULED", 2), ("FINISHED", 3), ("FAILED", 4), ("KILLED", 5)];
const MODEL_STATUS: &[(&str, i64)] = &[
    ("LOGGED_MODEL_STATUS_UNSPECIFIED", 0),
    ("LOGGED_MODEL_PENDING", 1),
    ("LOGGED_MODEL_READY", 2),
    ("LOGGED_MODEL_UPLOAD_FAILED", 3),
];
const WEBHOOK_STATUS: &[(&str, i64)] = &[("ACTIVE", 1), ("DISABLED", 2)];

const PAIR: &[Field] = &[text("key").required(), text("value")];
const METRIC: &[Field] = &[
    text("key").required(),
    number("value").required(),
    integer("timestamp").required(),
    integer("step"),
    text("model_id"),
    text("dataset_name"),
    text("dataset_digest"),
];
const DATASET: &[Field] = &[
    text("name").required(),
    text("digest").required(),
    text("source_type"),
    text("source"),
    text("schema"),
    text("profile"),
];
const DATASET_INPUT: &[Field] = &[messages("tags", PAIR), message("dataset", DATASET)];
const MODEL_INPUT: &[Field] = &[text("model_id").required()];
const MODEL_OUTPUT: &[Field] = &[text("model_id").required(), integer("step")];
const DATASET_FILTER: &[Field] = &[text("dataset_name").required(), text("dataset_digest")];
const MODEL_ORDER: &[Field] =
    &[text("field_name").required(), flag("ascending"), text("dataset_name"), text("dataset_digest")];
const EVENT: &[Field] = &[name_of("entity", webhooks::ENTITIES), name_of("action", webhooks::ACTIONS)];

const SEARCH: &[Field] = &[text("filter"), integer("max_results"), texts("order_by"), text("page_token")];
const EXPERIMENT_SEARCH: &[Field] =
    &[text("filter"), integer("max_results"), texts("order_by"), text("page_token"), name_of("view_type", VIEW)];
const RUN_ID: Field = text("run_id").required();
const EXPERIMENT_ID: Field = text("experiment_id").required();
const NAME: Field = text("name").required();
const VERSION: Field = text("version").required();
const KEY: Field = text("key").required();
const MODEL_ID: Field = text("model_id").required();
const USERNAME: Field = text("username").required();
const VERSION_TAG: &[Field] = &[NAME, VERSION, KEY, text("value")];
const LATEST: &[Field] = &[NAME, texts("stages")];
const GRANT: &[Field] =
    &[USERNAME, text("resource_type").required(), text("resource_id").required(), text("permission")];

const fn route(
    method: Method,
    since: &'static str,
    path: &'static str,
    name: &'static str,
    fields: &'static [Field],
    needs: Needs,
    run: fn(&Call<'_>) -> super::Answer,
) -> Route {
    Route { method, path, since, name, fields, needs, run }
}

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;

const ANYONE: Needs = Needs::SignedIn;
const ADMINISTRATOR: Needs = Needs::Administrator;
const READ_RUN: Needs = Needs::Run("run_id", Read);
const EDIT_RUN: Needs = Needs::Run("run_id", Edit);
const READ_EXPERIMENT: Needs = Needs::Experiment("experiment_id", Read);
const EDIT_EXPERIMENT: Needs = Needs::Experiment("experiment_id", Edit);
const READ_MODEL: Needs = Needs::RegisteredModel("name", Read);
const EDIT_MODEL: Needs = Needs::RegisteredModel("name", Edit);
const MANAGE_MODEL: Needs = Needs::RegisteredModel("name", Manage);
const READ_LOGGED: Needs = Needs::LoggedModel("model_id", Read);
const EDIT_LOGGED: Needs = Needs::LoggedModel("model_id", Edit);

/// All operations.
#[rustfmt::skip]
pub(crate) const ROUTES: &[Route] = &[
    route(POST, V2, "/mlflow/experiments/create", "createExperiment", &[NAME, text("artifact_location"), messages("tags", PAIR)], ANYONE, experiments::create),
    route(GET, V2, "/mlflow/experiments/get", "getExperiment", &[EXPERIMENT_ID], READ_EXPERIMENT, experiments::get),
    route(GET, V2, "/mlflow/experiments/get-by-name", "getExperimentByName", &[text("experiment_name").required()], Needs::ExperimentName("experiment_name", Read), experiments::get_by_name),
    route(POST, V2, "/mlflow/experiments/search", "searchExperiments", EXPERIMENT_SEARCH, ANYONE, experiments::search),
    route(GET, V2, "/mlflow/experiments/search", "searchExperiments", EXPERIMENT_SEARCH, ANYONE, experiments::search),
    route(POST, V2, "/mlflow/experiments/update", "updateExperiment", &[EXPERIMENT_ID, text("new_name").required()], EDIT_EXPERIMENT, experiments::update),
    route(POST, V2, "/mlflow/experiments/delete", "deleteExperiment", &[EXPERIMENT_ID], Needs::Experiment("experiment_id", Manage), experiments::delete),
    route(POST, V2, "/mlflow/experiments/restore", "restoreExperiment", &[EXPERIMENT_ID], Needs::Experiment("experiment_id", Manage), experiments::restore),
    route(POST, V2, "/mlflow/experiments/set-experiment-tag", "setExperimentTag", &[EXPERIMENT_ID, KEY, text("value")], EDIT_EXPERIMENT, experiments::set_tag),
    route(POST, V2, "/mlflow/experiments/delete-experiment-tag", "deleteExperimentTag", &[EXPERIMENT_ID, KEY], EDIT_EXPERIMENT, experiments::delete_tag),
    route(DELETE, V2, "/mlflow/experiments/delete-experiment-tag", "deleteExperimentTag", &[EXPERIMENT_ID, KEY], EDIT_EXPERIMENT, experiments::delete_tag),
    route(POST, V2, "/mlflow/experiments/search-datasets", "searchDatasets", &[texts("experiment_ids")], Needs::Experiments("experiment_ids", Read), inputs::search_datasets),

    route(POST, V2, "/mlflow/runs/create", "createRun", &[text("experiment_id"), text("user_id"), text("run_name"), integer("start_time"), messages("tags", PAIR)], EDIT_EXPERIMENT, runs::create),
    route(GET, V2, "/mlflow/runs/get", "getRun", &[RUN_ID], READ_RUN, runs::get),
    route(POST, V2, "/mlflow/runs/update", "updateRun", &[RUN_ID, name_of("status", STATUS), integer("end_time"), text("run_name")], EDIT_RUN, runs::update),
    route(POST, V2, "/mlflow/runs/search", "searchRuns", &[texts("experiment_ids"), text("filter"), name_of("run_view_type", VIEW), integer("max_results"), texts("order_by"), text("page_token")], ANYONE, runs::search),
    route(POST, V2, "/mlflow/runs/delete", "deleteRun", &[RUN_ID], Needs::Run("run_id", Manage), runs::delete),
    route(POST, V2, "/mlflow/runs/restore", "restoreRun", &[RUN_ID], Needs::Run("run_id", Manage), runs::restore),
    route(POST, V2, "/mlflow/runs/log-metric", "logMetric", &[RUN_ID, KEY, number("value").required(), integer("timestamp").required(), integer("step"), text("model_id"), text("dataset_name"), text("dataset_digest")], EDIT_RUN, metrics::log),
    route(POST, V2, "/mlflow/runs/log-parameter", "logParam", &[RUN_ID, KEY, text("value")], EDIT_RUN, runs::log_param),
    route(POST, V2, "/mlflow/runs/set-tag", "setTag", &[RUN_ID, KEY, text("value")], EDIT_RUN, runs::set_tag),
    route(POST, V2, "/mlflow/runs/delete-tag", "deleteTag", &[RUN_ID, KEY], EDIT_RUN, runs::delete_tag),
    route(POST, V2, "/mlflow/runs/log-batch", "logBatch", &[RUN_ID, messages("metrics", METRIC), messages("params", PAIR), messages("tags", PAIR)], EDIT_RUN, metrics::log_batch),
    route(POST, V2, "/mlflow/runs/log-model", "logModel", &[RUN_ID, text("model_json").required()], EDIT_RUN, runs::log_model),
    route(POST, V2, "/mlflow/runs/log-inputs", "logInputs", &[RUN_ID, messages("datasets", DATASET_INPUT), messages("models", MODEL_INPUT)], EDIT_RUN, inputs::log_inputs),
    route(POST, V2, "/mlflow/runs/outputs", "logOutputs", &[RUN_ID, Field { name: "models", kind: Kind::Messages(MODEL_OUTPUT), is_required: true }], EDIT_RUN, inputs::log_outputs),

    route(GET, V2, "/mlflow/metrics/get-history", "getMetricHistory", &[RUN_ID, text("metric_key").required(), text("page_token"), integer("max_results")], Needs::KnownRun("run_id", Read), metrics::history),
    route(GET, V2, "/mlflow/metrics/get-history-bulk", "getMetricHistoryBulk", &[texts("run_id"), text("metric_key"), integer("max_results")], Needs::Runs("run_id", Read), metrics::history_bulk),
    route(GET, V2, "/mlflow/metrics/get-history-bulk-interval", "getMetricHistoryBulkInterval", &[Field { name: "run_ids", kind: Kind::Texts, is_required: true }, text("metric_key").required(), integer("start_step"), integer("end_step"), integer("max_results")], Needs::Runs("run_ids", Read), metrics::history_interval),
    route(GET, V2, "/mlflow/artifacts/list", "listArtifacts", &[RUN_ID, text("path"), text("page_token")], READ_RUN, files::list),

    route(POST, V2, "/mlflow/logged-models", "createLoggedModel", &[EXPERIMENT_ID, text("name"), text("model_type"), text("source_run_id"), messages("params", PAIR), messages("tags", PAIR)], EDIT_EXPERIMENT, logged_models::create),
    route(POST, V2, "/mlflow/logged-models/search", "searchLoggedModels", &[texts("experiment_ids").required(), text("filter"), messages("datasets", DATASET_FILTER), integer("max_results"), messages("order_by", MODEL_ORDER), text("page_token")], Needs::Experiments("experiment_ids", Read), logged_models::search),
    route(GET, V2, "/mlflow/logged-models/{model_id}", "getLoggedModel", &[MODEL_ID], READ_LOGGED, logged_models::get),
    route(PATCH, V2, "/mlflow/logged-models/{model_id}", "finalizeLoggedModel", &[MODEL_ID, name_of("status", MODEL_STATUS)], EDIT_LOGGED, logged_models::finalize),
    route(DELETE, V2, "/mlflow/logged-models/{model_id}", "deleteLoggedModel", &[MODEL_ID], Needs::LoggedModel("model_id", Manage), logged_models::delete),
    route(PATCH, V2, "/mlflow/logged-models/{model_id}/tags", "setLoggedModelTags", &[MODEL_ID, messages("tags", PAIR)], EDIT_LOGGED, logged_models::set_tags),
    route(DELETE, V2, "/mlflow/logged-models/{model_id}/tags/{tag_key}", "deleteLoggedModelTag", &[MODEL_ID, text("tag_key").required()], EDIT_LOGGED, logged_models::delete_tag),
    route(POST, V2, "/mlflow/logged-models/{model_id}/params", "LogLoggedModelParams", &[MODEL_ID, messages("params", PAIR)], EDIT_LOGGED, logged_models::log_params),
    route(GET, V2, "/mlflow/logged-models/{model_id}/artifacts/directories", "listLoggedModelArtifacts", &[MODEL_ID, text("artifact_directory_path"), text("page_token")], READ_LOGGED, logged_models::list_artifacts),

    route(POST, V2, "/mlflow/registered-models/create", "createRegisteredModel", &[NAME, messages("tags", PAIR), text("description"), text("deployment_job_id")], ANYONE, registered_models::create),
    route(GET, V2, "/mlflow/registered-models/get", "getRegisteredModel", &[NAME], READ_MODEL, registered_models::get),
    route(GET, V2, "/mlflow/registered-models/search", "searchRegisteredModels", SEARCH, ANYONE, registered_models::search),
    route(PATCH, V2, "/mlflow/registered-models/update", "updateRegisteredModel", &[NAME, text("description"), text("deployment_job_id")], EDIT_MODEL, registered_models::update),
    route(POST, V2, "/mlflow/registered-models/rename", "renameRegisteredModel", &[NAME, text("new_name").required()], EDIT_MODEL, registered_models::rename),
    route(DELETE, V2, "/mlflow/registered-models/delete", "deleteRegisteredModel", &[NAME], MANAGE_MODEL, registered_models::delete),
    route(POST, V2, "/mlflow/registered-models/set-tag", "setRegisteredModelTag", &[NAME, KEY, text("value")], EDIT_MODEL, registered_models::set_tag),
    route(DELETE, V2, "/mlflow/registered-models/delete-tag", "deleteRegisteredModelTag", &[NAME, KEY], EDIT_MODEL, registered_models::delete_tag),
    route(POST, V2, "/mlflow/registered-models/alias", "setRegisteredModelAlias", &[NAME, text("alias").required(), VERSION], EDIT_MODEL, registered_models::set_alias),
    route(DELETE, V2, "/mlflow/registered-models/alias", "deleteRegisteredModelAlias", &[NAME, text("alias").required()], EDIT_MODEL, registered_models::delete_alias),
    route(GET, V2, "/mlflow/registered-models/alias", "getModelVersionByAlias", &[NAME, text("alias").required()], READ_MODEL, model_versions::get_by_alias),
    route(POST, V2, "/mlflow/registered-models/get-latest-versions", "getLatestVersions", LATEST, READ_MODEL, model_versions::latest),
    route(GET, V2, "/mlflow/registered-models/get-latest-versions", "getLatestVersions", LATEST, READ_MODEL, model_versions::latest),

    route(POST, V2, "/mlflow/model-versions/create", "createModelVersion", &[NAME, text("source").required(), text("run_id"), messages("tags", PAIR), text("run_link"), text("description"), text("model_id")], EDIT_MODEL, model_versions::create),
    route(GET, V2, "/mlflow/model-versions/get", "getModelVersion", &[NAME, VERSION], READ_MODEL, model_versions::get),
    route(GET, V2, "/mlflow/model-versions/search", "searchModelVersions", SEARCH, ANYONE, model_versions::search),
    route(GET, V2, "/mlflow/model-versions/get-download-uri", "getModelVersionDownloadUri", &[NAME, VERSION], READ_MODEL, model_versions::download_uri),
    route(PATCH, V2, "/mlflow/model-versions/update", "updateModelVersion", &[NAME, VERSION, text("description")], EDIT_MODEL, model_versions::update),
    route(DELETE, V2, "/mlflow/model-versions/delete", "deleteModelVersion", &[NAME, VERSION], MANAGE_MODEL, model_versions::delete),
    route(POST, V2, "/mlflow/model-versions/transition-stage", "transitionModelVersionStage", &[NAME, VERSION, text("stage").required(), flag("archive_existing_versions")], EDIT_MODEL, model_versions::transition),
    route(POST, V2, "/mlflow/model-versions/set-tag", "setModelVersionTag", VERSION_TAG, EDIT_MODEL, model_versions::set_tag),
    route(DELETE, V2, "/mlflow/model-versions/delete-tag", "deleteModelVersionTag", VERSION_TAG, EDIT_MODEL, model_versions::delete_tag),

    route(POST, V2, "/mlflow/webhooks", "createWebhook", &[NAME, text("url").required(), Field { name: "events", kind: Kind::Messages(EVENT), is_required: true }, text("description"), text("secret"), name_of("status", WEBHOOK_STATUS)], ADMINISTRATOR, webhooks::create),
    route(GET, V2, "/mlflow/webhooks", "listWebhooks", &[integer("max_results"), text("page_token")], ADMINISTRATOR, webhooks::list),
    route(GET, V2, "/mlflow/webhooks/{webhook_id}", "getWebhook", &[text("webhook_id").required()], ADMINISTRATOR, webhooks::get),
    route(PATCH, V2, "/mlflow/webhooks/{webhook_id}", "updateWebhook", &[text("webhook_id").required(), text("name"), text("url"), messages("events", EVENT), text("description"), text("secret"), name_of("status", WEBHOOK_STATUS)], ADMINISTRATOR, webhooks::update),
    route(DELETE, V2, "/mlflow/webhooks/{webhook_id}", "deleteWebhook", &[text("webhook_id").required()], ADMINISTRATOR, webhooks::delete),
    route(POST, V2, "/mlflow/webhooks/{webhook_id}/test", "testWebhook", &[text("webhook_id").required(), message("event", EVENT)], ADMINISTRATOR, webhooks::test),

    route(GET, V3, "/mlflow/server-info", "getServerInfo", &[], ANYONE, server_info::get),
    route(POST, V3, "/mlflow/server-info", "getServerInfo", &[], ANYONE, server_info::get),

    route(POST, V2, "/mlflow/users/create", "createUser", &[USERNAME, text("password").required()], ADMINISTRATOR, users::create),
    route(GET, V2, "/mlflow/users/get", "getUser", &[USERNAME], ANYONE, users::get),
    route(GET, V2, "/mlflow/users/current", "getCurrentUser", &[], ANYONE, users::current),
    route(GET, V2, "/mlflow/users/list", "listUsers", &[], ADMINISTRATOR, users::list),
    route(PATCH, V2, "/mlflow/users/update-password", "updateUserPassword", &[USERNAME, text("password").required()], ANYONE, users::update_password),
    route(PATCH, V2, "/mlflow/users/update-admin", "updateUserAdmin", &[USERNAME, flag("is_admin")], ADMINISTRATOR, users::update_admin),
    route(DELETE, V2, "/mlflow/users/delete", "deleteUser", &[USERNAME], ADMINISTRATOR, users::delete),
    route(POST, V3, "/mlflow/users/permissions/grant", "grantUserPermission", GRANT, ANYONE, users::grant),
    route(POST, V3, "/mlflow/users/permissions/revoke", "revokeUserPermission", GRANT, ANYONE, users::revoke),
    route(GET, V3, "/mlflow/users/permissions/get", "getUserPermission", GRANT, ANYONE, users::permission),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_differ_and_name_their_path_parameters_among_their_fields() {
        let mut seen = std::collections::BTreeSet::new();
        for route in ROUTES {
            assert!(seen.insert((route.since, route.path, route.method.to_string())), "{}", route.path);
            for part in route.path.split('/').filter_map(|part| part.strip_prefix('{')) {
                let name = part.trim_end_matches('}');
                assert!(
                    route.fields.iter().any(|field| field.name == name && field.is_required),
                    "{} {name}",
                    route.path
                );
            }
        }
    }
}

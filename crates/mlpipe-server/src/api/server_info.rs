//! What this server can do; MLflow's client asks before it uses multipart uploads.

use serde::Serialize;

use super::wire::answer;
use super::{Answer, Call};

#[derive(Serialize)]
struct Features {
    gateway: bool,
}

#[derive(Serialize)]
struct ServerInfo {
    store_type: &'static str,
    workspaces_enabled: bool,
    trace_archival_enabled: bool,
    multipart_uploads_enabled: bool,
    multipart_downloads_enabled: bool,
    presigned_upload_run_id_supported: bool,
    presigned_upload_model_id_supported: bool,
    features_enabled: Features,
}

pub(super) fn get(call: &Call<'_>) -> Answer {
    answer(&ServerInfo {
        store_type: "SqlStore",
        workspaces_enabled: false,
        trace_archival_enabled: false,
        multipart_uploads_enabled: call.shared.artifacts.is_some(),
        multipart_downloads_enabled: false,
        presigned_upload_run_id_supported: false,
        presigned_upload_model_id_supported: false,
        features_enabled: Features { gateway: false },
    })
}

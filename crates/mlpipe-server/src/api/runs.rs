//! Runs, their params and tags.

use mlpipe_tracking::{NewRun, RunSearch, RunStatus, RunUpdate};

use super::error::ApiError;
use super::experiments::view;
use super::wire::{self, done, one};
use super::{Answer, Call};
use crate::access::Resource;

/// The experiment of a run that names none.
const DEFAULT_EXPERIMENT: &str = "0";

pub(super) fn create(call: &Call<'_>) -> Answer {
    let message = &call.message;
    let new = NewRun {
        experiment_id: message.nonempty("experiment_id").unwrap_or(DEFAULT_EXPERIMENT).to_owned(),
        user_id: message.str("user_id").to_owned(),
        run_name: message.nonempty("run_name").map(str::to_owned),
        start_time_ms: message.integer("start_time"),
        tags: message.pairs("tags"),
    };
    let run = call.store().create_run(&new)?;
    one("run", wire::run(&run, call.shown()))
}

pub(super) fn get(call: &Call<'_>) -> Answer {
    let run = call.store().get_run(call.message.str("run_id"))?;
    one("run", wire::run(&run, call.shown()))
}

pub(super) fn update(call: &Call<'_>) -> Answer {
    let message = &call.message;
    let status = message.text("status").map(str::parse::<RunStatus>).transpose()?;
    let update = RunUpdate {
        status,
        end_time_ms: message.integer("end_time"),
        run_name: message.nonempty("run_name").map(str::to_owned),
    };
    let run = call.store().update_run(message.str("run_id"), &update)?;
    one("run_info", wire::run_info(&run, call.shown()))
}

pub(super) fn search(call: &Call<'_>) -> Answer {
    let message = &call.message;
    let mut experiment_ids = message.texts("experiment_ids").to_vec();
    call.shared.access.retain(call.store(), call.caller, Resource::Experiment, &mut experiment_ids, |id| id)?;
    let search = RunSearch {
        experiment_ids,
        filter: message.str("filter").to_owned(),
        view: view(message, "run_view_type"),
        order_by: message.texts("order_by").to_vec(),
        max_results: message.integer("max_results"),
        page_token: message.nonempty("page_token").map(str::to_owned),
    };
    let page = call.store().search_runs(&search)?;
    wire::page("runs", &page, |run| wire::run(run, call.shown()))
}

pub(super) fn delete(call: &Call<'_>) -> Answer {
    call.store().delete_run(call.message.str("run_id"))?;
    done()
}

pub(super) fn restore(call: &Call<'_>) -> Answer {
    call.store().restore_run(call.message.str("run_id"))?;
    done()
}

pub(super) fn log_param(call: &Call<'_>) -> Answer {
    let message = &call.message;
    call.store().log_param(message.str("run_id"), message.str("key"), message.str("value"))?;
    done()
}

pub(super) fn set_tag(call: &Call<'_>) -> Answer {
    let message = &call.message;
    call.store().set_tag(message.str("run_id"), message.str("key"), message.str("value"))?;
    done()
}

pub(super) fn delete_tag(call: &Call<'_>) -> Answer {
    call.store().delete_tag(call.message.str("run_id"), call.message.str("key"))?;
    done()
}

pub(super) fn log_model(call: &Call<'_>) -> Answer {
    let json = call.message.str("model_json");
    if !json.trim_start().starts_with('{') {
        return Err(ApiError::invalid("Malformed model info. It is not a valid JSON object."));
    }
    call.store().log_model(call.message.str("run_id"), json)?;
    done()
}

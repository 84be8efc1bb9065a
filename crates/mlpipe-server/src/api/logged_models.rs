//! Logged models: what training runs write, before it is registered under a name.

use mlpipe_tracking::{LoggedModelOrder, LoggedModelSearch, LoggedModelStatus, NewLoggedModel};

use super::files::listing;
use super::message::Message;
use super::wire::{self, done, one};
use super::{Answer, Call};

pub(super) fn create(call: &Call<'_>) -> Answer {
    let message = &call.message;
    let new = NewLoggedModel {
        experiment_id: message.str("experiment_id").to_owned(),
        name: message.nonempty("name").map(str::to_owned),
        model_type: message.str("model_type").to_owned(),
        source_run_id: message.nonempty("source_run_id").map(str::to_owned),
        params: message.pairs("params"),
        tags: message.pairs("tags"),
    };
    let model = call.store().create_logged_model(&new)?;
    one("model", wire::logged_model(&model, call.shown()))
}

pub(super) fn get(call: &Call<'_>) -> Answer {
    let model = call.store().logged_model(call.message.str("model_id"))?;
    one("model", wire::logged_model(&model, call.shown()))
}

pub(super) fn finalize(call: &Call<'_>) -> Answer {
    let status = call.message.text("status").map(str::parse::<LoggedModelStatus>).transpose()?;
    let model = call.store().finalize_logged_model(call.message.str("model_id"), status.unwrap_or_default())?;
    one("model", wire::logged_model(&model, call.shown()))
}

pub(super) fn delete(call: &Call<'_>) -> Answer {
    call.store().delete_logged_model(call.message.str("model_id"))?;
    done()
}

fn order(message: &Message) -> LoggedModelOrder {
    LoggedModelOrder {
        field_name: message.str("field_name").to_owned(),
        // Unset means ascending.
        ascending: !message.has("ascending") || message.flag("ascending"),
        dataset_name: message.nonempty("dataset_name").map(str::to_owned),
        dataset_digest: message.nonempty("dataset_digest").map(str::to_owned),
    }
}

pub(super) fn search(call: &Call<'_>) -> Answer {
    let message = &call.message;
    let dataset = |dataset: &Message| {
        (dataset.str("dataset_name").to_owned(), dataset.nonempty("dataset_digest").map(str::to_owned))
    };
    let search = LoggedModelSearch {
        experiment_ids: message.texts("experiment_ids").to_vec(),
        filter: message.str("filter").to_owned(),
        datasets: message.messages("datasets").iter().map(dataset).collect(),
        order_by: message.messages("order_by").iter().map(order).collect(),
        max_results: message.integer("max_results"),
        page_token: message.nonempty("page_token").map(str::to_owned),
    };
    let page = call.store().search_logged_models(&search)?;
    wire::page("models", &page, |model| wire::logged_model(model, call.shown()))
}

pub(super) fn set_tags(call: &Call<'_>) -> Answer {
    let model = call.store().set_logged_model_tags(call.message.str("model_id"), &call.message.pairs("tags"))?;
    one("model", wire::logged_model(&model, call.shown()))
}

pub(super) fn delete_tag(call: &Call<'_>) -> Answer {
    call.store().delete_logged_model_tag(call.message.str("model_id"), call.message.str("tag_key"))?;
    done()
}

pub(super) fn log_params(call: &Call<'_>) -> Answer {
    call.store().log_logged_model_params(call.message.str("model_id"), &call.message.pairs("params"))?;
    done()
}

pub(super) fn list_artifacts(call: &Call<'_>) -> Answer {
    let model = call.store().logged_model(call.message.str("model_id"))?;
    listing(call, &model.artifact_uri, call.message.str("artifact_directory_path"))
}

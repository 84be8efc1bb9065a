//! Experiments.

use mlpipe_tracking::{NewExperiment, Search, ViewType};

use super::message::Message;
use super::wire::{self, done, one};
use super::{Answer, Call};
use crate::access::Resource;
use crate::artifacts::absolute;

/// Which experiments or runs are asked for; unset is what is in use.
pub(super) fn view(message: &Message, field: &str) -> ViewType {
    match message.text(field) {
        Some("DELETED_ONLY") => ViewType::DeletedOnly,
        Some("ALL") => ViewType::All,
        _ => ViewType::ActiveOnly,
    }
}

pub(super) fn search_of(message: &Message) -> Search {
    Search {
        filter: message.str("filter").to_owned(),
        order_by: message.texts("order_by").to_vec(),
        max_results: message.integer("max_results"),
        page_token: message.nonempty("page_token").map(str::to_owned),
    }
}

pub(super) fn create(call: &Call<'_>) -> Answer {
    let message = &call.message;
    let new = NewExperiment {
        name: message.str("name").to_owned(),
        artifact_location: message.nonempty("artifact_location").map(|place| absolute(place).into_owned()),
        tags: message.pairs("tags"),
    };
    let experiment = call.store().create_experiment(&new, &call.shared.artifact_root)?;
    call.shared.access.own(call.store(), call.caller, Resource::Experiment, &experiment.experiment_id)?;
    one("experiment_id", experiment.experiment_id)
}

pub(super) fn get(call: &Call<'_>) -> Answer {
    let experiment = call.store().experiment(call.message.str("experiment_id"))?;
    one("experiment", wire::experiment(&experiment, call.shown()))
}

pub(super) fn get_by_name(call: &Call<'_>) -> Answer {
    let experiment = call.store().experiment_by_name(call.message.str("experiment_name"))?;
    one("experiment", wire::experiment(&experiment, call.shown()))
}

pub(super) fn search(call: &Call<'_>) -> Answer {
    let mut page = call.store().search_experiments(&search_of(&call.message), view(&call.message, "view_type"))?;
    call.shared.access.retain(call.store(), call.caller, Resource::Experiment, &mut page.items, |experiment| {
        &experiment.experiment_id
    })?;
    wire::page("experiments", &page, |experiment| wire::experiment(experiment, call.shown()))
}

pub(super) fn update(call: &Call<'_>) -> Answer {
    call.store().rename_experiment(call.message.str("experiment_id"), call.message.str("new_name"))?;
    done()
}

pub(super) fn delete(call: &Call<'_>) -> Answer {
    call.store().delete_experiment(call.message.str("experiment_id"))?;
    done()
}

pub(super) fn restore(call: &Call<'_>) -> Answer {
    call.store().restore_experiment(call.message.str("experiment_id"))?;
    done()
}

pub(super) fn set_tag(call: &Call<'_>) -> Answer {
    let message = &call.message;
    call.store().set_experiment_tag(message.str("experiment_id"), message.str("key"), message.str("value"))?;
    done()
}

pub(super) fn delete_tag(call: &Call<'_>) -> Answer {
    call.store().delete_experiment_tag(call.message.str("experiment_id"), call.message.str("key"))?;
    done()
}

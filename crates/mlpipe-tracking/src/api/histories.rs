//! Histories of metrics, in MLflow's order: by timestamp, then step, then value.

use std::collections::BTreeSet;

use crate::database::Connection;
use crate::pages::bad_token;
use crate::rows::metric_value;
use crate::{Error, Metric, MetricOfRun, Page, Result, RunId, StepInterval, Store, keys};

/// Runs in one question at most.
const MAX_RUNS: usize = 100;
/// Values in one answer at most.
const MAX_VALUES: i64 = 25_000;
/// Samples per run at most.
const MAX_SAMPLES: i64 = 2500;

/// A place in a history: timestamp, step, whether not a number, value.
type Place = (i64, i64, i64, f64);

/// Returns a page of a history; see [`Store::metric_history_page`].
pub(super) fn page(
    store: &Store,
    run_id: &str,
    key: &str,
    max_results: Option<i64>,
    token: Option<&str>,
) -> Result<Page<Metric>> {
    if let Some(wanted) = max_results.filter(|wanted| *wanted < 1) {
        return Err(Error::invalid(format!(
            "Invalid value {wanted} for parameter 'max_results' supplied. It must be a positive integer"
        )));
    }
    let after = token.filter(|token| !token.is_empty()).map(place).transpose()?;
    let size = max_results.unwrap_or(i64::MAX - 1);
    let found = store.read(|connection| {
        let Some((run, key_id)) = run_and_key(connection, run_id, key)? else { return Ok(Vec::new()) };
        history(connection, run, key_id, key, after, size + 1)
    })?;
    let is_last = found.len() as i64 <= size;
    let mut found = found;
    found.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    let next_page_token = found.last().filter(|_| !is_last).map(token_behind);
    Ok(Page { items: found, next_page_token })
}

/// Returns histories of several runs; see [`Store::metric_history_bulk`].
pub(super) fn bulk(store: &Store, run_ids: &[String], key: &str, max_results: i64) -> Result<Vec<MetricOfRun>> {
    check_runs(run_ids)?;
    let limit = max_results.clamp(1, MAX_VALUES);
    store.read(|connection| {
        let mut found = Vec::new();
        for run_id in run_ids.iter().collect::<BTreeSet<_>>() {
            let left = limit - found.len() as i64;
            let Some((run, key_id)) = run_and_key(connection, run_id, key)? else { continue };
            let history = history(connection, run, key_id, key, None, left)?;
            let run_id: RunId = run_id.parse()?;
            found.extend(history.into_iter().map(|metric| MetricOfRun { run_id: run_id.clone(), metric }));
            if found.len() as i64 >= limit {
                break;
            }
        }
        Ok(found)
    })
}

/// Returns samples of histories; see [`Store::metric_history_interval`].
pub(super) fn interval(
    store: &Store,
    run_ids: &[String],
    key: &str,
    interval: &StepInterval,
) -> Result<Vec<MetricOfRun>> {
    check_runs(run_ids)?;
    let (first, last) = (interval.start_step.unwrap_or(i64::MIN), interval.end_step.unwrap_or(i64::MAX));
    if first > last {
        return Err(Error::invalid(format!(
            "end_step must be greater than start_step. Found start_step={first} and end_step={last}."
        )));
    }
    if !(1..=MAX_SAMPLES).contains(&interval.max_results) {
        return Err(Error::invalid(format!(
            "max_results must be between 1 and {MAX_SAMPLES}. Found {}.",
            interval.max_results
        )));
    }
    store.read(|connection| {
        let mut found = Vec::new();
        for text in run_ids {
            let Some((run, key_id)) = run_and_key(connection, text, key)? else { continue };
            let run_id: RunId = text.parse()?;
            let all = by_step(connection, run, key_id, (first, last))?;
            found.extend(sampled_positions(all.len(), interval.max_results as usize).into_iter().map(|at| {
                let (step, timestamp_ms, value) = all[at];
                MetricOfRun {
                    run_id: run_id.clone(),
                    metric: Metric { key: key.to_owned(), value, timestamp_ms, step },
                }
            }));
        }
        Ok(found)
    })
}

fn check_runs(run_ids: &[String]) -> Result<()> {
    match run_ids.len() {
        0 => Err(Error::invalid(
            "Missing value for required parameter 'run_ids'. See the API docs for more information about request \
             parameters.",
        )),
        1..=MAX_RUNS => Ok(()),
        count => Err(Error::invalid(format!(
            "GetMetricHistoryBulk request cannot specify more than {MAX_RUNS} run_ids. Received {count} run_ids."
        ))),
    }
}

fn run_and_key(connection: &mut Connection, run_id: &str, key: &str) -> Result<Option<(i64, i64)>> {
    let run = connection.number("SELECT run_key FROM runs WHERE run_id = ?1", &[run_id.into()])?;
    Ok(run.zip(keys::find(connection, key)?))
}

fn history(
    connection: &mut Connection,
    run: i64,
    key_id: i64,
    key: &str,
    after: Option<Place>,
    limit: i64,
) -> Result<Vec<Metric>> {
    let mut values = vec![run.into(), key_id.into(), limit.into()];
    let mut behind = "";
    if let Some((timestamp, step, is_nan, value)) = after {
        values.extend([timestamp.into(), step.into(), is_nan.into(), value.into()]);
        behind = "AND (timestamp, step, is_nan, value) > (?4, ?5, ?6, ?7)";
    }
    let sql = format!(
        "SELECT value, is_nan, timestamp, step FROM metrics WHERE run_key = ?1 AND key_id = ?2 {behind}
         ORDER BY timestamp, step, is_nan, value LIMIT ?3"
    );
    connection.query(&sql, &values, |row| {
        Ok(Metric {
            key: key.to_owned(),
            value: metric_value(row, 0, 1)?,
            timestamp_ms: row.integer(2)?,
            step: row.integer(3)?,
        })
    })
}

/// Returns a history as step, timestamp and value, in this order.
fn by_step(
    connection: &mut Connection,
    run: i64,
    key_id: i64,
    (first, last): (i64, i64),
) -> Result<Vec<(i64, i64, f64)>> {
    // Not ORDER BY: putting the values in order here takes a quarter of the time.
    let sql = "SELECT step, timestamp, value, is_nan FROM metrics
               WHERE run_key = ?1 AND key_id = ?2 AND step BETWEEN ?3 AND ?4";
    let values = [run.into(), key_id.into(), first.into(), last.into()];
    let mut all =
        connection.query(sql, &values, |row| Ok((row.integer(0)?, row.integer(1)?, metric_value(row, 2, 3)?)))?;
    all.sort_unstable_by(|one, other| (one.0, one.1).cmp(&(other.0, other.1)).then(one.2.total_cmp(&other.2)));
    Ok(all)
}

/// Returns which of `total` values are shown, at most `count` of them, as MLflow chooses: they are dealt out to `count` groups of
/// neighbours, the larger ones first, and each shows its first value, but the last one the very last.
fn sampled_positions(total: usize, count: usize) -> Vec<usize> {
    if total <= count {
        return (0..total).collect();
    }
    let (size, larger) = (total / count, total % count);
    let mut positions: Vec<_> = (0..count).map(|group| group * size + group.min(larger)).collect();
    if let Some(last) = positions.last_mut() {
        *last = total - 1;
    }
    positions
}

/// A token says where to go on: the bits of the value, so that nothing of it is lost.
fn token_behind(metric: &Metric) -> String {
    let is_nan = i64::from(metric.value.is_nan());
    let bits = if is_nan == 1 { 0 } else { metric.value.to_bits() };
    format!("m{}:{}:{is_nan}:{bits:x}", metric.timestamp_ms, metric.step)
}

fn place(token: &str) -> Result<Place> {
    let parsed = || {
        let mut parts = token.strip_prefix('m')?.split(':');
        let place = (
            parts.next()?.parse().ok()?,
            parts.next()?.parse().ok()?,
            parts.next()?.parse().ok()?,
            f64::from_bits(u64::from_str_radix(parts.next()?, 16).ok()?),
        );
        parts.next().is_none().then_some(place)
    };
    parsed().ok_or_else(|| bad_token(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_even_and_end_with_the_last_value() {
        for (total, count, want) in [
            (0, 5, &[][..]),
            (3, 5, &[0, 1, 2]),
            (5, 5, &[0, 1, 2, 3, 4]),
            (10, 5, &[0, 2, 4, 6, 9]),
            (20, 5, &[0, 4, 8, 12, 19]),
            (11, 4, &[0, 3, 6, 10]),
            (7, 1, &[6]),
        ] {
            assert_eq!(sampled_positions(total, count), want, "{count} of {total}");
        }
    }
}

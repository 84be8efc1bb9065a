//! Searching runs.
//!
//! Three ways, by the order that is asked for. The newest first: along the index of the experiment, each page going on
//! where the last one ended. By a metric, in one experiment: along the index of its values, then the runs where it is
//! not a number, then those without it. Anything else is sorted. When few runs meet a filter on a metric, they are looked
//! up first.

use crate::conditions::Conditions;
use crate::database::{Connection, Value};
use crate::pages::{bad_token, offset, page, page_size};
use crate::rows::{RUN_COLUMNS, bare_run, complete};
use crate::search::{Clause, Grammar, Kind, Order, parse_filter, parse_order};
use crate::{Page, Result, Run, RunSearch, ViewType, keys};

/// Runs on a page, unless said otherwise.
const DEFAULT_PAGE: usize = 1000;
/// Runs on a page at most.
const MAX_PAGE: usize = 50_000;
/// What makes every order total.
const LAST_KEYS: &str = "r.start_time DESC, r.run_id";

/// A question for runs, understood.
pub(super) struct Query {
    experiments: Vec<i64>,
    clauses: Vec<Clause>,
    orders: Vec<Order>,
    view: ViewType,
    size: usize,
    start: Start,
}

/// Where a page begins.
enum Start {
    /// Behind so many runs.
    Offset(usize),
    /// Behind the run of this start time and id.
    Behind(i64, String),
}

/// Which part of an order by a metric.
#[derive(Clone, Copy)]
enum Part {
    Values,
    NotNumbers,
    Missing,
}

impl Query {
    pub(super) fn parse(search: &RunSearch) -> Result<Self> {
        let orders = search.order_by.iter().filter(|clause| !clause.is_empty());
        let orders = orders.map(|clause| parse_order(clause, Grammar::Runs)).collect::<Result<Vec<_>>>()?;
        let token = search.page_token.as_deref().filter(|token| !token.is_empty());
        let start = match token {
            Some(token) if token.starts_with('r') && orders.is_empty() => behind(token)?,
            token => Start::Offset(offset(token)?),
        };
        Ok(Self {
            experiments: search.experiment_ids.iter().filter_map(|id| id.parse().ok()).collect(),
            clauses: parse_filter(&search.filter, Grammar::Runs)?,
            orders,
            view: search.view,
            size: page_size(search.max_results, DEFAULT_PAGE, MAX_PAGE)?,
            start,
        })
    }

    pub(super) fn answer(&self, connection: &mut Connection) -> Result<Page<Run>> {
        if self.experiments.is_empty() {
            return Ok(Page { items: Vec::new(), next_page_token: None });
        }
        match (&self.start, self.orders.as_slice(), self.experiments.as_slice()) {
            (_, [], _) => self.newest_first(connection),
            (Start::Offset(skipped), [first, ..], [experiment]) if first.column.kind == Kind::Metric => {
                self.by_metric(connection, *skipped, first, *experiment)
            }
            (Start::Offset(skipped), ..) => self.sorted(connection, *skipped),
            (Start::Behind(..), ..) => Err(bad_token("r")),
        }
    }

    fn newest_first(&self, connection: &mut Connection) -> Result<Page<Run>> {
        let mut conditions = Conditions::new(connection, Grammar::Runs);
        self.restrict(&mut conditions)?;
        let mut skipped = 0;
        match &self.start {
            Start::Offset(offset) => skipped = *offset,
            Start::Behind(start_time, run_id) => {
                let (time, id) = (conditions.bind(*start_time), conditions.bind(Value::Owned(run_id.clone())));
                conditions.add(format!("r.start_time <= {time} AND (r.start_time < {time} OR r.run_id > {id})"));
            }
        }
        let (limit, start) = (conditions.bind(self.size as i64 + 1), conditions.bind(skipped as i64));
        let (conditions, values) = conditions.finish();
        let sql = format!(
            "SELECT {RUN_COLUMNS} FROM runs r WHERE {conditions} ORDER BY {LAST_KEYS} LIMIT {limit} OFFSET {start}"
        );
        let mut found = connection.query(&sql, &values, bare_run)?;
        let is_last = found.len() <= self.size;
        found.truncate(self.size);
        let last = found.last().filter(|_| !is_last);
        let next_page_token = last.map(|(_, run)| format!("r{}:{}", run.start_time_ms, run.run_id));
        Ok(Page { items: complete(connection, found)?, next_page_token })
    }

    fn by_metric(
        &self,
        connection: &mut Connection,
        skipped: usize,
        first: &Order,
        experiment: i64,
    ) -> Result<Page<Run>> {
        let wanted = skipped + self.size + 1;
        let key_id = keys::find(connection, &first.column.key)?;
        let mut run_keys = Vec::new();
        for part in [Part::Values, Part::NotNumbers, Part::Missing] {
            if run_keys.len() < wanted && (key_id.is_some() || matches!(part, Part::Missing)) {
                let left = wanted - run_keys.len();
                run_keys.extend(self.part(connection, part, first, experiment, key_id.unwrap_or(-1), left)?);
            }
        }
        let run_keys = run_keys.split_off(skipped.min(run_keys.len()));
        let page = page(run_keys, skipped, self.size);
        Ok(Page { items: in_order(connection, &page.items)?, next_page_token: page.next_page_token })
    }

    fn part(
        &self,
        connection: &mut Connection,
        part: Part,
        first: &Order,
        experiment: i64,
        key_id: i64,
        limit: usize,
    ) -> Result<Vec<i64>> {
        let mut conditions = Conditions::new(connection, Grammar::Runs);
        self.restrict(&mut conditions)?;
        let (joins, mut order) = conditions.run_order(&self.orders[1..])?;
        let (key, experiment) = (conditions.bind(key_id), conditions.bind(experiment));
        let direction = if first.ascending { "ASC" } else { "DESC" };
        let from = match part {
            Part::Missing => {
                conditions.add(format!(
                    "NOT EXISTS (SELECT 1 FROM latest_metrics v WHERE v.run_key = r.run_key AND v.key_id = {key})
                     AND r.experiment_id = {experiment}"
                ));
                "runs r"
            }
            Part::Values | Part::NotNumbers => {
                let is_nan = if matches!(part, Part::Values) { 0 } else { 1 };
                conditions.add(format!(
                    "v.experiment_id = {experiment} AND v.key_id = {key} AND v.is_nan = {is_nan}
                     AND r.run_key = v.run_key"
                ));
                // In this order: along the index of values.
                "latest_metrics v CROSS JOIN runs r"
            }
        };
        if matches!(part, Part::Values) {
            order.insert(0, format!("v.value {direction}"));
        }
        order.push(LAST_KEYS.to_owned());
        let limit = conditions.bind(limit as i64);
        let (conditions, values) = conditions.finish();
        let order = order.join(", ");
        let sql = format!("SELECT r.run_key FROM {from}{joins} WHERE {conditions} ORDER BY {order} LIMIT {limit}");
        connection.query(&sql, &values, |row| row.integer(0))
    }

    fn sorted(&self, connection: &mut Connection, skipped: usize) -> Result<Page<Run>> {
        let mut conditions = Conditions::new(connection, Grammar::Runs);
        self.restrict(&mut conditions)?;
        let (joins, mut order) = conditions.run_order(&self.orders)?;
        order.push(LAST_KEYS.to_owned());
        let (limit, start) = (conditions.bind(self.size as i64 + 1), conditions.bind(skipped as i64));
        let (conditions, values) = conditions.finish();
        let order = order.join(", ");
        let sql = format!(
            "SELECT r.run_key FROM runs r{joins} WHERE {conditions} ORDER BY {order} LIMIT {limit} OFFSET {start}"
        );
        let run_keys = connection.query(&sql, &values, |row| row.integer(0))?;
        let page = page(run_keys, skipped, self.size);
        Ok(Page { items: in_order(connection, &page.items)?, next_page_token: page.next_page_token })
    }

    /// Adds what every way needs: experiments, whether deleted, and the filter.
    fn restrict(&self, conditions: &mut Conditions<'_>) -> Result<()> {
        let parameters: Vec<_> = self.experiments.iter().map(|experiment| conditions.bind(*experiment)).collect();
        // The runs of one parent, and few ones, are found by their index: the plus keeps that of the experiments out of it.
        let is_of_parent = self.clauses.iter().any(|clause| clause.column.key == crate::tags::PARENT_RUN_ID);
        let are_few = match self.experiments.as_slice() {
            [one] => conditions.add_few(*one, &self.clauses)?,
            _ => false,
        };
        let plus = if is_of_parent || are_few { "+" } else { "" };
        conditions.add(match parameters.as_slice() {
            [one] => format!("{plus}r.experiment_id = {one}"),
            several => format!("{plus}r.experiment_id IN ({})", several.join(", ")),
        });
        match self.view {
            ViewType::ActiveOnly => conditions.add("r.lifecycle_stage = 'active'"),
            ViewType::DeletedOnly => conditions.add("r.lifecycle_stage = 'deleted'"),
            ViewType::All => {}
        }
        conditions.add_filter(&self.clauses)
    }
}

fn behind(token: &str) -> Result<Start> {
    let parts = token[1..].split_once(':').filter(|(_, run_id)| !run_id.is_empty());
    let parsed = parts.and_then(|(time, run_id)| Some(Start::Behind(time.parse().ok()?, run_id.to_owned())));
    parsed.ok_or_else(|| bad_token(token))
}

/// Returns the runs of these keys, in their order, complete.
fn in_order(connection: &mut Connection, run_keys: &[i64]) -> Result<Vec<Run>> {
    let dialect = connection.dialect();
    let sql = format!("SELECT {RUN_COLUMNS} FROM runs r WHERE {}", dialect.is_one_of("r.run_key", "?1"));
    let list = Value::Owned(dialect.numbers(run_keys.iter().copied()));
    let mut found = connection.query(&sql, &[list], bare_run)?;
    let rank: std::collections::HashMap<i64, usize> =
        run_keys.iter().enumerate().map(|(rank, run_key)| (*run_key, rank)).collect();
    found.sort_unstable_by_key(|(run_key, _)| rank.get(run_key).copied());
    complete(connection, found)
}

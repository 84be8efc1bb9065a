//! From filters and orders to SQL. What is searched has the alias `r` in every statement; values are bound, never
//! written into the text.

use crate::database::{Connection, Dialect, Value};
use crate::keys;
use crate::search::{Clause, Column, Comparator, Grammar, Kind, Order, Test};
use crate::{Error, Result, tags};

/// The tag of a dataset input that says what it was read for.
pub(crate) const DATA_CONTEXT: &str = "mlflow.data.context";

/// Runs that are looked up one by one rather than met along an order. Looking whether there are more costs a tenth of a millisecond.
const FEW: usize = 1000;

/// The tag that makes a registered model a prompt.
const IS_PROMPT: &str = "mlflow.prompt.is_prompt";
/// The condition for registered models that are no prompts.
pub(crate) const NO_PROMPT: &str = "NOT EXISTS (SELECT 1 FROM registered_model_tags v
    WHERE v.registered_key = r.registered_key AND v.key = 'mlflow.prompt.is_prompt' AND v.value = 'true')";

/// Conditions of a statement, and the values they speak of.
pub(crate) struct Conditions<'c> {
    connection: &'c mut Connection,
    dialect: Dialect,
    grammar: Grammar,
    texts: Vec<String>,
    values: Vec<Value<'static>>,
}

impl<'c> Conditions<'c> {
    pub(crate) fn new(connection: &'c mut Connection, grammar: Grammar) -> Self {
        let dialect = connection.dialect();
        Self { connection, dialect, grammar, texts: Vec::new(), values: Vec::new() }
    }

    /// Binds a value; returns the parameter that stands for it.
    pub(crate) fn bind(&mut self, value: impl Into<Value<'static>>) -> String {
        self.values.push(value.into());
        format!("?{}", self.values.len())
    }

    /// Adds a condition.
    pub(crate) fn add(&mut self, text: impl Into<String>) {
        self.texts.push(text.into());
    }

    /// Adds the conditions of a filter.
    pub(crate) fn add_filter(&mut self, clauses: &[Clause]) -> Result<()> {
        for clause in clauses {
            let text = self.clause(clause)?;
            self.texts.push(text);
        }
        Ok(())
    }

    /// Adds which runs of an experiment meet the clause about a metric that the fewest meet, when they are few: along the index of
    /// values they are found without a look at every run. Returns whether they are.
    pub(crate) fn add_few(&mut self, experiment: i64, clauses: &[Clause]) -> Result<bool> {
        let mut fewest: Option<Vec<i64>> = None;
        for clause in clauses {
            let (Kind::Metric, Test::Number(comparator, number)) = (clause.column.kind, &clause.test) else { continue };
            if *comparator == Comparator::NotEqual {
                continue;
            }
            let Some(key_id) = keys::find(self.connection, &clause.column.key)? else { continue };
            let sql = format!(
                "SELECT run_key FROM latest_metrics
                 WHERE experiment_id = ?1 AND key_id = ?2 AND is_nan = 0 AND value {} ?3 LIMIT ?4",
                comparator.sql()
            );
            let most = fewest.as_ref().map_or(FEW, Vec::len);
            let values = [experiment.into(), key_id.into(), (*number).into(), (most as i64 + 1).into()];
            let found = self.connection.query(&sql, &values, |row| row.integer(0))?;
            if found.len() <= most {
                fewest = Some(found);
            }
        }
        let Some(run_keys) = fewest else { return Ok(false) };
        let list = self.bind(Value::Owned(self.dialect.numbers(run_keys)));
        let is_one_of = self.dialect.is_one_of("r.run_key", &list);
        self.add(is_one_of);
        Ok(true)
    }

    /// Adds the condition of a clause about a key, of whose rows, `v`, only those count that meet `restriction` too.
    pub(crate) fn add_filter_within(&mut self, clause: &Clause, restriction: &str) -> Result<()> {
        let text = self.clause(clause)?;
        self.texts.push(text.replacen("WHERE ", &format!("WHERE {restriction} AND "), 1));
        Ok(())
    }

    /// Returns all conditions, one behind the other; and the values, which the caller may add to.
    pub(crate) fn finish(self) -> (String, Vec<Value<'static>>) {
        let text = if self.texts.is_empty() { "1 = 1".to_owned() } else { self.texts.join(" AND ") };
        (text, self.values)
    }

    fn clause(&mut self, clause: &Clause) -> Result<String> {
        let Clause { column, test } = clause;
        match (self.grammar, column.kind) {
            (Grammar::Runs, Kind::Tag) if column.key == tags::PARENT_RUN_ID => {
                // The column that repeats the tag has an index.
                match test {
                    Test::IsNull => Ok("r.parent_run_id IS NULL".to_owned()),
                    Test::IsNotNull => Ok("r.parent_run_id IS NOT NULL".to_owned()),
                    test => Ok(self.test("r.parent_run_id", test)),
                }
            }
            (_, Kind::Attribute) => Ok(self.test(&format!("r.{}", column.key), test)),
            (_, Kind::Dataset) => Ok(self.dataset(column, test)),
            (Grammar::Runs, kind) => {
                let Some(key_id) = keys::find(self.connection, &column.key)? else {
                    return Ok(if *test == Test::IsNull { "1 = 1" } else { "1 = 0" }.to_owned());
                };
                let key = self.bind(key_id);
                let (table, not_nan) = match kind {
                    Kind::Metric => ("latest_metrics", " AND v.is_nan = 0"),
                    Kind::Param => ("params", ""),
                    _ => ("tags", ""),
                };
                let rows = format!("SELECT 1 FROM {table} v WHERE v.run_key = r.run_key AND v.key_id = {key}{not_nan}");
                Ok(self.exists(&rows, test))
            }
            (grammar, kind) => {
                let key = self.bind(Value::Owned(column.key.clone()));
                let rows = format!("SELECT 1 FROM {} AND v.key = {key}", owned(grammar, kind));
                if is_prompt(clause) && is_no(test) {
                    // Models that do not say so are no prompts either.
                    return Ok(format!("NOT EXISTS ({rows} AND v.value = 'true')"));
                }
                Ok(self.exists(&rows, test))
            }
        }
    }

    fn exists(&mut self, rows: &str, test: &Test) -> String {
        match test {
            Test::IsNull => format!("NOT EXISTS ({rows})"),
            Test::IsNotNull => format!("EXISTS ({rows})"),
            test => {
                let test = self.test("v.value", test);
                format!("EXISTS ({rows} AND {test})")
            }
        }
    }

    fn dataset(&mut self, column: &Column, test: &Test) -> String {
        let inputs = "SELECT 1 FROM dataset_inputs i JOIN datasets d ON d.dataset_key = i.dataset_key";
        if column.key == "context" {
            let test = self.test("t.value", test);
            return format!(
                "EXISTS (SELECT 1 FROM dataset_input_tags t WHERE t.run_key = r.run_key AND t.key = '{DATA_CONTEXT}' AND {test})"
            );
        }
        let test = self.test(&format!("d.{}", column.key), test);
        format!("EXISTS ({inputs} WHERE i.run_key = r.run_key AND {test})")
    }

    fn test(&mut self, column: &str, test: &Test) -> String {
        match test {
            Test::Number(comparator, number) => format!("{column} {} {}", comparator.sql(), self.bind(*number)),
            Test::Integer(comparator, number) => format!("{column} {} {}", comparator.sql(), self.bind(*number)),
            Test::Text(Comparator::Like, pattern) => {
                let parameter = format!("?{}", self.values.len() + 1);
                let (text, pattern) = self.dialect.like(column, &parameter, pattern);
                self.bind(Value::Owned(pattern));
                text
            }
            Test::Text(Comparator::Ilike, pattern) => {
                let parameter = self.bind(Value::Owned(pattern.clone()));
                self.dialect.ilike(column, &parameter)
            }
            Test::Text(comparator, text) => {
                format!("{column} {} {}", comparator.sql(), self.bind(Value::Owned(text.clone())))
            }
            Test::In(values) => format!("{column} IN ({})", self.bind_all(values)),
            Test::NotIn(values) => format!("{column} NOT IN ({})", self.bind_all(values)),
            Test::IsNull => format!("{column} IS NULL"),
            Test::IsNotNull => format!("{column} IS NOT NULL"),
        }
    }

    fn bind_all(&mut self, values: &[String]) -> String {
        values.iter().map(|value| self.bind(Value::Owned(value.clone()))).collect::<Vec<_>>().join(", ")
    }

    /// Returns the joins that an order of runs needs, and its keys, without the last ones that make it total. Runs
    /// without the key come last in both directions, NaN just before them.
    pub(crate) fn run_order(&mut self, orders: &[Order]) -> Result<(String, Vec<String>)> {
        let (mut joins, mut keys) = (String::new(), Vec::new());
        for (index, Order { column, ascending }) in orders.iter().enumerate() {
            let direction = if *ascending { "ASC" } else { "DESC" };
            match column.kind {
                Kind::Attribute => keys.push(attribute_order(&column.key, direction)),
                Kind::Dataset => {
                    return Err(Error::invalid(format!("Invalid order_by entity: dataset.{}", column.key)));
                }
                kind => {
                    let table = match kind {
                        Kind::Metric => "latest_metrics",
                        Kind::Param => "params",
                        _ => "tags",
                    };
                    let key_id = keys::find(self.connection, &column.key)?.unwrap_or(-1);
                    let key = self.bind(key_id);
                    joins += &format!(
                        " LEFT JOIN {table} o{index} ON o{index}.run_key = r.run_key AND o{index}.key_id = {key}"
                    );
                    let present = if kind == Kind::Metric { format!("o{index}.is_nan") } else { "0".to_owned() };
                    keys.push(format!(
                        "CASE WHEN o{index}.run_key IS NULL THEN 2 ELSE {present} END, o{index}.value {direction}"
                    ));
                }
            }
        }
        Ok((joins, keys))
    }
}

/// Returns whether a clause asks whether a registered model is a prompt. MLflow's client adds one to every search.
pub(crate) fn is_prompt(clause: &Clause) -> bool {
    clause.column.kind == Kind::Tag && clause.column.key == IS_PROMPT
}

fn is_no(test: &Test) -> bool {
    match test {
        Test::Text(Comparator::NotEqual, value) => value == "true",
        Test::Text(Comparator::Equal, value) => value == "false",
        _ => false,
    }
}

/// Returns the key of an order by a column of `r`.
pub(crate) fn attribute_order(column: &str, direction: &str) -> String {
    match column {
        "end_time" | "source_run_id" | "description" => {
            format!("CASE WHEN r.{column} IS NULL THEN 1 ELSE 0 END, r.{column} {direction}")
        }
        _ => format!("r.{column} {direction}"),
    }
}

/// Returns the table in which an entity has what is named by a key, and what makes a row its own.
fn owned(grammar: Grammar, kind: Kind) -> &'static str {
    match (grammar, kind) {
        (Grammar::LoggedModels, Kind::Param) => "logged_model_params v WHERE v.model_key = r.model_key",
        (Grammar::LoggedModels, Kind::Metric) => {
            "logged_model_metrics v WHERE v.model_key = r.model_key AND v.is_nan = 0"
        }
        (Grammar::LoggedModels, _) => "logged_model_tags v WHERE v.model_key = r.model_key",
        (Grammar::RegisteredModels, _) => "registered_model_tags v WHERE v.registered_key = r.registered_key",
        (Grammar::ModelVersions, _) => {
            "model_version_tags v WHERE v.registered_key = r.registered_key AND v.version = r.version"
        }
        (Grammar::Experiments | Grammar::Runs, _) => "experiment_tags v WHERE v.experiment_id = r.experiment_id",
    }
}

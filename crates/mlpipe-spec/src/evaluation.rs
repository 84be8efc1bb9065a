//! Expressions that passed all checks, and their values.
//!
//! Pure: what is known only when a task is prepared (the keys of its items, how many items a collection has) is asked of
//! [`Facts`]. What an expression means is here alone, for the checks and for the engine.

use indexmap::IndexMap;
use serde::Serialize;

use crate::params::ParamValue;
use crate::pipeline::StepId;

/// A checked expression. Parameters of the pipeline are in it by value.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Expression {
    /// A literal, or the value of a parameter.
    Value(ParamValue),
    /// The key of the current item of a dimension.
    ItemKey {
        /// The dimension's variable.
        variable: String,
    },
    /// The value of an axis of the matrix, by key of the combination.
    Matrix {
        /// The dimension's variable.
        variable: String,
        /// The axis' value for each combination.
        values: IndexMap<String, ParamValue>,
    },
    /// How many items a collection has.
    Count(Counted),
    /// How many letters a text has.
    Length(Box<Expression>),
    /// The first, or the second where the first is missing or the empty text.
    Default(Box<Expression>, Box<Expression>),
    /// Negation.
    Not(Box<Expression>),
    /// Both are true.
    And(Box<Expression>, Box<Expression>),
    /// At least one is true.
    Or(Box<Expression>, Box<Expression>),
    /// A comparison; both sides have the same type.
    Compare(Comparison, Box<Expression>, Box<Expression>),
}

/// A collection whose items are counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    /// The items of an input.
    Input(String),
    /// The entries of a collection that a step writes, for the current items.
    Output {
        /// The step.
        step: StepId,
        /// The name of the output.
        output: String,
    },
    /// The outputs that a gather would find.
    Gather {
        /// The step.
        step: StepId,
        /// The name of the output.
        output: String,
        /// The variable of the dimension of `step` that is gathered.
        over: String,
    },
}

/// How two values are compared. Only numbers have an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
}

/// What is known of a task when it is prepared.
pub trait Facts {
    /// Returns the key of the task's item of a dimension.
    fn item_key(&self, variable: &str) -> String;
    /// Returns how many items a collection has; `None` where the task that makes it has made none.
    fn count(&self, collection: &Counted) -> Option<usize>;
}

impl Expression {
    /// Returns the value for one task; `None` where something is missing and no `default()` says what then.
    pub fn value(&self, facts: &dyn Facts) -> Option<ParamValue> {
        let truth = |side: &Expression| side.value(facts).map(|value| value == ParamValue::Bool(true));
        Some(match self {
            Expression::Value(value) => value.clone(),
            Expression::ItemKey { variable } => ParamValue::String(facts.item_key(variable)),
            Expression::Matrix { variable, values } => values.get(&facts.item_key(variable))?.clone(),
            Expression::Count(collection) => whole(facts.count(collection)?),
            Expression::Length(text) => whole(text.value(facts)?.to_string().chars().count()),
            Expression::Default(value, otherwise) => {
                let given = value.value(facts).filter(|value| *value != ParamValue::String(String::new()));
                return given.or_else(|| otherwise.value(facts));
            }
            Expression::Not(of) => ParamValue::Bool(!truth(of)?),
            Expression::And(left, right) => ParamValue::Bool(truth(left)? && truth(right)?),
            Expression::Or(left, right) => ParamValue::Bool(truth(left)? || truth(right)?),
            Expression::Compare(comparison, left, right) => {
                ParamValue::Bool(comparison.holds(&left.value(facts)?, &right.value(facts)?))
            }
        })
    }

    /// Returns whether the value does not depend on the task.
    pub fn is_constant(&self) -> bool {
        self.all(&|part| !matches!(part, Expression::ItemKey { .. } | Expression::Matrix { .. } | Expression::Count(_)))
    }

    /// Returns whether the value depends on nothing but the combination of the matrix.
    pub(crate) fn is_swept(&self) -> bool {
        self.all(&|part| !matches!(part, Expression::ItemKey { .. } | Expression::Count(_)))
    }

    /// Returns the variable and the keys of the matrix that the value depends on; `None` where it depends on none.
    pub(crate) fn matrix_keys(&self) -> Option<(&String, Vec<String>)> {
        match self {
            Expression::Matrix { variable, values } => Some((variable, values.keys().cloned().collect())),
            _ => self.parts().into_iter().find_map(Expression::matrix_keys),
        }
    }

    /// Returns whether the value can only be a whole number.
    pub(crate) fn is_whole_number(&self) -> bool {
        match self {
            Expression::Count(_) | Expression::Length(_) | Expression::Value(ParamValue::Int(_)) => true,
            Expression::Matrix { values, .. } => values.values().all(|value| matches!(value, ParamValue::Int(_))),
            Expression::Default(value, otherwise) => value.is_whole_number() && otherwise.is_whole_number(),
            _ => false,
        }
    }

    /// Returns whether the value can only be true or false.
    pub(crate) fn is_truth(&self) -> bool {
        match self {
            Expression::Not(_) | Expression::And(..) | Expression::Or(..) | Expression::Compare(..) => true,
            Expression::Value(value) => matches!(value, ParamValue::Bool(_)),
            Expression::Matrix { values, .. } => values.values().all(|value| matches!(value, ParamValue::Bool(_))),
            Expression::Default(value, otherwise) => value.is_truth() && otherwise.is_truth(),
            Expression::ItemKey { .. } | Expression::Count(_) | Expression::Length(_) => false,
        }
    }

    /// Returns the collections that are counted, each with whether it may be missing.
    pub fn counted(&self) -> Vec<(&Counted, bool)> {
        let mut found = Vec::new();
        self.collect_counted(false, &mut found);
        found
    }

    fn collect_counted<'e>(&'e self, optional: bool, found: &mut Vec<(&'e Counted, bool)>) {
        match self {
            Expression::Count(collection) => found.push((collection, optional)),
            Expression::Default(value, otherwise) => {
                value.collect_counted(true, found);
                otherwise.collect_counted(optional, found);
            }
            _ => self.parts().into_iter().for_each(|part| part.collect_counted(optional, found)),
        }
    }

    /// Renames the variables of the task's own dimensions.
    pub(crate) fn rename(&mut self, rename: &dyn Fn(&str) -> String) {
        match self {
            Expression::ItemKey { variable } | Expression::Matrix { variable, .. } => *variable = rename(variable),
            Expression::Value(_) | Expression::Count(_) => {}
            Expression::Length(only) | Expression::Not(only) => only.rename(rename),
            Expression::Default(left, right)
            | Expression::And(left, right)
            | Expression::Or(left, right)
            | Expression::Compare(_, left, right) => {
                left.rename(rename);
                right.rename(rename);
            }
        }
    }

    fn all(&self, fits: &dyn Fn(&Expression) -> bool) -> bool {
        fits(self) && self.parts().into_iter().all(|part| part.all(fits))
    }

    fn parts(&self) -> Vec<&Expression> {
        match self {
            Expression::Value(_) | Expression::ItemKey { .. } | Expression::Matrix { .. } | Expression::Count(_) => {
                Vec::new()
            }
            Expression::Length(only) | Expression::Not(only) => vec![only],
            Expression::Default(left, right)
            | Expression::And(left, right)
            | Expression::Or(left, right)
            | Expression::Compare(_, left, right) => vec![left, right],
        }
    }
}

impl Comparison {
    /// Returns whether it asks which is larger.
    pub(crate) fn is_order(self) -> bool {
        !matches!(self, Comparison::Equal | Comparison::NotEqual)
    }

    fn holds(self, left: &ParamValue, right: &ParamValue) -> bool {
        use std::cmp::Ordering;
        let order = match (left, right) {
            (ParamValue::Int(left), ParamValue::Int(right)) => Some(left.cmp(right)),
            (ParamValue::Int(_) | ParamValue::Float(_), ParamValue::Int(_) | ParamValue::Float(_)) => {
                float(left).partial_cmp(&float(right))
            }
            _ => (left == right).then_some(Ordering::Equal),
        };
        match self {
            Comparison::Equal => order == Some(Ordering::Equal),
            Comparison::NotEqual => order != Some(Ordering::Equal),
            Comparison::Below => order == Some(Ordering::Less),
            Comparison::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Comparison::Above => order == Some(Ordering::Greater),
            Comparison::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

/// Facts about no task: for expressions that do not depend on one.
pub(crate) struct NoTask;

impl Facts for NoTask {
    fn item_key(&self, _: &str) -> String {
        String::new()
    }

    fn count(&self, _: &Counted) -> Option<usize> {
        None
    }
}

/// Facts about one combination of a matrix.
pub(crate) struct Combination<'k>(pub(crate) &'k str);

impl Facts for Combination<'_> {
    fn item_key(&self, _: &str) -> String {
        self.0.to_owned()
    }

    fn count(&self, _: &Counted) -> Option<usize> {
        None
    }
}

fn whole(number: usize) -> ParamValue {
    ParamValue::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "a whole number is compared with a decimal one")]
fn float(value: &ParamValue) -> f64 {
    match value {
        ParamValue::Int(number) => *number as f64,
        ParamValue::Float(number) => *number,
        ParamValue::String(_) | ParamValue::Bool(_) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: f64) -> Box<Expression> {
        Box::new(Expression::Value(ParamValue::Float(number)))
    }

    #[test]
    fn whole_and_decimal_numbers_are_compared_by_value() {
        let three = Box::new(Expression::Value(ParamValue::Int(3)));
        let cases = [
            (Comparison::Equal, 3.0, true),
            (Comparison::NotEqual, 3.0, false),
            (Comparison::Below, 3.5, true),
            (Comparison::AtMost, 3.0, true),
            (Comparison::Above, 3.0, false),
            (Comparison::AtLeast, 2.9, true),
        ];
        for (comparison, other, expected) in cases {
            let expression = Expression::Compare(comparison, three.clone(), number(other));
            assert_eq!(expression.value(&NoTask), Some(ParamValue::Bool(expected)), "{comparison:?} {other}");
        }
    }

    #[test]
    fn what_is_missing_is_missing_until_a_default_says_what_then() {
        let missing = Expression::Count(Counted::Input("x".into()));
        assert_eq!(Expression::Not(Box::new(missing.clone())).value(&NoTask), None);
        let otherwise = Box::new(Expression::Value(ParamValue::Int(0)));
        let expression = Expression::Default(Box::new(missing), otherwise);
        assert_eq!(expression.value(&NoTask), Some(ParamValue::Int(0)));
        assert_eq!(expression.counted().len(), 1);
        assert!(expression.counted()[0].1, "it is optional");
    }

    #[test]
    fn empty_text_counts_as_not_given() {
        let text = |text: &str| Box::new(Expression::Value(ParamValue::String(text.into())));
        let value = |given: &str| Expression::Default(text(given), text("otherwise")).value(&NoTask);
        assert_eq!(value("").expect("a value").to_string(), "otherwise");
        assert_eq!(value("given").expect("a value").to_string(), "given");
    }
}

//! MLflow's search language: filters and orders, from text to types. What they select is decided elsewhere
//! (`conditions`).
//!
//! A filter is `clause (AND clause)*`; there is no OR and no parenthesis. What may be compared, and how, depends on what
//! is searched: see [`Grammar`]. Texts of errors are MLflow's where it has one (`mlflow/utils/search_utils.py` of version
//! 3.17.2 behaves so).

mod filter;
mod grammar;
mod lexer;
mod order;

pub(crate) use filter::{Clause, Comparator, Test, parse_filter};
pub(crate) use grammar::{Column, Grammar, Kind};
pub(crate) use order::{Order, parse_order};

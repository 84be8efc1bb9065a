//! `STEP` or `STEP[KEY]` on the command line: the name of one task.

use std::str::FromStr;

use crate::commands::request::nearest;
use crate::failure::{Exit, Failure};
use crate::text::short_key;

/// The name of a task. Long parts of a key may be cut as progress lines cut them: `..12345678`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskName {
    pub(crate) step: String,
    pub(crate) key: Option<String>,
}

/// Items that a message names.
const SHOWN: usize = 8;

impl FromStr for TaskName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('[') {
            None => Ok(Self { step: text.into(), key: None }),
            Some((step, rest)) => {
                let key = rest.strip_suffix(']').ok_or("expected STEP or STEP[KEY]; quote it: 'step[key]'")?;
                Ok(Self { step: step.into(), key: Some(key.into()) })
            }
        }
    }
}

impl std::fmt::Display for TaskName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{}[{key}]", self.step),
            None => f.write_str(&self.step),
        }
    }
}

impl TaskName {
    /// Returns which of a step's items is meant; none when the step runs once.
    pub(crate) fn choose<'a>(&self, known: &[Option<&'a str>]) -> Result<Option<&'a str>, Failure> {
        let items: Vec<&'a str> = known.iter().copied().flatten().collect();
        match (&self.key, known) {
            (None, [one]) => Ok(*one),
            (None, _) => Err(Failure::new(Exit::Usage, format!("step `{}` has {} items", self.step, items.len()))
                .hint(format!("say which: {}", self.examples(&items)))),
            (Some(key), _) => {
                let mut meant = items.iter().copied().filter(|item| *item == key || is_cut_from(key, item));
                match (meant.next(), meant.next()) {
                    (Some(one), None) => Ok(Some(one)),
                    (Some(_), Some(_)) => Err(Failure::new(Exit::Usage, format!("`{self}` may be several items"))
                        .hint("write the key in full")),
                    (None, _) => Err(self.unknown(key, &items)),
                }
            }
        }
    }

    fn unknown(&self, key: &str, items: &[&str]) -> Failure {
        let failure = Failure::new(Exit::Usage, format!("step `{}` has no item `{key}`", self.step));
        match nearest(key, items.iter().copied()) {
            Some(near) => failure.hint(format!("did you mean `{}[{near}]`?", self.step)),
            None if items.is_empty() => {
                failure.hint(format!("it has none so far; write `{}` without a key", self.step))
            }
            None => failure.hint(format!("there are {}", self.examples(items))),
        }
    }

    fn examples(&self, items: &[&str]) -> String {
        let shown: Vec<String> = items.iter().take(SHOWN).map(|item| format!("'{}[{item}]'", self.step)).collect();
        let more = if items.len() > SHOWN { format!(" and {} more", items.len() - SHOWN) } else { String::new() };
        format!("{}{more}", shown.join(" "))
    }
}

/// Whether `cut` is how progress lines show `key`.
fn is_cut_from(cut: &str, key: &str) -> bool {
    cut.contains("..") && short_key(key) == cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TaskName {
        text.parse().expect("a task")
    }

    #[test]
    fn key_stands_in_brackets_and_may_be_cut() {
        let long = "1.2.826.0.1.3680043.8.498.12345678/v3";
        assert_eq!(name("step[..12345678/v3]").choose(&[Some(long), Some("b")]).expect("one"), Some(long));
        assert_eq!(name("step").choose(&[None]).expect("one"), None);
        assert_eq!(name("step").choose(&[Some("only")]).expect("one"), Some("only"));
        assert!("step[a".parse::<TaskName>().is_err());
        assert!(name("step").choose(&[Some("a"), Some("b")]).is_err());
        assert!(name("step[c]").choose(&[Some("a"), Some("b")]).is_err());
    }
}

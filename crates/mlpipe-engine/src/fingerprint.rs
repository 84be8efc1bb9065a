//! The identity of a task's work: everything that can change its result, and nothing else.
//!
//! The facts are kept beside the hash (the pre-image), so that the reason for a rerun can be named with the old and the new
//! value. Not among them: names of steps and items, resources, retries, paths, times.

use std::collections::BTreeMap;

use mlpipe_artifacts::Digest;
use serde::{Deserialize, Serialize};

/// Changes whenever the meaning of the facts changes, so that results of an older mlpipe are not taken for current ones.
const DOMAIN: &str = "mlpipe task fingerprint 1";

/// Facts by name, as in `parameter threshold` = `float 0.5`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PreImage {
    facts: BTreeMap<String, String>,
}

/// One difference between two pre-images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Name of the fact.
    pub fact: String,
    /// Its value in the earlier result; none when it is new.
    pub old: Option<String>,
    /// Its value now; none when it is gone.
    pub new: Option<String>,
}

impl PreImage {
    /// Adds a fact; a second fact of the same name would hide the first.
    pub fn add(&mut self, fact: impl Into<String>, value: impl Into<String>) {
        let earlier = self.facts.insert(fact.into(), value.into());
        debug_assert!(earlier.is_none(), "each fact is stated once");
    }

    /// Returns BLAKE3 over the facts in order of their names, each text preceded by its length.
    pub fn fingerprint(&self) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
        for text in self.facts.iter().flat_map(|(fact, value)| [fact, value]) {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }

    /// Returns the facts by name.
    pub fn into_facts(self) -> BTreeMap<String, String> {
        self.facts
    }

    /// Returns what differs from an earlier pre-image, in order of the facts' names.
    pub fn changes_since(&self, earlier: &PreImage) -> Vec<Change> {
        let names: std::collections::BTreeSet<&String> = self.facts.keys().chain(earlier.facts.keys()).collect();
        names
            .into_iter()
            .map(|fact| Change {
                fact: fact.clone(),
                old: earlier.facts.get(fact).cloned(),
                new: self.facts.get(fact).cloned(),
            })
            .filter(|change| change.old != change.new)
            .collect()
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, "{}: {} -> {}", self.fact, short(old), short(new)),
            (None, Some(new)) => write!(f, "{}: new ({})", self.fact, short(new)),
            (Some(old), None) => write!(f, "{}: gone (was {})", self.fact, short(old)),
            (None, None) => write!(f, "{}", self.fact),
        }
    }
}

/// Digests are cut to 12 digits for people.
fn short(value: &str) -> String {
    let hex = |word: &str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = value.split(' ').map(|word| if hex(word) { &word[..12] } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(facts: &[(&str, &str)]) -> PreImage {
        let mut image = PreImage::default();
        for (fact, value) in facts {
            image.add(*fact, *value);
        }
        image
    }

    #[test]
    fn order_of_statement_does_not_count() {
        assert_eq!(image(&[("a", "1"), ("b", "2")]).fingerprint(), image(&[("b", "2"), ("a", "1")]).fingerprint());
    }

    #[test]
    fn text_cannot_move_between_neighbouring_facts() {
        assert_ne!(image(&[("a", "1b"), ("c", "")]).fingerprint(), image(&[("a", "1"), ("bc", "")]).fingerprint());
    }

    #[test]
    fn changes_name_old_and_new_value() {
        let old = image(&[("parameter threshold", "float 0.5"), ("gone", "x")]);
        let new = image(&[("parameter threshold", "float 0.6"), ("fresh", "y")]);
        let lines: Vec<String> = new.changes_since(&old).iter().map(Change::to_string).collect();
        assert_eq!(lines, ["fresh: new (y)", "gone: gone (was x)", "parameter threshold: float 0.5 -> float 0.6"]);
    }
}

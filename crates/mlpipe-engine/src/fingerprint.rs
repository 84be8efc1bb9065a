//! The identity of a task's work: everything that can change its result, and nothing else.
//!
//! The facts are kept beside the hash (the pre-image), so that the reason for a rerun can be named with the old and the new
//! value. Not among them: names of steps and items, resources, retries, paths, times.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mlpipe_artifacts::Digest;
use serde::{Deserialize, Serialize};

/// Changes whenever the meaning of the facts changes, so that results of an older mlpipe are not taken for current ones.
const DOMAIN: &str = "mlpipe task fingerprint 1";

/// Facts by name, as in `parameter threshold` = `float 0.5`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct PreImage {
    /// What the tasks of a step have in common, of which there may be a hundred thousand. No name is in both.
    shared: Arc<BTreeMap<String, String>>,
    own: BTreeMap<String, String>,
}

impl PartialEq for PreImage {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for PreImage {}

impl From<BTreeMap<String, String>> for PreImage {
    fn from(own: BTreeMap<String, String>) -> Self {
        Self { shared: Arc::default(), own }
    }
}

impl From<PreImage> for BTreeMap<String, String> {
    fn from(image: PreImage) -> Self {
        image.into_facts()
    }
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
    /// Starts with facts that others start with too.
    pub(crate) fn beginning_with(shared: Arc<BTreeMap<String, String>>) -> Self {
        Self { shared, own: BTreeMap::new() }
    }

    /// Adds a fact; a second fact of the same name would hide the first.
    pub fn add(&mut self, fact: impl Into<String>, value: impl Into<String>) {
        let fact = fact.into();
        debug_assert!(!self.shared.contains_key(&fact), "each fact is stated once");
        let earlier = self.own.insert(fact, value.into());
        debug_assert!(earlier.is_none(), "each fact is stated once");
    }

    /// The facts in order of their names.
    fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        let (mut shared, mut own) = (self.shared.iter().peekable(), self.own.iter().peekable());
        std::iter::from_fn(move || match (shared.peek(), own.peek()) {
            (Some((first, _)), Some((second, _))) if first < second => shared.next(),
            (_, Some(_)) => own.next(),
            (_, None) => shared.next(),
        })
    }

    fn get(&self, fact: &str) -> Option<&String> {
        self.own.get(fact).or_else(|| self.shared.get(fact))
    }

    /// Returns BLAKE3 over the facts in order of their names, each text preceded by its length.
    pub fn fingerprint(&self) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
        for text in self.iter().flat_map(|(fact, value)| [fact, value]) {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }

    /// Returns the facts by name.
    pub fn into_facts(self) -> BTreeMap<String, String> {
        let mut facts = Arc::unwrap_or_clone(self.shared);
        facts.extend(self.own);
        facts
    }

    /// Returns what differs from an earlier pre-image, in order of the facts' names.
    pub fn changes_since(&self, earlier: &PreImage) -> Vec<Change> {
        let names: std::collections::BTreeSet<&String> =
            self.iter().chain(earlier.iter()).map(|(name, _)| name).collect();
        names
            .into_iter()
            .map(|fact| Change { fact: fact.clone(), old: earlier.get(fact).cloned(), new: self.get(fact).cloned() })
            .filter(|change| change.old != change.new)
            .collect()
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => match (gathered(old), gathered(new)) {
                // Equal items: something else about the value has changed.
                (Some(old), Some(new)) if old != new => write!(f, "{}: {}", self.fact, differing(&old, &new)),
                _ => write!(f, "{}: {} -> {}", self.fact, short(old), short(new)),
            },
            (None, Some(new)) => write!(f, "{}: new ({})", self.fact, short(new)),
            (Some(old), None) => write!(f, "{}: gone (was {})", self.fact, short(old)),
            (None, None) => write!(f, "{}", self.fact),
        }
    }
}

/// Returns key and digest of every item of a value `gather(KEY=DIGEST ...)`; `None` of any other value.
fn gathered(value: &str) -> Option<BTreeMap<&str, &str>> {
    let items = value.split_once("gather(")?.1.strip_suffix(')')?;
    items.split(' ').map(|item| item.rsplit_once('=')).collect()
}

/// Says how many items differ and names some: a line with all digests would fill the screen.
fn differing(old: &BTreeMap<&str, &str>, new: &BTreeMap<&str, &str>) -> String {
    const SHOWN: usize = 3;
    let keys: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    let differ: Vec<&str> = keys.iter().copied().filter(|key| old.get(key) != new.get(key)).collect();
    let more = if differ.len() > SHOWN { " ..." } else { "" };
    format!("{} of {} gathered items: {}{more}", differ.len(), keys.len(), differ[..differ.len().min(SHOWN)].join(" "))
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
    fn facts_that_are_shared_count_as_those_that_are_not() {
        let all = [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5")];
        for shared in [&[][..], &all[..2], &all[1..4], &all[3..], &all] {
            let facts = shared.iter().map(|(fact, value)| ((*fact).to_owned(), (*value).to_owned()));
            let mut some = PreImage::beginning_with(Arc::new(facts.collect()));
            for (fact, value) in all.iter().filter(|fact| !shared.contains(fact)) {
                some.add(*fact, *value);
            }
            assert_eq!(some.fingerprint(), image(&all).fingerprint());
            assert_eq!(some, image(&all));
            assert_eq!(some.changes_since(&image(&all)), []);
            assert_eq!(some.into_facts(), image(&all).into_facts());
        }
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

    #[test]
    fn of_gathered_items_those_that_differ_are_named() {
        let gathered = |items: &[&str]| image(&[("parameter all", &format!("path gather({})", items.join(" ")))]);
        let old = gathered(&["fold=0=aa", "fold=1=bb", "fold=2=cc"]);
        let line = |new: &PreImage| new.changes_since(&old)[0].to_string();
        assert_eq!(
            line(&gathered(&["fold=0=aa", "fold=1=xx", "fold=2=cc"])),
            "parameter all: 1 of 3 gathered items: fold=1"
        );
        let others = gathered(&["fold=1=xx", "fold=2=yy", "fold=3=dd"]);
        assert_eq!(line(&others), "parameter all: 4 of 4 gathered items: fold=0 fold=1 fold=2 ...");
        let as_text = image(&[("parameter all", "string gather(fold=0=aa fold=1=bb fold=2=cc)")]);
        assert!(line(&as_text).contains("path gather(") && line(&as_text).contains("-> string gather("));
    }
}
